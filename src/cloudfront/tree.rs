//! JSON in which every value knows where it stands in its text; XML of CloudFront's is read into the same
//! ([`super::xml`]).
//!
//! serde_json parses; this only follows its raw slices. Knows nothing of CloudFront.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Values inside values. CloudFront's documents are a dozen deep.
pub(super) const DEPTH_MAX: usize = 48;

/// A value and the bytes it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Its place in the text.
    pub(crate) at: Range<usize>,
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`, a truth value, a number or a text.
    Plain(serde_json::Value),
    /// A list.
    List(Vec<Node>),
    /// The members of an object in the order written.
    Object(Vec<(String, Node)>),
}

/// A text is neither JSON nor XML, or has more to it than is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Why.
    pub(crate) message: String,
    /// Where.
    pub(crate) at: usize,
}

impl Node {
    /// Parses a text.
    ///
    /// # Errors
    /// It is no JSON, or nested too deep.
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| refused(&error, text, 0))?;
        Self::follow(raw, text, 0)
    }

    fn follow(raw: &RawValue, whole: &str, depth: usize) -> Result<Self, Unreadable> {
        let text = raw.get();
        // `text` is a slice of `whole`: raw values are borrowed.
        let start = (text.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        let at = start..start + text.len();
        if depth > DEPTH_MAX {
            return Err(Unreadable { message: format!("values are nested more than {DEPTH_MAX} deep"), at: start });
        }
        let refused = |error: serde_json::Error| refused(&error, text, start);
        let value = match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(refused)?;
                let follow = |(name, raw)| Ok((name, Self::follow(raw, whole, depth + 1)?));
                Value::Object(members.into_iter().map(follow).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(refused)?;
                let follow = |raw| Self::follow(raw, whole, depth + 1);
                Value::List(items.into_iter().map(follow).collect::<Result<_, _>>()?)
            }
            _ => Value::Plain(serde_json::from_str(text).map_err(refused)?),
        };
        Ok(Self { value, at })
    }

    /// The member of this name; of several the last, as most parsers have it.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members.iter().rev().find(|(own, _)| own == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text, where it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(plain) => plain.as_str(),
            _ => None,
        }
    }

    /// Nodes right below.
    pub(crate) fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match &self.value {
            Value::Plain(_) => Box::new(std::iter::empty()),
            Value::List(items) => Box::new(items.iter()),
            Value::Object(members) => Box::new(members.iter().map(|(_, node)| node)),
        }
    }

    /// The value without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Plain(plain) => plain.clone(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Object(members) => {
                serde_json::Value::Object(members.iter().map(|(name, node)| (name.clone(), node.to_json())).collect())
            }
        }
    }

    /// What stands at a path such as `Origins.Items[0].Id`, or the nearest thing above it that is there.
    pub(crate) fn nearest(&self, path: &str) -> &Self {
        let mut found = self;
        for step in path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty()) {
            let next = match &found.value {
                Value::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => found.member(step),
            };
            match next {
                Some(next) => found = next,
                None => break,
            }
        }
        found
    }
}

fn refused(error: &serde_json::Error, text: &str, start: usize) -> Unreadable {
    let lines_before = error.line().saturating_sub(1);
    let line: usize = text.split_inclusive('\n').take(lines_before).map(str::len).sum();
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
    Unreadable { message, at: start + (line + error.column().saturating_sub(1)).min(text.len()) }
}

/// The members of an object, unread.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_where_they_stand() {
        let text = "{\n  \"A\": [1, {\"B\": \"x\\u00e9\"}],\n  \"A\": [2]\n, \"C\": null}";
        let node = Node::parse(text).unwrap();
        let Value::Object(members) = &node.value else { panic!("{node:?}") };
        let Value::List(items) = &members[0].1.value else { panic!("{members:?}") };
        let inner = items[1].member("B").unwrap();
        assert_eq!((&text[inner.at.clone()], inner.text()), ("\"x\\u00e9\"", Some("xé")));
        assert_eq!(&text[node.member("A").unwrap().at.clone()], "[2]", "the last of a name counts");
        assert_eq!(node.nearest("A[0].X").to_json(), serde_json::json!(2));
    }

    #[test]
    fn what_is_no_json_says_where() {
        let at = |text: &str| Node::parse(text).map(|_| ()).unwrap_err().at;
        assert_eq!(at("{\n \"a\": nope}"), 9);
        assert_eq!(at("{\"a\": 1"), 6);
        assert_eq!(at(""), 0);
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(Node::parse(&deep).unwrap_err().message.contains("nested"));
    }
}
