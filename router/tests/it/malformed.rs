//! Whatever bytes come: no panic, no answer that is longer than allowed, and none that is much longer than the question.

use std::{net::SocketAddr, sync::LazyLock};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};
use proptest::prelude::*;

use crate::world::{World, question, with_edns, with_subnet, world};

static WORLD: LazyLock<World> = LazyLock::new(world);

/// Answers `message`, checks what holds for every answer, and returns it.
fn check(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    let answered = WORLD.handle.answer(message, SocketAddr::from(([198, 18, 1, 9], 5353)), &mut out);
    if !answered {
        return None;
    }
    assert!(out.len() <= 1232);
    assert_eq!(out[..2], message[..2], "the id");
    assert_eq!(out[2] & 0x80, 0x80, "it is an answer");
    assert_eq!(message[2] & 0x80, 0, "and not to an answer");
    assert_eq!(out[3] & 0x80, 0, "no recursion");
    let answer = Message::from_vec(&out).expect("an answer that can be read");
    if Message::from_vec(message).map_or(true, |query| query.edns.is_none()) {
        assert!(out.len() <= 512);
    }
    if matches!(answer.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::Refused) {
        assert!(out.len() <= message.len() + 11, "errors do not amplify");
    }
    // The largest of our answers is a denial: an SOA of under a hundred bytes.
    assert!(out.len() <= message.len() + 120, "{} for {}", out.len(), message.len());
    Some(out)
}

#[test]
fn malformed_subnets_are_format_errors_on_both_paths() {
    let name = b"\x03www\x04demo\x04test\x00\x00\x01\x00\x01";
    for (subnet, why) in [
        (&[0u8, 1, 24, 0, 198, 18][..], "too short"),
        (&[0, 1, 24, 0, 198, 18, 1, 0], "too long"),
        (&[0, 1, 33, 0, 198, 18, 1, 0, 0], "over the family's length"),
        (&[0, 1, 20, 0, 198, 18, 1], "stray bits"),
        (&[0, 1, 24, 16, 198, 18, 1], "a scope in a query"),
        (&[0, 9, 8, 0, 1], "unknown family"),
        (&[0, 1], "cut"),
    ] {
        for unusual in [false, true] {
            let mut message = vec![0, 7, 1, 0, 0, 1, 0, u8::from(unusual), 0, 0, 0, 1];
            message.extend_from_slice(name);
            if unusual {
                message.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
            }
            let len = subnet.len() as u8;
            message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, len + 4, 0, 8, 0, len]);
            message.extend_from_slice(subnet);
            let answer = check(&message).unwrap();
            assert_eq!(answer[3] & 0xf, 1, "{why}, unusual: {unusual}");
        }
    }
    let twice = with_subnet(question("www.demo.test", RecordType::A), "198.18.1.0/24");
    let mut twice = twice;
    let option = twice.edns.as_ref().unwrap().options().options[0].clone();
    twice.edns.as_mut().unwrap().options_mut().options.push(option);
    assert_eq!(check(&twice.to_vec().unwrap()).unwrap()[3] & 0xf, 1, "twice");
}

#[test]
fn a_message_cut_anywhere_is_answered_in_kind_or_not_at_all() {
    let whole = with_subnet(question("www.demo.test", RecordType::A), "198.18.1.0/24").to_vec().unwrap();
    for len in 0..whole.len() {
        if let Some(answer) = check(&whole[..len]) {
            assert_eq!(answer[3] & 0xf, 1, "cut to {len}");
        }
    }
    assert_eq!(check(&whole).unwrap()[3] & 0xf, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn damaged_questions_do_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        edns in any::<bool>(),
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let plain = question("www.demo.test", RecordType::A);
        let mut message = if edns { with_subnet(plain, "198.18.1.0/24") } else { plain }.to_vec().unwrap();
        for (at, value) in damage {
            let at = at.index(message.len());
            message[at] = value;
        }
        message.extend_from_slice(&more);
        check(&message);
    }

    #[test]
    fn any_name_and_type_gets_an_answer(labels in prop::collection::vec("[a-zA-Z0-9_*-]{1,20}", 0..6), wanted: u16, ours: bool) {
        let ours = if ours { &["demo", "test"][..] } else { &[] };
        let labels = labels.iter().map(String::as_str).chain(ours.iter().copied()).map(str::as_bytes);
        let mut name = Name::from_labels(labels).unwrap();
        name.set_fqdn(true);
        let mut message = question(".", RecordType::A);
        message.queries[0].set_name(name);
        message.queries[0].set_query_type(RecordType::from(wanted));
        prop_assert!(check(&with_edns(message).to_vec().unwrap()).is_some());
    }
}
