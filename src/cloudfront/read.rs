//! Taking an object of CloudFront's apart, member by member, with the place of whatever is wrong.
//!
//! Every list of CloudFront's is `{"Quantity": N, "Items": [...]}`; a text that is not set is `""`, and counts as absent.

use std::ops::Range;

use serde_json::{Map, Value as Json};

use super::tree::{Node, Value};

/// AWS would refuse the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The code of AWS's error, such as `NoSuchOrigin`.
    pub(crate) code: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// Where, such as `Origins.Items[0].DomainName`.
    pub(crate) path: String,
    /// The bytes of the text that it is about.
    pub(crate) at: Range<usize>,
}

/// The code for a value that CloudFront does not take.
pub(super) const INVALID_ARGUMENT: &str = "InvalidArgument";
/// What clients of AWS's say of a member that lacks or has another type; the request is never sent.
pub(super) const PARAM_VALIDATION: &str = "ParamValidation";

/// A value and the way to it.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> At<'a> {
    pub(super) fn refuse(&self, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: self.path.clone(), at: self.node.at.clone() }
    }

    fn mistyped(&self, wanted: &str) -> Refusal {
        let name = self.path.rsplit('.').next().filter(|name| !name.is_empty()).unwrap_or("the document");
        self.refuse(PARAM_VALIDATION, format!("{name} must be {wanted}"))
    }

    /// Takes it for an object.
    pub(super) fn object(&self) -> Result<Object<'a>, Refusal> {
        match &self.node.value {
            Value::Object(members) => {
                let members = members.iter().map(|(name, node)| (name.as_str(), node)).collect();
                Ok(Object { at: self.clone(), members })
            }
            _ => Err(self.mistyped("an object")),
        }
    }

    /// Takes it for a text.
    pub(super) fn text(&self) -> Result<&'a str, Refusal> {
        self.node.text().ok_or_else(|| self.mistyped("a text"))
    }

    /// Takes it for a whole number that is not negative.
    pub(super) fn number(&self) -> Result<u64, Refusal> {
        match &self.node.value {
            Value::Plain(plain) => plain.as_u64(),
            _ => None,
        }
        .ok_or_else(|| self.mistyped("a whole number, not negative"))
    }
}

/// An object whose members are taken one after the other; what remains was not understood.
pub(super) struct Object<'a> {
    pub(super) at: At<'a>,
    members: Vec<(&'a str, &'a Node)>,
}

impl<'a> Object<'a> {
    pub(super) fn refuse(&self, code: &'static str, message: impl Into<String>) -> Refusal {
        self.at.refuse(code, message)
    }

    /// Where a member stands, taken or not; where the object stands if it has none of this name.
    pub(super) fn place(&self, name: &str) -> At<'a> {
        match self.at.node.member(name) {
            Some(node) => At { node, path: self.path_of(name) },
            None => At { node: self.at.node, path: self.path_of(name) },
        }
    }

    /// The member, unless it is absent or `null`.
    pub(super) fn take(&mut self, name: &str) -> Option<At<'a>> {
        let found = self.members.iter().rposition(|(own, _)| *own == name)?;
        let (_, node) = self.members[found];
        self.members.retain(|(own, _)| *own != name);
        let is_null = matches!(&node.value, Value::Plain(Json::Null));
        (!is_null).then(|| At { node, path: self.path_of(name) })
    }

    fn path_of(&self, name: &str) -> String {
        match self.at.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// A member that AWS wants.
    pub(super) fn required(&mut self, name: &str) -> Result<At<'a>, Refusal> {
        let at = self.at.clone();
        self.take(name).ok_or_else(|| at.refuse(PARAM_VALIDATION, format!("{name} is missing")))
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let Some(at) = self.take(name) else { return Ok(None) };
        Ok(Some(at.text()?).filter(|text| !text.is_empty()))
    }

    /// A truth value; `false` where it is absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        let Some(at) = self.take(name) else { return Ok(false) };
        match &at.node.value {
            Value::Plain(Json::Bool(flag)) => Ok(*flag),
            _ => Err(at.mistyped("true or false")),
        }
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        name: &str,
        bounds: std::ops::RangeInclusive<u64>,
        code: &'static str,
    ) -> Result<Option<u64>, Refusal> {
        let Some(at) = self.take(name) else { return Ok(None) };
        let number = at.number()?;
        if bounds.contains(&number) {
            return Ok(Some(number));
        }
        Err(at.refuse(code, format!("{name} is {number}, and must be {} to {}", bounds.start(), bounds.end())))
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Refusal> {
        self.take(name).map(|at| at.object()).transpose()
    }

    /// The items of a list; none where it is absent.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<At<'a>>, Refusal> {
        match self.object(name)? {
            Some(mut list) => list.items(),
            None => Ok(Vec::new()),
        }
    }

    /// The texts of a list.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        self.list(name)?.iter().map(|at| at.text().map(str::to_owned)).collect()
    }

    /// The items of this object, which is a list.
    pub(super) fn items(&mut self) -> Result<Vec<At<'a>>, Refusal> {
        let quantity = self.take("Quantity").map(|at| at.number()).transpose()?;
        let items = match self.take("Items") {
            None => Vec::new(),
            Some(at) => match &at.node.value {
                Value::List(items) => {
                    let path = |index| format!("{}[{index}]", at.path);
                    items.iter().enumerate().map(|(index, node)| At { node, path: path(index) }).collect()
                }
                _ => return Err(at.mistyped("a list")),
            },
        };
        match quantity {
            Some(quantity) if quantity != items.len() as u64 => {
                let there = items.len();
                let message = format!("Quantity is {quantity}, and there are {there} Items");
                Err(self.refuse("InconsistentQuantities", message))
            }
            _ => Ok(items),
        }
    }

    /// What was not taken and says something: where it stands, by name.
    pub(super) fn rest(&self) -> Vec<(&'a str, At<'a>)> {
        let says = |(name, node): &(&'a str, &'a Node)| {
            (!is_idle(&node.to_json())).then(|| (*name, At { node, path: self.path_of(name) }))
        };
        self.members.iter().filter_map(says).collect()
    }
}

/// Whether a value says no more than its absence would: `""`, `false`, an empty list, an object of nothing else.
pub(super) fn is_idle(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(flag) => !flag,
        // A time of zero is no absent time.
        Json::Number(_) => false,
        Json::String(text) => matches!(text.as_str(), "" | "none"),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.iter().all(|(name, value)| match name.as_str() {
            "Quantity" => value.as_u64() == Some(0),
            _ => is_idle(value),
        }),
    }
}

/// `value` without what is null, which TOML cannot write.
pub(super) fn without_nulls(value: &Json) -> Json {
    match value {
        Json::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            Json::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>())
        }
        Json::Array(items) => items.iter().filter(|item| !item.is_null()).map(without_nulls).collect(),
        plain => plain.clone(),
    }
}
