//! What nodes and places are called.

use std::{fmt, str::FromStr};

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A caching proxy that viewers talk to.
    Edge,
    /// A caching proxy that the edges around it talk to (CloudFront's regional edge cache).
    Regional,
    /// A caching proxy that only edges and regional caches talk to (CloudFront's Origin Shield).
    Shield,
    /// Authoritative DNS and HTTP routing.
    Router,
    /// A simulated origin.
    Origin,
    /// The forward proxy that lets a client stand somewhere.
    Viewer,
}

impl Role {
    /// All roles, in the order in which tables list them.
    pub const ALL: [Self; 6] = [Self::Edge, Self::Regional, Self::Shield, Self::Router, Self::Origin, Self::Viewer];

    /// The lower-case word that begins a node's id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Regional => "regional",
            Self::Shield => "shield",
            Self::Router => "router",
            Self::Origin => "origin",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name is not one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct InvalidName(String, &'static str);

impl FromStr for Role {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| InvalidName(text.into(), "a role: edge, regional, shield, router, origin or viewer"))
    }
}

/// A node: its role and a name, as in `edge.iad`, `shield.iad`, `origin.primary`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    role: Role,
    name: String,
}

impl NodeId {
    /// A node id; `name` is folded to lower case.
    pub fn new(role: Role, name: &str) -> Self {
        Self { role, name: name.to_ascii_lowercase() }
    }

    /// What the node does.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The part after the dot.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.role, self.name)
    }
}

impl FromStr for NodeId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('.') {
            Some((role, name)) if !name.is_empty() => Ok(Self::new(role.parse()?, name)),
            _ => Err(InvalidName(text.into(), "a node id such as edge.iad")),
        }
    }
}

/// A point of presence by its three-letter IATA metro code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PopCode([u8; 3]);

impl PopCode {
    /// The code, upper case.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("???")
    }

    /// The code, lower case, as in node ids.
    pub fn lower(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }
}

impl FromStr for PopCode {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes: [u8; 3] = text
            .as_bytes()
            .try_into()
            .ok()
            .filter(|code: &[u8; 3]| code.iter().all(u8::is_ascii_alphabetic))
            .ok_or_else(|| InvalidName(text.into(), "a PoP code of three letters"))?;
        Ok(Self(bytes.map(|byte| byte.to_ascii_uppercase())))
    }
}

impl fmt::Display for PopCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PopCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_read_back_what_they_print() {
        let id: NodeId = "edge.IAD".parse().unwrap();
        assert_eq!((id.role(), id.name(), id.to_string()), (Role::Edge, "iad", "edge.iad".to_owned()));
        for wrong in ["", "edge", "edge.", "planet.iad"] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn pop_codes_are_three_letters() {
        assert_eq!("nrt".parse::<PopCode>().unwrap().as_str(), "NRT");
        for wrong in ["", "NR", "NRTX", "N1T", "né"] {
            assert!(wrong.parse::<PopCode>().is_err(), "{wrong:?}");
        }
    }
}
