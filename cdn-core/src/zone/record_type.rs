//! Types of records and questions, by number and mnemonic.

use std::{fmt, str::FromStr};

/// The type of a record or a question, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

/// Text that names no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type of records")]
pub struct UnknownType(pub String);

/// Declares the types that have a constant, and the table of mnemonics from them and the others.
macro_rules! types {
    ({ $($(#[$doc:meta])* $constant:ident = $number:literal;)* } { $($other:literal = $other_number:literal,)* }) => {
        impl RecordType {
            $($(#[$doc])* pub const $constant: Self = Self($number);)*

            /// Every type that has a mnemonic (IANA's registry of DNS parameters), and it.
            pub const MNEMONICS: &'static [(&'static str, Self)] = &[
                $((stringify!($constant), Self($number)),)*
                $(($other, Self($other_number)),)*
            ];
        }
    };
}

types! {
    {
        /// An IPv4 address (RFC 1035).
        A = 1;
        /// A name server (RFC 1035).
        NS = 2;
        /// An alias (RFC 1035).
        CNAME = 5;
        /// Start of authority (RFC 1035).
        SOA = 6;
        /// A pointer to a name (RFC 1035).
        PTR = 12;
        /// A mail exchange (RFC 1035).
        MX = 15;
        /// Text (RFC 1035).
        TXT = 16;
        /// A key of old (RFC 2535).
        KEY = 25;
        /// An IPv6 address (RFC 3596).
        AAAA = 28;
        /// A service (RFC 2782).
        SRV = 33;
        /// An alias of everything below (RFC 6672).
        DNAME = 39;
        /// EDNS (RFC 6891); never a question.
        OPT = 41;
        /// The key of a delegation (RFC 4034); stands at its parent.
        DS = 43;
        /// A signature (RFC 4034).
        RRSIG = 46;
        /// The next name (RFC 4034).
        NSEC = 47;
        /// A service's binding (RFC 9460).
        SVCB = 64;
        /// The binding of HTTPS (RFC 9460).
        HTTPS = 65;
        /// Incremental zone transfer (RFC 1995).
        IXFR = 251;
        /// Zone transfer (RFC 5936).
        AXFR = 252;
        /// Everything (RFC 8482).
        ANY = 255;
        /// Who may issue certificates (RFC 8659).
        CAA = 257;
    }
    {
        "MD" = 3, "MF" = 4, "MB" = 7, "MG" = 8, "MR" = 9, "NULL" = 10, "WKS" = 11, "HINFO" = 13, "MINFO" = 14, "RP" = 17,
        "AFSDB" = 18, "X25" = 19, "ISDN" = 20, "RT" = 21, "NSAP" = 22, "SIG" = 24, "PX" = 26, "GPOS" = 27, "LOC" = 29,
        "NXT" = 30, "NAPTR" = 35, "KX" = 36, "CERT" = 37, "APL" = 42, "SSHFP" = 44, "IPSECKEY" = 45, "DNSKEY" = 48,
        "DHCID" = 49, "NSEC3" = 50, "NSEC3PARAM" = 51, "TLSA" = 52, "SMIMEA" = 53, "HIP" = 55, "CDS" = 59, "CDNSKEY" = 60,
        "OPENPGPKEY" = 61, "CSYNC" = 62, "ZONEMD" = 63, "SPF" = 99, "NID" = 104, "L32" = 105, "L64" = 106, "LP" = 107,
        "EUI48" = 108, "EUI64" = 109, "TKEY" = 249, "TSIG" = 250, "MAILB" = 253, "MAILA" = 254, "URI" = 256,
    }
}

impl RecordType {
    /// Whether no record can have it: only questions and messages do (RFC 6895, section 3.1).
    pub const fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }
}

impl fmt::Display for RecordType {
    /// The mnemonic, or as `TYPE65280` (RFC 3597, section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::MNEMONICS.iter().find(|(_, known)| known == self) {
            Some((mnemonic, _)) => f.write_str(mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl FromStr for RecordType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        if let Some(&(_, known)) = Self::MNEMONICS.iter().find(|(mnemonic, _)| mnemonic.eq_ignore_ascii_case(text)) {
            return Ok(known);
        }
        let number = text.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("TYPE")).and_then(|_| text.get(4..));
        let is_number = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_digit());
        let number = number.filter(is_number).and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| UnknownType(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_mnemonics_or_numbers() {
        for (text, number) in
            [("A", 1), ("aaaa", 28), ("https", 65), ("TYPE65280", 65280), ("type1", 1), ("LOC", 29), ("AFSDB", 18)]
        {
            assert_eq!(text.parse(), Ok(RecordType(number)), "{text}");
        }
        for bad in ["", "TYPE", "TYPE65536", "TYPE+1", "B", "IN"] {
            assert!(bad.parse::<RecordType>().is_err(), "{bad}");
        }
        assert_eq!((RecordType(65).to_string(), RecordType(999).to_string()), ("HTTPS".into(), "TYPE999".into()));
    }
}
