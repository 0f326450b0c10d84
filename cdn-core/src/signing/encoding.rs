//! The base64 of signed URLs and cookies: RFC 4648's with padding, `+ = /` written `- _ ~`. It is not base64url.

use data_encoding::BASE64;

/// Reads it strictly: one text per value. `None` for anything else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let standard = text.bytes().map(|byte| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'='),
        b'~' => Some(b'/'),
        b'+' | b'=' | b'/' => None,
        other => Some(other),
    });
    BASE64.decode(&standard.collect::<Option<Vec<u8>>>()?).ok()
}

/// Writes it.
pub fn encode(bytes: &[u8]) -> String {
    let substituted = |c| match c {
        '+' => '-',
        '=' => '_',
        '/' => '~',
        other => other,
    };
    BASE64.encode(bytes).chars().map(substituted).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_ours_is_refused() {
        assert_eq!(encode(&[0xfb, 0xff, 0xbf, 0xff]), "-~-~~w__");
        for text in ["+/==", "-~-~~w==", "a", "aa", "aaa", "ab__", "a b_", "aaaa_", "é___", "aaaa\n"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode(""), Some(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
