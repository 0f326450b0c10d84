//! Where frames of HTTP/3 begin and end on a stream of QUIC (RFC 9114 sections 6.2 and 7.1), and whether one is too long.
//!
//! What has to be whole before it means anything (a head, trailers, settings) is held in memory until it is, so its length
//! has a limit before its first byte is kept. Bytes go on in pieces that never cross the border of a frame, so that who
//! reads one frame at a time holds no more than one. Knows framing only: what is in the frames passes unseen.

use bytes::{Buf as _, Bytes};

/// DATA, the only frame whose payload means something before it is whole.
const DATA: u64 = 0;
/// The type of the control stream.
const CONTROL: u64 = 0;

/// Follows one direction of a stream through any division into reads.
#[derive(Clone, Debug)]
pub struct Frames {
    stage: Stage,
    whole_bytes_max: u64,
    /// Type and length of the frame that begins, as far as they have come.
    header: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The type of a unidirectional stream.
    StreamType,
    /// Type and length of a frame.
    Header,
    Payload {
        left: u64,
    },
    /// No frames: the stream is somebody else's.
    Opaque,
}

/// Why a stream cannot be followed further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrames {
    /// A frame that would have to be held is longer than allowed.
    #[error("a frame of {0} bytes is too long to be held")]
    TooLong(u64),
    /// The stream ends within a frame (RFC 9114 section 7.1).
    #[error("the stream ends within a frame")]
    Cut,
}

impl Frames {
    /// A stream that carries a request or its response. Frames other than DATA may have `whole_bytes_max` bytes.
    pub const fn of_message(whole_bytes_max: u64) -> Self {
        Self { stage: Stage::Header, whole_bytes_max, header: Vec::new() }
    }

    /// A unidirectional stream, which says first what it is.
    pub const fn unidirectional(whole_bytes_max: u64) -> Self {
        Self { stage: Stage::StreamType, whole_bytes_max, header: Vec::new() }
    }

    /// Takes the next piece from the front of `bytes`; `None` once they are used up. DATA without bytes says nothing and
    /// is left out.
    ///
    /// # Errors
    /// [`BadFrames::TooLong`].
    pub fn next_piece(&mut self, bytes: &mut Bytes) -> Result<Option<Bytes>, BadFrames> {
        while !bytes.is_empty() {
            match self.stage {
                Stage::Opaque => return Ok(Some(std::mem::take(bytes))),
                Stage::Payload { left } => {
                    let piece = bytes.split_to(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())));
                    let left = left - piece.len() as u64;
                    self.stage = if left == 0 { Stage::Header } else { Stage::Payload { left } };
                    return Ok(Some(piece));
                }
                Stage::StreamType | Stage::Header => {
                    self.header.push(bytes.get_u8());
                    if let Some(header) = self.end_header()? {
                        return Ok(Some(header));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`BadFrames::Cut`] within a frame.
    pub fn end(&self) -> Result<(), BadFrames> {
        match self.stage {
            Stage::Payload { .. } => Err(BadFrames::Cut),
            Stage::Header if !self.header.is_empty() => Err(BadFrames::Cut),
            Stage::Header | Stage::StreamType | Stage::Opaque => Ok(()),
        }
    }

    /// What begins a frame or stream, once all of it is here and if it says anything.
    fn end_header(&mut self) -> Result<Option<Bytes>, BadFrames> {
        let Some((kind, rest)) = varint(&self.header) else { return Ok(None) };
        if self.stage == Stage::StreamType {
            self.stage = if kind == CONTROL { Stage::Header } else { Stage::Opaque };
            return Ok(Some(std::mem::take(&mut self.header).into()));
        }
        let Some((length, _)) = varint(rest) else { return Ok(None) };
        if kind != DATA && length > self.whole_bytes_max {
            return Err(BadFrames::TooLong(length));
        }
        let header = std::mem::take(&mut self.header);
        if length == 0 {
            return Ok((kind != DATA).then(|| header.into()));
        }
        self.stage = Stage::Payload { left: length };
        Ok(Some(header.into()))
    }
}

/// A number of variable length (RFC 9000 section 16) and what follows it; `None` where it is not whole.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1_usize << (bytes.first()? >> 6);
    let (number, rest) = bytes.split_at_checked(length)?;
    let number = number.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    // The first two bits are the length.
    Some((number & (u64::MAX >> (66 - 8 * length)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What goes on of `stream`, read in pieces of `size`.
    fn follow(mut frames: Frames, stream: &[u8], size: usize) -> Result<Vec<Bytes>, BadFrames> {
        let mut pieces = Vec::new();
        for read in stream.chunks(size) {
            let mut read = Bytes::copy_from_slice(read);
            while let Some(piece) = frames.next_piece(&mut read)? {
                pieces.push(piece);
            }
        }
        frames.end()?;
        Ok(pieces)
    }

    #[test]
    fn numbers_are_read_as_the_rfc_shows_them() {
        for (bytes, number) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x40, 0x25], 37),
            (&[0x25], 37),
        ] {
            assert_eq!(varint(bytes), Some((number, &[][..])));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn pieces_end_where_frames_do_and_empty_data_is_left_out() {
        let stream = [1, 2, 7, 7, 0, 0, 0, 3, 1, 2, 3, 0x21, 0, 0, 1, 9];
        let pieces = follow(Frames::of_message(10), &stream, 99).unwrap();
        let expected: [&[u8]; 7] = [&[1, 2], &[7, 7], &[0, 3], &[1, 2, 3], &[0x21, 0], &[0, 1], &[9]];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn what_must_be_held_has_a_limit_and_data_has_none() {
        assert_eq!(follow(Frames::of_message(10), &[1, 11], 1), Err(BadFrames::TooLong(11)));
        assert!(follow(Frames::of_message(10), &[[0, 11].as_slice(), &[0; 11]].concat(), 3).is_ok());
        assert_eq!(follow(Frames::unidirectional(10), &[0, 4, 11], 1), Err(BadFrames::TooLong(11)));
        assert!(follow(Frames::unidirectional(10), &[2, 4, 11, 5], 1).is_ok(), "QPACK has no frames");
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_cut() {
        for cut in [&[1][..], &[0, 3], &[0, 3, 1, 2], &[1, 0x40]] {
            assert_eq!(follow(Frames::of_message(10), cut, 1), Err(BadFrames::Cut), "{cut:?}");
        }
        assert!(follow(Frames::of_message(10), &[0, 0], 1).is_ok());
    }

    proptest! {
        #[test]
        fn how_a_stream_is_divided_changes_nothing(stream: Vec<u8>, size in 1_usize..20, of_message: bool) {
            let frames = if of_message { Frames::of_message(64) } else { Frames::unidirectional(64) };
            let whole = follow(frames.clone(), &stream, stream.len().max(1)).map(|pieces| pieces.concat());
            prop_assert_eq!(follow(frames, &stream, size).map(|pieces| pieces.concat()), whole);
        }
    }
}
