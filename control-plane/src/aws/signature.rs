//! Whether a request is signed by somebody whose secret this world knows: AWS Signature Version 4, as the AWS page "Create a
//! signed AWS API request" has it.
//!
//! Pure: the time is an argument. The path is encoded once more than it was sent, as every service but S3 wants it.

use std::{collections::BTreeMap, fmt::Write as _};

use cdn_core::WallTime;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, header};
use sha2::{Digest as _, Sha256};

use super::error::AwsError;

/// What an `Authorization` of it begins with.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The name that scopes of this API have.
const SERVICE: &str = "cloudfront";
/// What every scope ends with.
const TERMINATOR: &str = "aws4_request";
/// By how much a signature's time may be wrong, either way: AWS's five minutes.
const SKEW_SECS: i64 = 300;
/// Says that the signature does not cover the body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request, as far as signatures cover it.
pub(super) struct Signed<'a> {
    pub(super) method: &'a Method,
    /// As sent.
    pub(super) path: &'a str,
    /// As sent, without the question mark; empty for none.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// What `Authorization` says.
struct Authorization<'a> {
    key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// Holds a request against `secrets`, by access key id.
///
/// # Errors
/// CloudFront's: `IncompleteSignature`, `InvalidClientTokenId`, `SignatureDoesNotMatch`.
pub(super) fn verify(request: &Signed<'_>, secrets: &BTreeMap<String, String>, now: WallTime) -> Result<(), AwsError> {
    verify_for(SERVICE, request, secrets, now)
}

fn verify_for(
    service: &str,
    request: &Signed<'_>,
    secrets: &BTreeMap<String, String>,
    now: WallTime,
) -> Result<(), AwsError> {
    let incomplete = |what: &str| AwsError::Code("IncompleteSignature", what.to_owned());
    let mismatch = |what: String| AwsError::Code("SignatureDoesNotMatch", what);
    let said = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = Authorization::parse(said).ok_or_else(|| {
        incomplete("Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.")
    })?;
    let time = request.headers.get("x-amz-date").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let moment = moment(time).ok_or_else(|| {
        incomplete("Authorization header requires existence of an 'X-Amz-Date' header in ISO 8601 basic format.")
    })?;
    let Some(secret) = secrets.get(said.key_id) else {
        return Err(AwsError::Code(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.".to_owned(),
        ));
    };
    if said.service != service {
        return Err(mismatch(format!("Credential should be scoped to correct service: '{service}'.")));
    }
    if !time.starts_with(said.date) {
        return Err(mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{time}'.",
            said.date
        )));
    }
    let off = now.unix_secs() - moment.unix_secs();
    if off.abs() > SKEW_SECS {
        let what = if off > 0 { "Signature expired" } else { "Signature not yet current" };
        return Err(mismatch(format!(
            "{what}: {time} is {} s from now, and at most {SKEW_SECS} s are allowed.",
            off.abs()
        )));
    }
    let names: Vec<&str> = said.signed_headers.split(';').collect();
    if !names.contains(&"host") {
        return Err(mismatch("'Host' must be a 'SignedHeader' in the AWS Authorization.".to_owned()));
    }
    let canonical = canonical_request(request, &names);
    let scope = format!("{}/{}/{}/{TERMINATOR}", said.date, said.region, said.service);
    let string = format!("{ALGORITHM}\n{time}\n{scope}\n{}", HEXLOWER.encode(&Sha256::digest(canonical.as_bytes())));
    let key = [said.date, said.region, said.service, TERMINATOR]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            keyed(&key, part.as_bytes()).finalize().into_bytes().to_vec()
        });
    // In a time that does not depend on where the two differ.
    let holds = HEXLOWER_PERMISSIVE
        .decode(said.signature.as_bytes())
        .is_ok_and(|given| keyed(&key, string.as_bytes()).verify_slice(&given).is_ok());
    let of_body = request.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
    let is_body = of_body.is_none_or(|said| said == UNSIGNED || said == HEXLOWER.encode(&Sha256::digest(request.body)));
    if holds && is_body {
        return Ok(());
    }
    Err(mismatch(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and \
         signing method. Consult the service documentation for details."
            .to_owned(),
    ))
}

impl<'a> Authorization<'a> {
    /// `AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…`.
    fn parse(text: &'a str) -> Option<Self> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in text.strip_prefix(ALGORITHM)?.split(',') {
            match parameter.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => {}
            }
        }
        // From the right, since a key id may be anything.
        let mut parts = credential?.rsplitn(5, '/');
        let terminator = parts.next()?;
        let [service, region, date, key_id] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let said = Self { key_id, date, region, service, signed_headers: signed_headers?, signature: signature? };
        (terminator == TERMINATOR).then_some(said)
    }
}

fn canonical_request(request: &Signed<'_>, names: &[&str]) -> String {
    let mut text =
        format!("{}\n{}\n{}\n", request.method, canonical_path(request.path), canonical_query(request.query));
    for name in names {
        let values = request.headers.get_all(*name).iter().map(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        });
        let _ = writeln!(text, "{name}:{}", values.collect::<Vec<_>>().join(","));
    }
    let of_body = match request.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()) {
        Some(said) => said.to_owned(),
        None => HEXLOWER.encode(&Sha256::digest(request.body)),
    };
    let _ = write!(text, "\n{}\n{of_body}", names.join(";"));
    text
}

/// Without dot segments, and every byte encoded that is not unreserved (RFC 3986 section 2.3), so that a `%` is once more.
fn canonical_path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    encoded(&format!("/{}{end}", kept.join("/")), |byte| byte == b'/')
}

/// Parameters in order of their names, then of their values; encoded as they were sent, and wherever they should have been.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (encoded(name, |byte| byte == b'%'), encoded(value, |byte| byte == b'%'))
        })
        .collect();
    parameters.sort_unstable();
    parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `20150830T123600Z`.
fn moment(time: &str) -> Option<WallTime> {
    let (date, of_day) = time.strip_suffix('Z')?.split_once('T')?;
    WallTime::from_basic(&(date.to_owned() + of_day)).filter(|_| date.len() == 8)
}

fn keyed(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut keyed = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("a key of any length"));
    keyed.update(message);
    keyed
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// The example of AWS's documentation, and of its test suite.
    const KEY_ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    struct Example {
        service: &'static str,
        method: Method,
        path: &'static str,
        query: &'static str,
        headers: Vec<(&'static str, &'static str)>,
        body: &'static [u8],
        signature: &'static str,
    }

    impl Example {
        fn get(path: &'static str, query: &'static str, signature: &'static str) -> Self {
            let headers = vec![("host", "example.amazonaws.com")];
            Self { service: "service", method: Method::GET, path, query, headers, body: b"", signature }
        }

        fn verify(&self, at: &'static str) -> Result<(), AwsError> {
            self.verify_with(at, "", |_| {})
        }

        /// With this secret, at this time, and whatever is done to the headers.
        fn verify_with(
            &self,
            at: &'static str,
            secret_more: &str,
            change: impl FnOnce(&mut HeaderMap),
        ) -> Result<(), AwsError> {
            let mut headers = HeaderMap::new();
            for (name, value) in self.headers.iter().chain(&[("x-amz-date", "20150830T123600Z")]) {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            let authorization = format!(
                "{ALGORITHM} Credential={KEY_ID}/20150830/us-east-1/{}/aws4_request, SignedHeaders={}, Signature={}",
                self.service,
                names.join(";"),
                self.signature
            );
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
            change(&mut headers);
            let Self { method, path, query, body, .. } = self;
            let request = Signed { method, path, query, headers: &headers, body };
            let secrets = BTreeMap::from([(KEY_ID.to_owned(), format!("{SECRET}{secret_more}"))]);
            let now = moment(at).unwrap();
            verify_for(self.service, &request, &secrets, now)
        }
    }

    const THEN: &str = "20150830T123600Z";

    fn examples() -> Vec<Example> {
        vec![
            // "Create a signed AWS API request": ListUsers.
            Example {
                service: "iam",
                headers: vec![
                    ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                    ("host", "iam.amazonaws.com"),
                ],
                ..Example::get(
                    "/",
                    "Action=ListUsers&Version=2010-05-08",
                    "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
                )
            },
            // The suite's get-vanilla, get-vanilla-query-order-key-case, get-unreserved, post-vanilla.
            Example::get("/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            Example::get(
                "/",
                "Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            Example::get("/example/..", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            Example {
                method: Method::POST,
                ..Example::get("/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
            },
        ]
    }

    fn code(result: Result<(), AwsError>) -> &'static str {
        match result {
            Ok(()) => "",
            Err(AwsError::Code(code, _)) => code,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_examples_of_aws_hold() {
        for example in examples() {
            assert_eq!(example.verify(THEN), Ok(()), "{}?{}", example.path, example.query);
        }
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        for example in examples() {
            assert_eq!(code(example.verify_with(THEN, "x", |_| {})), "SignatureDoesNotMatch");
            let changed = [
                Example { method: Method::PUT, headers: example.headers.clone(), ..example },
                Example { path: "/other", ..examples().remove(1) },
                Example { query: "a=b", ..examples().remove(1) },
                Example { body: b"x", ..examples().remove(1) },
                Example { headers: vec![("host", "example.test")], ..examples().remove(1) },
                Example { service: "iam", ..examples().remove(1) },
            ];
            for changed in changed {
                assert_eq!(code(changed.verify(THEN)), "SignatureDoesNotMatch", "{}", changed.path);
            }
        }
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        let example = &examples()[1];
        for (at, expected) in [
            ("20150830T124100Z", ""),
            ("20150830T123100Z", ""),
            ("20150830T124101Z", "SignatureDoesNotMatch"),
            ("20150830T123059Z", "SignatureDoesNotMatch"),
            ("20160830T123600Z", "SignatureDoesNotMatch"),
        ] {
            assert_eq!(code(example.verify(at)), expected, "{at}");
        }
    }

    #[test]
    fn who_is_unknown_and_what_is_incomplete_is_said_to_be_so() {
        let example = &examples()[1];
        let with = |text: &'static str| {
            example.verify_with(THEN, "", |headers| drop(headers.insert(header::AUTHORIZATION, text.parse().unwrap())))
        };
        let scope = "20150830/us-east-1/service/aws4_request";
        let unknown = format!("{ALGORITHM} Credential=OTHER/{scope}, SignedHeaders=host, Signature=00");
        assert_eq!(code(with(unknown.leak())), "InvalidClientTokenId");
        for incomplete in [
            "AWS4-HMAC-SHA256 ",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host",
            "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/service/other, SignedHeaders=host, Signature=00",
        ] {
            assert_eq!(code(with(incomplete)), "IncompleteSignature", "{incomplete}");
        }
        for wrong in ["", "0", "zz", "é"] {
            let text = format!("{ALGORITHM} Credential={KEY_ID}/{scope}, SignedHeaders=host, Signature={wrong}");
            let refused = example.verify_with(THEN, "", |headers| {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            });
            assert!(["SignatureDoesNotMatch", "IncompleteSignature"].contains(&code(refused)), "{wrong}");
        }
        let no_date = example.verify_with(THEN, "", |headers| drop(headers.remove("x-amz-date")));
        assert_eq!(code(no_date), "IncompleteSignature");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (time, expected) in [
            ("19700101T000000Z", Some(0)),
            ("20150830T123600Z", Some(1_440_938_160)),
            ("20240229T235959Z", Some(1_709_251_199)),
            ("20150830T123600", None),
            ("20151330T123600Z", None),
            ("2015083AT123600Z", None),
        ] {
            assert_eq!(moment(time).map(WallTime::unix_secs), expected, "{time}");
        }
    }

    proptest::proptest! {
        /// Whatever is sent, it is an answer and no panic, and never a yes.
        #[test]
        fn nothing_else_is_let_in(text in ".*", path in "/.*", query in ".*") {
            let headers = HeaderMap::from_iter(HeaderValue::from_str(&format!("{ALGORITHM} {text}")).map(|value| (header::AUTHORIZATION, value)));
            let request = Signed { method: &Method::GET, path: &path, query: &query, headers: &headers, body: b"" };
            proptest::prop_assert!(verify(&request, &BTreeMap::new(), WallTime::from_unix_secs(0)).is_err());
        }
    }
}
