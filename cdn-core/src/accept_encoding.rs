//! `Accept-Encoding` as CloudFront normalises it: whether gzip and br (and zstd, an option of ours) are accepted, and
//! nothing else.
//!
//! Decides what stands in the cache key and in the request to the origin. Compresses nothing.

use http::{HeaderMap, HeaderValue, header};

use crate::distribution::CachePolicy;

/// What is left of a viewer's `Accept-Encoding` under a policy that enables a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AcceptEncoding {
    /// The viewer takes gzip, and the policy enables it.
    pub gzip: bool,
    /// The viewer takes br, and the policy enables it.
    pub brotli: bool,
    /// The viewer takes zstd, and the policy enables it.
    pub zstd: bool,
    /// The viewer sent the header at all.
    present: bool,
}

impl AcceptEncoding {
    /// Reads the viewer's header; a coding with `q=0` is not accepted (RFC 9110 section 12.5.3).
    pub fn of(headers: &HeaderMap, policy: &CachePolicy) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(header::ACCEPT_ENCODING) {
            found.present = true;
            for item in line.as_bytes().split(|&byte| byte == b',') {
                let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
                let coding = parts.next().unwrap_or_default();
                if parts.any(is_zero_weight) {
                    continue;
                }
                found.gzip |= coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip");
                found.brotli |= coding.eq_ignore_ascii_case(b"br");
                found.zstd |= coding.eq_ignore_ascii_case(b"zstd");
            }
        }
        found.gzip &= policy.gzip;
        found.brotli &= policy.brotli;
        found.zstd &= policy.zstd;
        found
    }

    /// The header that the origin receives; `None` where the viewer sent none.
    pub const fn to_origin(self) -> Option<HeaderValue> {
        let text = match (self.zstd, self.brotli, self.gzip) {
            (true, true, true) => "zstd,br,gzip",
            (true, true, false) => "zstd,br",
            (true, false, true) => "zstd,gzip",
            (true, false, false) => "zstd",
            (false, true, true) => "br,gzip",
            (false, true, false) => "br",
            (false, false, true) => "gzip",
            (false, false, false) if self.present => "identity",
            (false, false, false) => return None,
        };
        Some(HeaderValue::from_static(text))
    }

    /// One byte for the cache key; zero where no format is accepted.
    pub const fn in_key(self) -> u8 {
        self.gzip as u8 | (self.brotli as u8) << 1 | (self.zstd as u8) << 2
    }
}

/// Whether a parameter is `q=0`, `q=0.0` and so on.
fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => !weight.is_empty() && weight.iter().all(|byte| matches!(byte, b'0' | b'.')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies;

    #[test]
    fn header_is_reduced_to_what_the_policy_enables() {
        let mut policy = policies::cache_policy("CachingOptimized").unwrap();
        let rows = [
            (true, true, Some("gzip, deflate, br"), Some("br,gzip")),
            (true, true, Some("gzip"), Some("gzip")),
            (true, true, Some("BR;q=0.5"), Some("br")),
            (true, false, Some("br, gzip"), Some("gzip")),
            (false, true, Some("br, gzip"), Some("br")),
            (true, true, Some("gzip;q=0, br; q=0.000"), Some("identity")),
            (true, true, Some("deflate"), Some("identity")),
            (true, true, Some(""), Some("identity")),
            (true, true, None, None),
            (true, true, Some("zstd, gzip"), Some("gzip")),
        ];
        for (gzip, brotli, sent, expected) in rows {
            (policy.gzip, policy.brotli) = (gzip, brotli);
            let mut headers = HeaderMap::new();
            headers.extend(sent.map(|text| (header::ACCEPT_ENCODING, text.parse().unwrap())));
            let reduced = AcceptEncoding::of(&headers, &policy);
            assert_eq!(reduced.to_origin(), expected.map(HeaderValue::from_static), "{sent:?}");
            assert_eq!(reduced.in_key() == 0, matches!(expected, None | Some("identity")), "{sent:?}");
        }
    }

    #[test]
    fn zstd_takes_part_where_a_policy_enables_it() {
        let mut policy = policies::cache_policy("CachingOptimized").unwrap();
        policy.zstd = true;
        let reduced = |sent: &str| {
            AcceptEncoding::of(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, sent.parse().unwrap())]), &policy)
        };
        for sent in ["zstd,br,gzip", "zstd,br", "zstd,gzip", "zstd", "br,gzip", "br", "gzip", "identity"] {
            assert_eq!(reduced(sent).to_origin().unwrap(), sent);
        }
        assert_ne!(reduced("zstd, br").in_key(), reduced("br").in_key());
    }
}
