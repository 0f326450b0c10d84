//! Names, what stands under them, and what is answered to whoever asks.
//!
//! Follows RFC 1034 (section 4.3.2) as clarified since: RFC 2181 (sets, aliases), RFC 2308 (negative answers), RFC 4592
//! (wildcards), RFC 6672 (DNAME), RFC 8020 (empty non-terminals), RFC 8482 (minimal ANY), RFC 9460 (HTTPS and SVCB) and
//! RFC 9471 (glue). Knows no wire format of messages and no text, and does not choose among edges: a name that is routed
//! says so.

mod answer;
mod data;
mod name;
mod record_type;
mod svcb;
mod zones;

pub use self::{
    answer::{Alias, Answer, AnswerCode, Owner, Records, Section, Set},
    data::{Data, MalformedData, Soa},
    name::{InvalidDomainName, NAME_BYTES_MAX, Name},
    record_type::{RecordType, UnknownType},
    svcb::{HttpsEndpoint, Svcb},
    zones::{Conflict, ConflictKind, Record, RecordSet, RoutedTypes, Zones, ZonesBuilder},
};

#[cfg(test)]
mod tests;
