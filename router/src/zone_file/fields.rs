//! Which fields the data of each type have, as text and on the wire.

use cdn_core::zone::RecordType;

/// A field of a record's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A domain name.
    Name,
    /// A number of one byte.
    U8,
    /// A number of two bytes.
    U16,
    /// A number of four bytes.
    U32,
    /// A time in seconds, or with units.
    Period,
    /// A moment: seconds since 1970, or `YYYYMMDDHHmmSS` (RFC 4034, section 3.2).
    Moment,
    /// A type by its mnemonic.
    Type,
    /// A string of at most 255 bytes.
    Text,
    /// One such string or more, to the end.
    Texts,
    /// One word, without its length.
    Bytes,
    /// Hexadecimal digits to the end.
    Hex,
    /// Hexadecimal digits in one word, preceded by their length; `-` for none (RFC 5155, section 3.3).
    Salt,
    /// So many bytes in hexadecimal, joined by this.
    Groups(u8, u8, char),
    /// Base 64 to the end.
    Base64,
    /// Base 32 with the hexadecimal alphabet in one word, preceded by its length (RFC 5155, section 3.3).
    Base32,
    /// Types to the end, as a bitmap (RFC 4034, section 4.1.2).
    Types,
    /// Parameters to the end (RFC 9460, section 2.1).
    SvcParams,
    /// A place on Earth (RFC 1876).
    Loc,
}

/// The fields of the data of `record_type`; `None` where there is only the form of RFC 3597.
pub(super) fn fields(record_type: RecordType) -> Option<&'static [Field]> {
    use Field::{
        Base32, Base64, Bytes, Groups, Hex, Ipv4, Ipv6, Loc, Moment, Name, Period, Salt, SvcParams, Text, Texts, Type,
        Types, U8, U16, U32,
    };
    Some(match record_type.0 {
        1 => &[Ipv4],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => &[Name],
        // SOA
        6 => &[Name, Name, U32, Period, Period, Period, Period],
        // HINFO
        13 => &[Text, Text],
        // MINFO, RP
        14 | 17 => &[Name, Name],
        // MX, AFSDB, RT, KX, LP
        15 | 18 | 21 | 36 | 107 => &[U16, Name],
        // TXT, ISDN, SPF
        16 | 20 | 99 => &[Texts],
        // X25
        19 => &[Text],
        // SIG, RRSIG
        24 | 46 => &[Type, U8, U8, U32, Moment, Moment, U16, Name, Base64],
        // KEY, DNSKEY, CDNSKEY
        25 | 48 | 60 => &[U16, U8, U8, Base64],
        // PX
        26 => &[U16, Name, Name],
        // GPOS
        27 => &[Text, Text, Text],
        28 => &[Ipv6],
        29 => &[Loc],
        // SRV
        33 => &[U16, U16, U16, Name],
        // NAPTR
        35 => &[U16, U16, Text, Text, Text, Name],
        // CERT
        37 => &[U16, U16, U8, Base64],
        // DS, CDS
        43 | 59 => &[U16, U8, U8, Hex],
        // SSHFP
        44 => &[U8, U8, Hex],
        // NSEC
        47 => &[Name, Types],
        // DHCID, OPENPGPKEY
        49 | 61 => &[Base64],
        // NSEC3, NSEC3PARAM
        50 => &[U8, U8, U16, Salt, Base32, Types],
        51 => &[U8, U8, U16, Salt],
        // TLSA, SMIMEA
        52 | 53 => &[U8, U8, U8, Hex],
        // CSYNC
        62 => &[U32, U16, Types],
        // ZONEMD
        63 => &[U32, U8, U8, Hex],
        // SVCB, HTTPS
        64 | 65 => &[U16, Name, SvcParams],
        // NID, L64
        104 | 106 => &[U16, Groups(8, 2, ':')],
        // L32
        105 => &[U16, Ipv4],
        // EUI48, EUI64
        108 => &[Groups(6, 1, '-')],
        109 => &[Groups(8, 1, '-')],
        // URI
        256 => &[U16, U16, Bytes],
        // CAA
        257 => &[U8, Text, Bytes],
        _ => return None,
    })
}
