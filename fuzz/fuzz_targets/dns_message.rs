//! The router's messages: its parser of usual questions and hickory-proto agree on what is valid and what it means, and
//! both paths give one answer.
#![no_main]

use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType, OpCode};
use libfuzzer_sys::fuzz_target;
use router::{
    Handle,
    fuzzing::{answers, handle, usual_question},
};

const COOKIE: u16 = 10;
const PADDING: u16 = 12;

static ROUTER: LazyLock<Handle> = LazyLock::new(handle);

/// An answer without what may differ: a cookie has the time in it, and padding makes up for the names that hickory
/// compresses.
fn comparable(answer: &[u8]) -> Option<Message> {
    let mut answer = Message::from_vec(answer).ok()?;
    if let Some(edns) = &mut answer.edns {
        edns.options_mut().options.retain(|(code, _)| !matches!(u16::from(*code), COOKIE | PADDING));
    }
    Some(answer)
}

// The first byte says what carries the message; the rest is the message.
fuzz_target!(|data: &[u8]| {
    let Some((carrier, message)) = data.split_first() else { return };
    let is_stream = carrier & 1 == 1;
    let read = Message::from_vec(message);
    let usual = usual_question(message);
    match (&usual, &read) {
        (Some(asked), Ok(read)) => {
            assert_eq!((read.metadata.message_type, read.metadata.op_code), (MessageType::Query, OpCode::Query));
            let [question] = read.queries.as_slice() else { panic!("{} questions", read.queries.len()) };
            let mut name = Vec::new();
            for label in question.name().iter() {
                name.push(label.len() as u8);
                name.extend(label.to_ascii_lowercase());
            }
            assert_eq!((&asked.name, asked.wanted), (&name, u16::from(question.query_type())));
            assert_eq!(u16::from(question.query_class()), 1);
            let edns = read.edns.as_ref().map(|edns| (edns.max_payload(), edns.version(), edns.flags().dnssec_ok));
            assert_eq!(asked.edns.is_some(), edns.is_some());
            if let (Some(asked), Some(read)) = (asked.edns, edns) {
                // hickory lifts sizes below 512, as RFC 6891 wants them treated.
                assert_eq!((asked.0.max(512), asked.1, asked.2), (read.0.max(512), read.1, read.2));
            }
        }
        // hickory knows options' insides, which are no business of a message's parser; both paths refuse those.
        (Some(_), Err(_)) | (None, _) => {}
    }
    let (ours, complete) = answers(&ROUTER, message, is_stream);
    let Some(answer) = &ours else {
        assert!(complete.is_none(), "only the complete parser answers");
        return;
    };
    assert!(is_stream || answer.len() <= 1232, "{} bytes", answer.len());
    assert_eq!(answer[..2], message[..2], "the id");
    assert_eq!(message[2] & 0x80, 0, "an answer to an answer");
    let ours = comparable(answer).expect("an answer that can be read");
    assert_eq!(ours.metadata.message_type, MessageType::Response);
    if read.is_err() && usual.is_none() {
        assert!(matches!(u16::from(ours.metadata.response_code), 1 | 4), "{ours}");
    }
    let complete = complete.and_then(|bytes| comparable(&bytes)).expect("the complete parser answers too");
    if read.is_ok() {
        assert_eq!(ours, complete);
    } else {
        // The fast path passes over options that are malformed to hickory alone, and over all in another version.
        assert!(matches!(u16::from(complete.metadata.response_code), 1 | 4), "{complete}");
    }
});
