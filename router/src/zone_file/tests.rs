//! Zone files as people write them, what is wrong with others, and that what is printed is read back.

use proptest::prelude::*;

use super::{
    fields::{Field, fields},
    *,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Each record as its owner, TTL, type and data in hexadecimal, names as text where there are no others.
fn read(text: &str) -> Vec<String> {
    let file = parse(text, &name("demo.test")).unwrap_or_else(|error| panic!("{error} at {:?}", error.span));
    assert_eq!(file.records.len(), file.spans.len());
    file.records.iter().map(|record| format!("{} {} {}", record.name, record.ttl_s, printed(&record.data))).collect()
}

#[test]
fn a_file_as_in_rfc_1035_is_read() {
    let records = read(
        r#"
; the example of RFC 1035, section 5.3, with what came since
$TTL 1h
@   IN  SOA     VENERA      Action\.domains (
                                 20     ; SERIAL
                                 7200   ; REFRESH
                                 600    ; RETRY
                                 1w     ; EXPIRE
                                 60)    ; MINIMUM

        NS      A.ISI.EDU.
        NS      VENERA
        MX      10      VENERA
A       300 IN A       26.3.0.103
        IN 5m AAAA    2001:db8::1
VENERA  A       10.1.0.52 ; a comment
        A       128.9.0.32
$ORIGIN sub
www     CNAME   @
*       TXT     "a \"quoted; string\"" unquoted \100\;
"#,
    );
    assert_eq!(
        records,
        [
            r"demo.test 3600 SOA venera.demo.test. action\.domains.demo.test. 20 7200 600 604800 60",
            "demo.test 3600 NS a.isi.edu.",
            "demo.test 3600 NS venera.demo.test.",
            "demo.test 3600 MX 10 venera.demo.test.",
            "a.demo.test 300 A 26.3.0.103",
            "a.demo.test 300 AAAA 2001:db8::1",
            "venera.demo.test 3600 A 10.1.0.52",
            "venera.demo.test 3600 A 128.9.0.32",
            "www.sub.demo.test 3600 CNAME sub.demo.test.",
            r#"*.sub.demo.test 3600 TXT "a \"quoted; string\"" "unquoted" "d;""#,
        ]
    );
}

#[test]
fn every_type_with_words_of_its_own_is_read() {
    let lines = [
        "A 192.0.2.1",
        "AAAA 2001:db8::1",
        "NS ns.demo.test.",
        "CNAME www.demo.test.",
        "DNAME other.test.",
        "PTR host.demo.test.",
        "MX 10 mail.demo.test.",
        "SRV 0 5 5060 sip.demo.test.",
        "HINFO \"PC\" \"Linux\"",
        "RP admin.demo.test. txt.demo.test.",
        "AFSDB 1 afs.demo.test.",
        "NAPTR 100 50 \"s\" \"z3950+N2L+N2C\" \"\" _z3950._tcp.demo.test.",
        "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        "SSHFP 2 1 123456789ABCDEF67890123456789ABCDEF67890",
        "DNSKEY 256 3 5 AQPSKmynfzW4kyBv015MUG2DeIQ3Cbl+",
        "RRSIG A 5 3 86400 1047575163 1044896763 2642 demo.test. oJB1W6WNGv+ldvQ3WDG0MQkg",
        "NSEC host.demo.test. A MX RRSIG NSEC TYPE1234",
        "NSEC3 1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A RRSIG",
        "NSEC3PARAM 1 0 0 -",
        "TLSA 0 0 1 D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB106618E971",
        "OPENPGPKEY AQPSKmynfzW4kyBv015MUG2DeIQ3Cbl+",
        "CSYNC 66 3 A NS AAAA",
        "ZONEMD 2018031500 1 1 FEBE3D4CE2EC2FFA4BA99D46CD69D6D29711E55217057BEE",
        "SVCB 0 svc.demo.test.",
        "HTTPS 1 . alpn=h2,http/1.1 port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1 key65280=\"a b\"",
        "EUI48 00-00-5E-00-53-2A",
        "L64 10 2001:0DB8:1140:1000",
        "URI 10 1 \"ftp://ftp1.demo.test/public\"",
        "CAA 0 issue \"ca.example.net; account=230123\"",
        "TYPE65280 \\# 4 0A000001",
    ];
    for line in lines {
        let text = format!("x 60 IN {line}");
        let file = parse(&text, &name("demo.test")).unwrap_or_else(|error| panic!("{line}: {error}"));
        let data = &file.records[0].data;
        // What is printed may be written in another way, but means the same.
        let again = parse(&format!("x.demo.test. 60 {}", printed(data)), &Name::root()).unwrap();
        assert_eq!(&again.records[0].data, data, "{line}");
        let mut wire = vec![];
        data.write(&mut wire);
        let hex = data_encoding::HEXLOWER.encode(&wire);
        let generic = format!("x 60 {} \\# {} {hex}", data.record_type(), wire.len());
        assert_eq!(&parse(&generic, &Name::root()).unwrap().records[0].data, data, "{generic}");
    }
}

#[test]
fn places_are_read_as_rfc_1876_writes_them() {
    for (text, hex) in [
        ("42 21 54 N 71 06 18 W -24m 30m", "0033161389172dd070be15f000988d20"),
        ("42 21 43.952 N 71 5 6.344 W -24m 1m 200m", "001224138917069070bf2dd800988d20"),
        ("0 N 0 E 0", "00121613800000008000000000989680"),
    ] {
        let Data::Other(_, bytes) = parse_data(RecordType(29), text, &Name::root()).unwrap() else { panic!("{text}") };
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), hex, "{text}");
    }
    for bad in
        ["91 N 0 E 0", "0 N 181 E 0", "1 60 N 0 E 0", "0 0 E 0", "0 N 0 E", "0 N 0 E 0 1m 1m 1m 1m", "0.5 N 0 E 0"]
    {
        assert!(parse_data(RecordType(29), bad, &Name::root()).is_err(), "{bad}");
    }
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    for (text, at, message) in [
        ("www A 192.0.2.1\n", "www A 192.0.2.1", "this record has no TTL, and there is none before it"),
        ("www 60 AA 192.0.2.1\n", "AA", "\"AA\" is not a type of records"),
        ("www 60 A 192.0.2\n", "192.0.2", "\"192.0.2\" is not an IPv4 address"),
        ("www 60 A\n", "A", "the line ends where an IPv4 address should follow"),
        ("www 60 A 192.0.2.1 more\n", "more", "\"more\" is a word too many"),
        ("www 60 CH TXT x\n", "CH", "class CH is not served: only IN is"),
        ("www 60 ANY x\n", "ANY", "no record can have type ANY"),
        (
            "www 2147483648 A 192.0.2.1\n",
            "2147483648",
            "\"2147483648\" is not a TTL: seconds, at most 2147483647, or as 1h30m",
        ),
        (
            "a..b 60 A 192.0.2.1\n",
            "a..b",
            "\"a..b\" is not a domain name: labels of 1 to 63 printable characters, 253 in all",
        ),
        (" 60 A 192.0.2.1\n", "60", "this line has no name, and there is none before it"),
        ("www 60 TXT \"open\n", "\"", "this quote is not closed on its line"),
        ("www 60 A ( 192.0.2.1\n", "(", "this parenthesis is never closed"),
        ("www 60 A 192.0.2.1 )\n", ")", "a closing parenthesis, and none is open"),
        ("www 60 SOA ( a ( b\n", "(", "a parenthesis within parentheses"),
        ("$INCLUDE other.zone\n", "$INCLUDE", "$INCLUDE is not read here"),
        ("$GENERATE 1-9 a A 192.0.2.$\n", "$GENERATE", "$GENERATE is BIND's own and not read here"),
        ("$ttl\n", "l", "the line ends where a TTL should follow"),
        ("www 60 HINFO Ю\n", "Ю", "the line ends where a text should follow"),
        ("$NO\n", "$NO", "no directive \"$NO\""),
        ("www 60 TXT a\\25\n", "a\\25", "an escape that is none"),
        ("www 60 TYPE999 x\n", "x", "data of type TYPE999 have no words of their own here"),
        ("www 60 TYPE999 \\# 3 aabb\n", "aabb", "2 bytes, where 3 were announced"),
        ("www 60 A \\# 3 aabbcc\n", "\\# 3 aabbcc", "this is no data of a record of type A"),
        ("www 60 DS 1 1 1 xyz\n", "xyz", "this is not an even number of hexadecimal digits"),
        ("www 60 MX +10 mail\n", "+10", "\"+10\" is not a number from 0 to 65535"),
        ("www 60 HTTPS 1 . bogus=1\n", "bogus=1", "\"bogus\" is not a key of service parameters"),
        ("www 60 HTTPS 1 . port=1 port=2\n", "port=2", "port stands there twice"),
        ("www 60 HTTPS 1 . port=99999\n", "port=99999", "\"port=99999\" is not a value of port"),
        ("www 60 HTTPS 1 . mandatory=port\n", "1 . mandatory=port", "this is no data of a record of type HTTPS"),
    ] {
        let error = parse(text, &name("demo.test")).expect_err(text);
        assert_eq!((&text[error.span.clone()], error.message.as_str()), (at, message), "{text}");
    }
    let long = format!("www 60 TXT \"{}\"", "x".repeat(256));
    assert!(parse(&long, &Name::root()).unwrap_err().message.starts_with("256 bytes"));
    let unknown = parse("www 60 AA 192.0.2.1", &Name::root()).unwrap_err();
    assert_eq!(unknown.unknown_type.as_deref(), Some("AA"));
}

#[test]
fn ttl_class_and_type_stand_in_any_order() {
    for line in ["60 IN A", "IN 60 A", "1m in a", "CLASS1 60 TYPE1", "60 A"] {
        assert_eq!(read(&format!("www {line} 192.0.2.1")), ["www.demo.test 60 A 192.0.2.1"], "{line}");
    }
}

#[test]
fn a_ttl_is_stated_the_default_the_last_or_the_minimum() {
    let soa = "@ SOA ns host 1 2 3 4 77\n";
    let ttls = |text: &str| parse(text, &name("t")).unwrap().records.iter().map(|r| r.ttl_s).collect::<Vec<_>>();
    assert_eq!(ttls(&format!("{soa}a A 192.0.2.1")), [77, 77]);
    assert_eq!(ttls(&format!("{soa}a 5 A 192.0.2.1\nb A 192.0.2.1")), [77, 5, 5]);
    assert_eq!(ttls(&format!("$TTL 9\n{soa}a 5 A 192.0.2.1\nb A 192.0.2.1")), [9, 5, 9]);
    let times = [("1h30m", Some(5400)), ("1w2d", Some(777_600)), ("5", Some(5)), ("1x", None), ("", None), ("h", None)];
    for (text, expected) in times {
        assert_eq!(parse_ttl(text), expected, "{text}");
    }
    assert_eq!(parse_ttl("99999999999"), None);
}

#[test]
fn records_of_a_file_with_a_soa_are_said_by_its_zone() {
    let file = parse("@ 60 SOA ns host 1 2 3 4 5\nwww 60 A 192.0.2.1", &name("demo.test")).unwrap();
    assert!(file.records.iter().all(|record| record.zone == Some(name("demo.test"))));
    let file = parse("www 60 A 192.0.2.1", &name("demo.test")).unwrap();
    assert_eq!(file.records[0].zone, None);
}

/// A record's type and data as a zone file has them, names absolute.
fn printed(data: &Data) -> String {
    let mut bytes = vec![];
    data.write(&mut bytes);
    let record_type = data.record_type();
    let words = fields(record_type).and_then(|fields| words_of(fields, &bytes));
    let words = words.unwrap_or_else(|| format!("\\# {} {}", bytes.len(), data_encoding::HEXUPPER.encode(&bytes)));
    format!("{record_type} {words}")
}

/// `None` where the form of RFC 3597 is the simpler one.
fn words_of(fields: &[Field], mut rest: &[u8]) -> Option<String> {
    let mut words: Vec<String> = vec![];
    fn take<'r>(rest: &mut &'r [u8], len: usize) -> Option<&'r [u8]> {
        let (taken, after) = rest.split_at_checked(len)?;
        *rest = after;
        Some(taken)
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)).to_string();
    let text = |bytes: &[u8]| {
        let escaped = bytes.iter().map(|&byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\{byte:03}"),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    for field in fields {
        words.push(match field {
            Field::Hex | Field::Base64 | Field::Texts if rest.is_empty() => return None,
            Field::Ipv4 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(take(&mut rest, 4)?).ok()?).to_string(),
            Field::Ipv6 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(take(&mut rest, 16)?).ok()?).to_string(),
            Field::Name => {
                let (name, after) = Name::split_wire(rest)?;
                // The words of a name are read in lower case; other data keeps what it was given.
                if !rest.starts_with(name.as_bytes()) {
                    return None;
                }
                rest = after;
                if name.is_root() { ".".into() } else { format!("{name}.") }
            }
            Field::U8 => number(take(&mut rest, 1)?),
            Field::U16 => number(take(&mut rest, 2)?),
            Field::U32 | Field::Period => number(take(&mut rest, 4)?),
            Field::Type => RecordType(number(take(&mut rest, 2)?).parse().ok()?).to_string(),
            Field::Text => {
                let len = usize::from(*take(&mut rest, 1)?.first()?);
                text(take(&mut rest, len)?)
            }
            Field::Texts => {
                let mut all = vec![];
                while let Some((&len, after)) = rest.split_first() {
                    rest = after;
                    all.push(text(take(&mut rest, usize::from(len))?));
                }
                all.join(" ")
            }
            Field::Bytes => text(std::mem::take(&mut rest)),
            Field::Hex => data_encoding::HEXUPPER.encode(std::mem::take(&mut rest)),
            Field::Base64 => data_encoding::BASE64.encode(std::mem::take(&mut rest)),
            Field::Types => {
                let mut types = vec![];
                let mut before = None;
                while let &[window, len, ref after @ ..] = rest {
                    rest = after;
                    let bitmap = take(&mut rest, usize::from(len))?;
                    // RFC 4034, section 4.1.2: no other bitmap means these types.
                    if before.replace(window) >= Some(window)
                        || bitmap.len() > 32
                        || bitmap.last().is_none_or(|last| *last == 0)
                    {
                        return None;
                    }
                    for (at, bits) in bitmap.iter().enumerate() {
                        let set = (0..8u16).filter(|bit| bits & (0x80 >> bit) != 0);
                        types.extend(
                            set.map(|bit| RecordType(u16::from(window) << 8 | (at as u16 * 8 + bit)).to_string()),
                        );
                    }
                }
                types.join(" ")
            }
            Field::SvcParams => {
                let mut all = vec![];
                while let &[key_high, key_low, len_high, len_low, ref after @ ..] = rest {
                    rest = after;
                    let value = take(&mut rest, usize::from(u16::from_be_bytes([len_high, len_low])))?;
                    let key = u16::from_be_bytes([key_high, key_low]);
                    // Known keys have words of their own; printing those is not what is tested.
                    if key < 7 {
                        return None;
                    }
                    all.push(format!("key{key}={}", text(value)));
                }
                all.join(" ")
            }
            Field::Moment | Field::Salt | Field::Groups(..) | Field::Base32 | Field::Loc => return None,
        });
    }
    rest.is_empty().then(|| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_read_or_refused_with_a_place_in_it(text in "[ a-zA-Z0-9.*@$;()\"\\\\#\n\t=éЮ-]{0,120}") {
        if let Err(error) = parse(&text, &Name::root()) {
            prop_assert!(text.get(error.span.clone()).is_some(), "{:?}", error.span);
        }
    }

    #[test]
    fn what_is_printed_is_read_back(
        labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..5),
        ttl_s in 0u32..=TTL_S_MAX,
        number in prop::sample::select(RecordType::MNEMONICS).prop_map(|(_, known)| known.0),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        shape in prop::collection::vec(0u8..6, 0..60),
    ) {
        // Bytes of which many are lengths that fit, so that data with names and strings come about.
        let bytes: Vec<u8> = bytes.iter().zip(shape.iter().chain(std::iter::repeat(&9)))
            .map(|(byte, shape)| if *shape < 5 { *shape } else { *byte }).collect();
        let Ok(data) = Data::from_wire(RecordType(number), &bytes) else { return Ok(()) };
        let owner: Vec<u8> = labels.iter().flat_map(|label| {
            std::iter::once(label.len() as u8).chain(label.iter().map(u8::to_ascii_lowercase))
        }).collect();
        let owner = Name::from_canonical(&owner);
        let dot = if owner.is_root() { "" } else { "." };
        let line = format!("{owner}{dot} {ttl_s} IN {}\n", printed(&data));
        let file = parse(&line, &name("demo.test"));
        let record = Record { name: owner, ttl_s, data, zone: None };
        let mut file = file.unwrap_or_else(|error| panic!("{line}: {error}"));
        for record in &mut file.records {
            record.zone = None;
        }
        prop_assert_eq!(&file.records, &[record], "{}", line);
    }
}
