//! The hop from an edge to a cache between it and the origins: a regional cache, the shield.
//!
//! That cache must make the same key and forward the same things as the edge, so it is sent the viewer's own headers as
//! the edge saw them, with one header more that says who the viewer is. Only its listener, which viewers cannot reach,
//! may believe that header; edges remove it. `CDN-Loop` and `Via` are left to whoever asks the origin: all tiers are one
//! CDN (RFC 8586 section 2).

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::request::{Conditions, Viewer};
use crate::{cache_key::RequestHead, conditional::PRECONDITIONS};

/// The header that carries a [`Hop`].
pub const HOP_HEADER: HeaderName = HeaderName::from_static("x-iso-hop");

/// What an edge tells a cache between beside the viewer's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The viewer as the edge saw it.
    pub viewer: Viewer,
    /// Id of the distribution.
    pub distribution: String,
    /// Place of the behavior that the edge serves the request by; `None` where the path says so. A function may have put
    /// another path in the place of the one that the behavior was chosen by.
    pub behavior: Option<usize>,
    /// What a function said of the origins, in the shell's words: visible ASCII and spaces. `None` leaves them to the
    /// behavior's target.
    pub origins: Option<String>,
}

impl Hop {
    /// Removes the hop header and reads it. `None` where it is missing or malformed.
    pub fn take(headers: &mut HeaderMap) -> Option<Self> {
        let value = headers.remove(HOP_HEADER)?;
        let mut words = value.to_str().ok()?.split(' ');
        let address = words.next()?.parse().ok()?;
        let https = match words.next()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let version = match words.next()? {
            "1.0" => Version::HTTP_10,
            "1.1" => Version::HTTP_11,
            "2.0" => Version::HTTP_2,
            "3.0" => Version::HTTP_3,
            _ => return None,
        };
        let request_id = HeaderValue::from_str(words.next()?).ok()?;
        // An id has no slash.
        let whose = words.next()?;
        let (distribution, behavior) = match whose.split_once('/') {
            Some((distribution, place)) => (distribution.to_owned(), Some(place.parse().ok()?)),
            None => (whose.to_owned(), None),
        };
        // The last one may have spaces.
        let origins = words.next().map(|first| words.fold(first.to_owned(), |text, word| text + " " + word));
        Some(Self { viewer: Viewer { address, https, version, request_id }, distribution, behavior, origins })
    }

    fn value(&self) -> HeaderValue {
        let Viewer { address, https, version, request_id } = &self.viewer;
        let scheme = if *https { "https" } else { "http" };
        let version = match *version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2.0",
            Version::HTTP_3 => "3.0",
            _ => "1.1",
        };
        let id = request_id.to_str().unwrap_or("-");
        let id = if id.is_empty() || id.contains(' ') { "-" } else { id };
        let mut text = format!("{address} {scheme} {version} {id} {}", self.distribution);
        if let Some(place) = self.behavior {
            text.push_str(&format!("/{place}"));
        }
        if let Some(origins) = &self.origins {
            text.push(' ');
            text.push_str(origins);
        }
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The headers that a cache between receives: the viewer's (after [`super::receive_viewer_headers`]) with `Host` as sent,
/// the preconditions that the edge wants, and the hop header.
pub fn parent_request_headers(request: &RequestHead<'_>, hop: &Hop, conditions: Conditions<'_>) -> HeaderMap {
    let mut headers = request.headers.clone();
    super::strip_hop_by_hop(&mut headers);
    headers.insert(header::HOST, HeaderValue::from_str(request.host).unwrap_or(HeaderValue::from_static("")));
    if !matches!(conditions, Conditions::Viewer) {
        for name in PRECONDITIONS {
            headers.remove(name);
        }
    }
    conditions.put_on(&mut headers);
    headers.insert(HOP_HEADER, hop.value());
    headers
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{cache_key::KeySeed, distribution::Distribution, test_data};

    fn hop(behavior: Option<usize>, origins: Option<&str>) -> Hop {
        let viewer = Viewer {
            address: "198.18.41.7:5000".parse().unwrap(),
            https: true,
            version: Version::HTTP_2,
            request_id: HeaderValue::from_static("abc=="),
        };
        Hop { viewer, distribution: "demo".to_owned(), behavior, origins: origins.map(str::to_owned) }
    }

    #[test]
    fn a_cache_between_makes_the_same_key_and_knows_the_viewer() {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let behavior = test_data::behavior("UseOriginCacheControlHeaders", "AllViewer");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=1".parse().unwrap());
        headers.insert(header::ACCEPT_ENCODING, "br".parse().unwrap());
        headers.insert(header::IF_NONE_MATCH, "\"x\"".parse().unwrap());
        let request = RequestHead {
            distribution: &distribution,
            behavior: &behavior,
            method: &Method::GET,
            host: "www.demo.test:4480",
            path: "/a",
            query: None,
            headers: &headers,
        };
        for (place, origins) in [(None, None), (Some(2), Some("[]")), (None, Some("[\"my  app\"]")), (Some(0), None)] {
            let mut sent = parent_request_headers(&request, &hop(place, origins), Conditions::None);
            assert_eq!(Hop::take(&mut sent), Some(hop(place, origins)));
            assert!(!sent.contains_key(HOP_HEADER) && !sent.contains_key(header::IF_NONE_MATCH));
            let host = sent[header::HOST].to_str().unwrap();
            let received = RequestHead { host, headers: &sent, ..request };
            assert_eq!(received.key(KeySeed::new(1)), request.key(KeySeed::new(1)));
        }
    }

    #[test]
    fn a_cache_behind_hears_what_the_viewer_speaks() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3] {
            let mut hop = hop(None, None);
            hop.viewer.version = version;
            let mut headers = HeaderMap::new();
            headers.insert(HOP_HEADER, hop.value());
            assert_eq!(Hop::take(&mut headers), Some(hop), "{version:?}");
        }
    }

    #[test]
    fn a_malformed_hop_is_none() {
        for text in [
            "",
            "x",
            "1.2.3.4:5 http 1.1",
            "1.2.3.4:5 ftp 1.1 id demo",
            "1.2.3.4:5 http 9 id demo",
            "1.2.3.4:5 http 1.1 id demo/x",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOP_HEADER, text.parse().unwrap());
            assert_eq!(Hop::take(&mut headers), None, "{text}");
        }
    }
}
