//! Events and returned values as the JSON that functions know (AWS page "CloudFront Functions event structure").
//!
//! Reads shapes alone. Whether what was returned is allowed, [`cdn_core::functions`] decides.

use cdn_core::functions::{
    Entries, Event, EventRequest, EventResponse, FunctionInvalid, Returned, ReturnedResponse, SetCookie,
};
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

/// The text that a function is called with.
pub(crate) fn write(event: &Event) -> String {
    let request = &event.request;
    let mut written = json!({
        "version": "1.0",
        "context": {
            "distributionDomainName": event.domain,
            "distributionId": &*event.distribution,
            "endpoint": event.domain,
            "eventType": event.trigger.as_str(),
            "requestId": event.request_id.to_str().unwrap_or_default(),
        },
        "viewer": { "ip": event.viewer.to_string() },
        // Of the module `cloudfront`, and taken off the event.
        "edgeLocation": { "name": event.edge },
        "request": {
            "method": request.method,
            "uri": request.uri,
            // A method of the request, made of this.
            "rawQueryString": request.raw_query,
            "querystring": entries(&request.querystring),
            "headers": entries(&request.headers),
            "cookies": entries(&request.cookies),
        },
    });
    if let Some(response) = &event.response {
        written["response"] = json!({
            "statusCode": response.status,
            "statusDescription": response.description,
            "headers": entries(&response.headers),
            "cookies": set_cookies(&response.cookies),
        });
    }
    written.to_string()
}

/// What a function returned.
///
/// # Errors
/// [`FunctionInvalid::Shape`] where it is neither a request nor a response.
pub(crate) fn read(text: &str) -> Result<Returned, FunctionInvalid> {
    let value: Value = serde_json::from_str(text).map_err(|error| FunctionInvalid::Shape(error.to_string()))?;
    let Value::Object(object) = value else {
        return Err(FunctionInvalid::Shape("a function returns an object: a request or a response".into()));
    };
    if object.contains_key("statusCode") {
        read_response(&object).map(Returned::Response)
    } else if object.contains_key("uri") {
        read_request(&object).map(Returned::Request)
    } else {
        let said = "a function returns event.request, event.response or an object with a statusCode";
        Err(FunctionInvalid::Shape(said.into()))
    }
}

fn entries(entries: &Entries) -> Value {
    let entry = |(name, values): &(String, Vec<String>)| {
        let mut entry = json!({ "value": values.first() });
        if values.len() > 1 {
            entry["multiValue"] = values.iter().map(|value| json!({ "value": value })).collect();
        }
        (name.clone(), entry)
    };
    Value::Object(entries.iter().map(entry).collect())
}

fn set_cookies(cookies: &[(String, Vec<SetCookie>)]) -> Value {
    let one = |cookie: &SetCookie| {
        let mut written = json!({ "value": cookie.value });
        if !cookie.attributes.is_empty() {
            written["attributes"] = json!(cookie.attributes);
        }
        written
    };
    let entry = |(name, all): &(String, Vec<SetCookie>)| {
        let mut entry = all.first().map_or_else(|| json!({ "value": "" }), one);
        if all.len() > 1 {
            entry["multiValue"] = all.iter().map(one).collect();
        }
        (name.clone(), entry)
    };
    Value::Object(cookies.iter().map(entry).collect())
}

fn read_request(object: &Map<String, Value>) -> Result<EventRequest, FunctionInvalid> {
    Ok(EventRequest {
        method: text(object, "method", "method")?.unwrap_or_default(),
        uri: text(object, "uri", "uri")?.unwrap_or_default(),
        raw_query: None,
        querystring: read_entries(object, "querystring")?,
        headers: read_entries(object, "headers")?
            .into_iter()
            .map(|(name, values)| (name.to_ascii_lowercase(), values))
            .collect(),
        cookies: read_entries(object, "cookies")?,
    })
}

fn read_response(object: &Map<String, Value>) -> Result<ReturnedResponse, FunctionInvalid> {
    let wrong = || FunctionInvalid::Shape("statusCode must be a whole number".into());
    let status = object.get("statusCode").and_then(Value::as_u64).ok_or_else(wrong)?;
    let cookies = each(object, "cookies")?.map(|(name, entry)| {
        let all = multi(entry).into_iter().map(|one| {
            let value = required(one, &format!("cookies.{name}.value"))?;
            let attributes = text(one, "attributes", &format!("cookies.{name}.attributes"))?.unwrap_or_default();
            Ok(SetCookie { value, attributes })
        });
        Ok((name.clone(), all.collect::<Result<_, FunctionInvalid>>()?))
    });
    Ok(ReturnedResponse {
        response: EventResponse {
            status: u16::try_from(status).map_err(|_| wrong())?,
            description: text(object, "statusDescription", "statusDescription")?.unwrap_or_default(),
            headers: read_entries(object, "headers")?,
            cookies: cookies.collect::<Result<_, FunctionInvalid>>()?,
        },
        body: read_body(object)?,
    })
}

/// A body is a text, or an object that says how it is encoded.
fn read_body(object: &Map<String, Value>) -> Result<Option<Vec<u8>>, FunctionInvalid> {
    let body = match object.get("body") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone().into_bytes())),
        Some(Value::Object(body)) => body,
        Some(_) => return Err(FunctionInvalid::Shape("body must be a string or an object".into())),
    };
    let data = text(body, "data", "body.data")?.unwrap_or_default();
    match text(body, "encoding", "body.encoding")?.as_deref() {
        None | Some("text") => Ok(Some(data.into_bytes())),
        Some("base64") => BASE64
            .decode(data.as_bytes())
            .map(Some)
            .map_err(|error| FunctionInvalid::Shape(format!("body.data is not base64: {error}"))),
        Some(other) => Err(FunctionInvalid::Shape(format!("body.encoding is text or base64, and not {other:?}"))),
    }
}

fn read_entries(object: &Map<String, Value>, field: &str) -> Result<Entries, FunctionInvalid> {
    let entry = |(name, entry): (&String, &Map<String, Value>)| {
        let value = |one| required(one, &format!("{field}.{name}.value"));
        let values = multi(entry).into_iter().map(value).collect::<Result<_, FunctionInvalid>>()?;
        Ok((name.clone(), values))
    };
    each(object, field)?.map(entry).collect()
}

/// The entries of `field`, which may be absent.
fn each<'a>(
    object: &'a Map<String, Value>,
    field: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Map<String, Value>)> + use<'a>, FunctionInvalid> {
    let wrong = |what: &str| FunctionInvalid::Shape(format!("{what} must be an object"));
    let fields = match object.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::Object(fields)) => Some(fields),
        Some(_) => return Err(wrong(field)),
    };
    if let Some((name, _)) = fields.into_iter().flatten().find(|(_, entry)| !entry.is_object()) {
        return Err(wrong(&format!("{field}.{name}")));
    }
    Ok(fields.into_iter().flatten().filter_map(|(name, entry)| Some((name, entry.as_object()?))))
}

/// All values of an entry: those of `multiValue`, where there are any, else its own.
fn multi(entry: &Map<String, Value>) -> Vec<&Map<String, Value>> {
    let all = entry.get("multiValue").and_then(Value::as_array);
    let all: Vec<_> = all.into_iter().flatten().filter_map(Value::as_object).collect();
    if all.is_empty() { vec![entry] } else { all }
}

fn required(object: &Map<String, Value>, place: &str) -> Result<String, FunctionInvalid> {
    text(object, "value", place)?.ok_or_else(|| FunctionInvalid::Shape(format!("{place} is missing")))
}

fn text(object: &Map<String, Value>, field: &str, place: &str) -> Result<Option<String>, FunctionInvalid> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(FunctionInvalid::Shape(format!("{place} must be a string"))),
    }
}
