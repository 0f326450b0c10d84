//! Which headers a function is shown, and which it may not touch.
//!
//! The tables are those of the AWS page "Restrictions on all edge functions".

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Entries, FunctionInvalid, Trigger};

/// Neither shown nor to be added.
const DISALLOWED: [&str; 17] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "trailer",
    "upgrade",
    "x-accel-buffering",
    "x-accel-charset",
    "x-accel-limit-rate",
    "x-accel-redirect",
    "x-amzn-auth",
    "x-cache",
    "x-forwarded-proto",
    "x-real-ip",
    "x-amzn-errortype",
];

/// Prefixes of the same kind; the last is of our own headers, which CloudFront does not have.
const DISALLOWED_PREFIXES: [&str; 8] = [
    "x-amz-cf-",
    "x-amzn-cf-",
    "x-amzn-fle-",
    "x-amzn-header-",
    "x-amzn-lambda-",
    "x-amzn-requestid",
    "x-edge-",
    "x-iso-",
];

/// Our own diagnostics in responses: a function at CloudFront would not see them, so that ours does not either.
const DIAGNOSTICS: [&str; 3] = ["cache-status", "proxy-status", "server-timing"];

/// Whether functions neither see nor may add it.
pub(super) fn is_hidden(name: &str, trigger: Trigger) -> bool {
    DISALLOWED.contains(&name)
        || DISALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || trigger == Trigger::ViewerResponse && DIAGNOSTICS.contains(&name)
}

/// Whether functions see it and may not change it.
fn is_read_only(name: &str, trigger: Trigger) -> bool {
    match trigger {
        Trigger::ViewerRequest => {
            matches!(name, "cdn-loop" | "content-length" | "host" | "transfer-encoding" | "via")
        }
        Trigger::ViewerResponse => matches!(name, "warning" | "via"),
    }
}

/// The headers that a function is shown. Bytes that are no text are replaced.
pub(super) fn shown(headers: &HeaderMap, trigger: Trigger, apart: &HeaderName) -> Entries {
    let mut entries: Entries = Vec::with_capacity(headers.keys_len());
    for name in headers.keys().filter(|&name| name != apart && !is_hidden(name.as_str(), trigger)) {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        entries.push((name.as_str().to_owned(), values.collect()));
    }
    entries
}

/// The headers after a function, without those of the name `apart`: what it returned, what it was not shown, and what it
/// may not change. A read-only header that it left out stays.
pub(super) fn merged(
    before: &HeaderMap,
    returned: &Entries,
    trigger: Trigger,
    apart: &HeaderName,
) -> Result<HeaderMap, FunctionInvalid> {
    let mut after = HeaderMap::with_capacity(returned.len() + 4);
    for (name, value) in before {
        let text = name.as_str();
        if name != apart && (is_hidden(text, trigger) || is_read_only(text, trigger) || is_framing(name)) {
            after.append(name, value.clone());
        }
    }
    for (written, values) in returned {
        let name = HeaderName::try_from(written.as_str()).map_err(|_| FunctionInvalid::HeaderName(written.clone()))?;
        let text = name.as_str();
        if is_hidden(text, trigger) || name == *apart {
            return Err(FunctionInvalid::Disallowed(text.to_owned()));
        }
        if is_read_only(text, trigger) {
            let same = before.get_all(&name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            if !same.eq(values.iter().map(String::as_str)) {
                return Err(FunctionInvalid::ReadOnly(text.to_owned()));
            }
            continue;
        }
        // How long a body is, is not a function's to say.
        if is_framing(&name) {
            continue;
        }
        let original: Vec<&HeaderValue> = before.get_all(&name).iter().collect();
        for (at, value) in values.iter().enumerate() {
            // Bytes that are no text were shown as something else; where that comes back they are meant.
            let kept = original.get(at).filter(|kept| String::from_utf8_lossy(kept.as_bytes()) == *value);
            let value = match kept {
                Some(&kept) => kept.clone(),
                None => {
                    HeaderValue::try_from(value.as_str()).map_err(|_| FunctionInvalid::HeaderValue(text.to_owned()))?
                }
            };
            after.append(&name, value);
        }
    }
    Ok(after)
}

fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING
}
