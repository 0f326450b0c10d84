//! Zone files: read, or refused with a place in the text; what was read is read again from the form of RFC 3597, and can
//! be asked for.
#![no_main]

use std::fmt::Write as _;

use cdn_core::zone::{Name, Record, RecordType, ZonesBuilder};
use libfuzzer_sys::fuzz_target;
use router::zone_file;

fn without_zone(records: Vec<Record>) -> Vec<Record> {
    records.into_iter().map(|record| Record { zone: None, ..record }).collect()
}

fuzz_target!(|text: &str| {
    let origin: Name = "demo.test".parse().expect("a name");
    let file = match zone_file::parse(text, &origin) {
        Ok(file) => file,
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some(), "{:?} is no place in the text", error.span);
            return;
        }
    };
    let mut printed = String::new();
    for record in &file.records {
        let mut data = vec![];
        record.data.write(&mut data);
        let dot = if record.name.is_root() { "" } else { "." };
        let record_type = record.data.record_type().0;
        let _ = write!(printed, "{}{dot} {} IN TYPE{record_type} \\# {} ", record.name, record.ttl_s, data.len());
        for byte in &data {
            let _ = write!(printed, "{byte:02x}");
        }
        printed.push('\n');
    }
    let again = zone_file::parse(&printed, &origin).expect("what was printed");
    assert_eq!(without_zone(again.records), without_zone(file.records.clone()));
    let mut zones = ZonesBuilder::default();
    file.records.iter().cloned().for_each(|record| zones.add_record(record));
    let Ok(zones) = zones.build() else { return };
    for record in &file.records {
        let answer = zones.answer(record.name.as_bytes(), RecordType::A);
        assert!(answer.answer.len() <= 33, "{} sets", answer.answer.len());
    }
});
