//! What a decision is called, so that it can be told again.
//!
//! An answer is a pure function of a snapshot and of whom it is for, so its name says both, and nothing has to be
//! remembered of it: `iad-6927a1b2-42-0-c6120300s24` is the answer of router `iad`, in the run that began then, from
//! its snapshot 42, for its first host and the clients of 198.18.3.0/24. Whoever still has the snapshot can repeat it.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{AskedBy, PopIndex};
use crate::PopCode;

/// Whom a decision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The host, by its position in the snapshot's list.
    pub host: usize,
    /// The address that was judged.
    pub client: IpAddr,
    /// Where that address came from.
    pub asked_by: AskedBy,
    /// For policies that answer in turn: which turn.
    pub turn: u64,
}

/// The name of a decision. Its text is plain enough for a path, a header and a TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionId {
    /// The name of the router that decided.
    pub router: String,
    /// Which run of it, since versions begin anew with each.
    pub run: u32,
    /// The snapshot's version.
    pub version: u64,
    /// Whom it is for.
    pub subject: Subject,
    /// The edge that the client was kept on, by PoP and position in it, if it was (HTTP routing).
    pub held: Option<(PopIndex, u16)>,
    /// PoPs that were supposed to be drained too.
    pub assume_drained: Vec<PopCode>,
    /// The name that was asked for, where that is told; left out where it is not plain.
    pub name: String,
}

impl DecisionId {
    /// A decision that supposes nothing and was held nowhere.
    pub fn new(router: &str, run: u32, version: u64, subject: Subject) -> Self {
        let (router, name) = (router.to_owned(), String::new());
        Self { router, run, version, subject, held: None, assume_drained: vec![], name }
    }

    /// Reads the name of a decision of `router`; `None` where it is none.
    pub fn parse(router: &str, text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix(router)?.strip_prefix('-')?;
        let mut part = || {
            let (part, after) = rest.split_once('-').unwrap_or((rest, ""));
            rest = after;
            part
        };
        let run = u32::from_str_radix(plain(part())?, 16).ok()?;
        let version = plain(part())?.parse().ok()?;
        let host = plain(part())?.parse().ok()?;
        let (client, asked_by) = client(part())?;
        let mut id = Self::new(router, run, version, Subject { host, client, asked_by, turn: 0 });
        while !rest.is_empty() {
            if let Some(name) = rest.strip_prefix('n') {
                // Names have hyphens of their own, so this one is the last.
                name.clone_into(&mut id.name);
                break;
            }
            let (part, after) = rest.split_once('-').unwrap_or((rest, ""));
            rest = after;
            let (kind, value) = part.split_at_checked(1)?;
            match kind {
                "t" => id.subject.turn = plain(value)?.parse().ok()?,
                "e" => {
                    let (pop, edge) = value.split_once('.')?;
                    id.held = Some((PopIndex::new(plain(pop)?.parse().ok()?), plain(edge)?.parse().ok()?));
                }
                "d" => id.assume_drained = value.split('.').map(|code| code.parse().ok()).collect::<Option<_>>()?,
                _ => return None,
            }
        }
        Some(id)
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { router, run, version, subject, held, assume_drained, name } = self;
        write!(f, "{router}-{run:x}-{version}-{}-", subject.host)?;
        match subject.client {
            IpAddr::V4(v4) => write!(f, "{:08x}", v4.to_bits())?,
            IpAddr::V6(v6) => write!(f, "{:032x}", v6.to_bits())?,
        }
        match subject.asked_by {
            AskedBy::Peer => f.write_char('p')?,
            AskedBy::OptOut => f.write_char('o')?,
            AskedBy::Subnet { source_len } => write!(f, "s{source_len}")?,
        }
        if subject.turn != 0 {
            write!(f, "-t{}", subject.turn)?;
        }
        if let Some((pop, edge)) = held {
            write!(f, "-e{}.{edge}", pop.index())?;
        }
        for (at, code) in assume_drained.iter().enumerate() {
            write!(f, "{}{code}", if at == 0 { "-d" } else { "." })?;
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !name.is_empty() && name.bytes().all(is_plain) {
            write!(f, "-n{name}")?;
        }
        Ok(())
    }
}

/// Digits without the sign that parsers of numbers take.
fn plain(digits: &str) -> Option<&str> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)
}

fn client(text: &str) -> Option<(IpAddr, AskedBy)> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit())?;
    let (bits, from) = text.split_at_checked(end)?;
    let address = match bits.len() {
        8 => IpAddr::V4(Ipv4Addr::from_bits(u32::from_str_radix(bits, 16).ok()?)),
        32 => IpAddr::V6(Ipv6Addr::from_bits(u128::from_str_radix(bits, 16).ok()?)),
        _ => return None,
    };
    let asked_by = match from {
        "p" => AskedBy::Peer,
        "o" => AskedBy::OptOut,
        _ => AskedBy::Subnet { source_len: plain(from.strip_prefix('s')?)?.parse().ok()? },
    };
    Some((address, asked_by))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = DecisionId> {
        let asked_by = prop_oneof![
            Just(AskedBy::Peer),
            Just(AskedBy::OptOut),
            (1..=128u8).prop_map(|source_len| AskedBy::Subnet { source_len })
        ];
        let subject = (0..100usize, any::<IpAddr>(), asked_by, prop_oneof![Just(0), any::<u64>()]);
        let held = prop::option::of((any::<u16>(), any::<u16>()));
        let codes = prop::collection::vec("[A-Z]{3}", 0..3);
        (any::<(u32, u64)>(), subject, held, codes, "([a-z0-9_-]{1,5}\\.){0,3}").prop_map(
            |((run, version), (host, client, asked_by, turn), held, codes, name)| DecisionId {
                held: held.map(|(pop, edge)| (PopIndex::new(pop), edge)),
                assume_drained: codes.iter().map(|code| code.parse().unwrap()).collect(),
                name,
                ..DecisionId::new("iad", run, version, Subject { host, client, asked_by, turn })
            },
        )
    }

    proptest! {
        #[test]
        fn an_id_reads_back_what_it_prints(id in ids()) {
            let text = id.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)), "{text}");
            prop_assert_eq!(DecisionId::parse("iad", &text), Some(id));
        }

        #[test]
        fn no_text_is_a_panic(text in "\\PC*", rest in "[0-9a-fpstedn.-]{0,40}") {
            let _ = DecisionId::parse("iad", &text);
            let _ = DecisionId::parse("iad", &format!("iad-{rest}"));
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        let id = "iad-6927a1b2-42-0-c6120300s24";
        let read = DecisionId::parse("iad", id).unwrap();
        assert_eq!(read.to_string(), id);
        assert_eq!(read.subject.client, "198.18.3.0".parse::<IpAddr>().unwrap());
        for wrong in [
            "",
            "iad",
            "iad-0-0",
            "fra-6927a1b2-42-0-c6120300s24",
            "iad-6927a1b2-42-0-c6120300",
            "iad-6927a1b2-42-0-c61203s24",
            "iad-6927a1b2-42-0-c6120300s",
            "iad-6927a1b2-+42-0-c6120300s24",
            "iad-6927a1b2-42-0-c6120300s24-x1",
            "iad-6927a1b2-42-0-c6120300s24-dFR",
        ] {
            assert_eq!(DecisionId::parse("iad", wrong), None, "{wrong:?}");
        }
    }
}
