//! The body of an answer, read to its end and held against what it should be.

use std::time::Duration;

use cdn_core::content::Content;
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use world::Integrity;

use crate::sender::EdgeBody;

/// Bytes that are compared at a time.
const PIECE: usize = 1024;

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes that came.
    pub(super) bytes: u64,
    /// Whether all came.
    pub(super) complete: bool,
    /// Whether those were the right ones.
    pub(super) integrity: Integrity,
}

/// What a body should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Its bytes are the first ones of this.
    pub(super) content: Content,
    /// How many; `None` where nobody knows.
    pub(super) length: Option<u64>,
}

/// Reads `body`; an edge may be silent for `silence_max`.
pub(super) async fn receive(mut body: EdgeBody, silence_max: Duration, expected: Option<Expected>) -> Received {
    let (mut bytes, mut right) = (0, true);
    let complete = loop {
        match timeout(silence_max, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Some(data) = frame.data_ref() else { continue };
                if let Some(Expected { content, .. }) = expected {
                    right = right && is_content(content, bytes, data);
                }
                bytes += data.len() as u64;
            }
            Ok(None) => break true,
            Ok(Some(Err(_))) | Err(_) => break false,
        }
    };
    let integrity = match expected {
        None => Integrity::Unchecked,
        Some(Expected { length, .. }) => {
            let whole = !complete || length.is_none_or(|length| length == bytes);
            if right && whole { Integrity::Right } else { Integrity::Wrong }
        }
    };
    Received { bytes, complete, integrity }
}

fn is_content(content: Content, mut offset: u64, data: &[u8]) -> bool {
    let mut piece = [0; PIECE];
    data.chunks(PIECE).all(|chunk| {
        let expected = &mut piece[..chunk.len()];
        content.fill(offset, expected);
        offset += chunk.len() as u64;
        expected == chunk
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_seen_wherever_it_is() {
        let content = Content::new(7, "/objects/17");
        let mut bytes = vec![0; 5000];
        content.fill(100, &mut bytes);
        assert!(is_content(content, 100, &bytes) && !is_content(content, 101, &bytes));
        for at in [0, 1023, 1024, 4999] {
            bytes[at] ^= 1;
            assert!(!is_content(content, 100, &bytes), "{at}");
            bytes[at] ^= 1;
        }
    }
}
