//! CloudFront's XML, read into the tree that its JSON is read into.
//!
//! XML has no lists, numbers and truth values, so what is one is known by its name: `Items` is a list whatever its members
//! are called, and the other names are those of the service model (2020-05-31), where none of them means two things.
//! Knows nothing else of CloudFront.

use std::ops::Range;

use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesRef, Event},
};
use serde_json::Value as Json;

use super::tree::{DEPTH_MAX, Node, Unreadable, Value};

/// Elements that are lists.
const LIST: &str = "Items";

/// Elements that are true or false.
const FLAGS: [&str; 22] = [
    "AccessControlAllowCredentials",
    "AdvertiseTrustStoreCaNames",
    "CloudFrontDefaultCertificate",
    "Compress",
    "EnableAcceptEncodingBrotli",
    "EnableAcceptEncodingGzip",
    "Enabled",
    "IgnoreCertificateExpiry",
    "IncludeBody",
    "IncludeCookies",
    "IncludeSubdomains",
    "IsIPV6Enabled",
    "IsTruncated",
    "ModeBlock",
    "OriginOverride",
    "Override",
    "Preload",
    "Protection",
    "QueryString",
    "Required",
    "SmoothStreaming",
    "Staging",
];

/// Elements that are numbers.
const NUMBERS: [&str; 21] = [
    "AccessControlMaxAgeSec",
    "ConnectionAttempts",
    "ConnectionTimeout",
    "DefaultTTL",
    "ErrorCachingMinTTL",
    "ErrorCode",
    "HTTPPort",
    "HTTPSPort",
    "IdleTTL",
    "InProgressInvalidationBatches",
    "MaxItems",
    "MaxTTL",
    "MaximumTTL",
    "MinTTL",
    "OriginKeepaliveTimeout",
    "OriginReadTimeout",
    "Quantity",
    "ResponseCompletionTimeout",
    "SamplingRate",
    "StatusCode",
    "Weight",
];

/// An element that is open.
#[derive(Default)]
struct Open {
    name: String,
    start: usize,
    text: String,
    members: Vec<(String, Node)>,
}

/// Parses a document: an object of one member, the root element.
///
/// # Errors
/// It is no XML, has a document type or entities of its own, is nested too deep, or mixes text and elements.
pub(super) fn parse(text: &str) -> Result<Node, Unreadable> {
    let mut reader = Reader::from_str(text);
    // What stands around the root element.
    let mut open = vec![Open::default()];
    let position = |at: u64| usize::try_from(at).unwrap_or(text.len()).min(text.len());
    loop {
        let start = position(reader.buffer_position());
        let refuse = |message: &str| Unreadable { message: message.to_owned(), at: start };
        let event = reader.read_event().map_err(|error| {
            let at = position(reader.error_position());
            Unreadable { message: error.to_string(), at }
        })?;
        let end = position(reader.buffer_position());
        match event {
            Event::Start(tag) => {
                if open.len() > DEPTH_MAX {
                    return Err(refuse(&format!("elements are nested more than {DEPTH_MAX} deep")));
                }
                let name = tag.local_name().as_ref().to_owned();
                open.push(Open { name, start, ..Open::default() });
            }
            Event::Empty(tag) => {
                let name = tag.local_name().as_ref().to_owned();
                close(&mut open, Open { name, start, ..Open::default() }, end)?;
            }
            // That it is the end of the same element is checked by the reader.
            Event::End(_) => match open.pop() {
                Some(element) if !open.is_empty() => close(&mut open, element, end)?,
                _ => return Err(refuse("an element ends that was not begun")),
            },
            Event::Text(text) => say(&mut open, &text.xml10_content()),
            Event::CData(text) => say(&mut open, &text.xml10_content()),
            Event::GeneralRef(name) => {
                let text = resolved(&name).ok_or_else(|| refuse(&format!("there is no entity &{};", &*name)))?;
                say(&mut open, &text);
            }
            Event::DocType(_) => return Err(refuse("document types are not taken")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let end = text.len();
    match (open.pop(), open.is_empty()) {
        (Some(outside), true) if outside.text.trim().is_empty() && outside.members.len() == 1 => {
            Ok(Node { value: Value::Object(outside.members), at: 0..end })
        }
        (Some(outside), true) => {
            let message = match outside.members.len() {
                0 => "there is no element",
                1 => "there is text outside of the root element",
                _ => "there is more than one root element",
            };
            Err(Unreadable { message: message.to_owned(), at: 0 })
        }
        (Some(element), false) => {
            Err(Unreadable { message: format!("the element {} does not end", element.name), at: element.start })
        }
        (None, _) => Err(Unreadable { message: "there is no element".to_owned(), at: 0 }),
    }
}

fn say(open: &mut [Open], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// The text of a character reference or one of XML's own five entities.
fn resolved(name: &BytesRef<'_>) -> Option<String> {
    match name.resolve_char_ref() {
        Ok(Some(char)) => Some(char.to_string()),
        Ok(None) => resolve_predefined_entity(name).map(str::to_owned),
        Err(_) => None,
    }
}

/// Ends an element, which becomes a member of the one around it.
fn close(open: &mut [Open], element: Open, end: usize) -> Result<(), Unreadable> {
    let Open { name, start, text, members } = element;
    let at: Range<usize> = start..end;
    if !members.is_empty() && !text.trim().is_empty() {
        return Err(Unreadable { message: format!("the element {name} has both text and elements"), at: start });
    }
    let value = if name == LIST {
        if !text.trim().is_empty() {
            return Err(Unreadable { message: format!("the list {name} has text in it"), at: start });
        }
        Value::List(members.into_iter().map(|(_, item)| item).collect())
    } else if members.is_empty() {
        Value::Plain(plain(&name, text))
    } else {
        Value::Object(members)
    };
    if let Some(around) = open.last_mut() {
        around.members.push((name, Node { value, at }));
    }
    Ok(())
}

/// What an element without elements says; a text where it is not what its name promises, which whoever wants it refuses.
fn plain(name: &str, text: String) -> Json {
    let bare = text.trim();
    if FLAGS.contains(&name) {
        return bare.parse().map_or(Json::String(text), Json::Bool);
    }
    if NUMBERS.contains(&name) {
        let number = bare.parse::<u64>().map(Json::from).or_else(|_| bare.parse::<f64>().map(Json::from));
        return number.ok().filter(|number| !number.is_null()).unwrap_or(Json::String(text));
    }
    Json::String(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_say_what_is_a_list_a_number_and_a_truth_value() {
        let text = "<?xml version=\"1.0\"?>\n<C xmlns=\"http://x/\"><!-- c -->\n  <Origins><Quantity>2</Quantity><Items><Origin><Id>a \
                    &amp; b</Id></Origin><Origin/></Items></Origins>\n<Enabled>true</Enabled><MinTTL> 5 </MinTTL>\
                    <Comment /><ErrorCode>x</ErrorCode><SamplingRate>12.5</SamplingRate><Name><![CDATA[<7>]]></Name></C>";
        let node = parse(text).unwrap();
        let expected = json!({ "C": {
            "Origins": { "Quantity": 2, "Items": [{ "Id": "a & b" }, ""] },
            "Enabled": true, "MinTTL": 5, "Comment": "", "ErrorCode": "x", "SamplingRate": 12.5, "Name": "<7>",
        } });
        assert_eq!(node.to_json(), expected);
        assert_eq!(&text[node.nearest("C.Origins.Items[0].Id").at.clone()], "<Id>a &amp; b</Id>");
        assert_eq!(&text[node.nearest("C.Comment").at.clone()], "<Comment />");
    }

    #[test]
    fn what_is_no_document_says_where() {
        let at = |text: &str| parse(text).map(|node| node.to_json()).unwrap_err().at;
        for (text, expected) in [
            ("", 0),
            ("text", 0),
            ("<a><b></a>", 6),
            ("<a><b>", 3),
            ("<a/><b/>", 0),
            ("<a>x<b/></a>", 0),
            ("<Items>x</Items>", 0),
            ("<a>&none;</a>", 3),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", 0),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        let deep = "<a>".repeat(10_000) + &"</a>".repeat(10_000);
        assert!(parse(&deep).unwrap_err().message.contains("nested"));
    }
}
