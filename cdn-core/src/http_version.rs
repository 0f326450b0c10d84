//! Which versions of HTTP viewers may speak over HTTPS, by CloudFront's names, and how they hear of HTTP/3.

use std::{fmt, str::FromStr};

/// A distribution's `HttpVersion`. All of them include HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// `http1.1`.
    Http11,
    /// `http2`.
    #[default]
    Http2,
    /// `http3`, without HTTP/2.
    Http3,
    /// `http2and3`.
    Http2And3,
}

impl HttpVersion {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http11, Self::Http2, Self::Http3, Self::Http2And3];

    /// CloudFront's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http11 => "http1.1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
            Self::Http2And3 => "http2and3",
        }
    }

    /// Whether HTTP/2 is spoken.
    pub const fn http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2And3)
    }

    /// Whether HTTP/3 is spoken.
    pub const fn http3(self) -> bool {
        matches!(self, Self::Http3 | Self::Http2And3)
    }
}

impl fmt::Display for HttpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No `HttpVersion` has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP version {0:?}")]
pub struct UnknownHttpVersion(String);

impl FromStr for HttpVersion {
    type Err = UnknownHttpVersion;

    fn from_str(text: &str) -> Result<Self, UnknownHttpVersion> {
        let found = Self::ALL.into_iter().find(|version| version.as_str() == text);
        found.ok_or_else(|| UnknownHttpVersion(text.to_owned()))
    }
}

/// What viewers are told of HTTP/3, and for how long that holds (RFC 7838 section 3): that it is spoken at `port`.
pub fn alt_svc(port: u16) -> String {
    format!("h3=\":{port}\"; ma=86400")
}

/// The port at which a viewer that asked for `host` over HTTPS reaches what listens at `https_port`: the same where it
/// wrote that, else 443, which something leads there.
pub fn port_of_viewer(host: &str, https_port: u16) -> u16 {
    let wrote_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(https_port));
    if wrote_port { https_port } else { 443 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cloudfronts_and_say_what_is_spoken() {
        for version in HttpVersion::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert!("http4".parse::<HttpVersion>().is_err());
        let spoken = HttpVersion::ALL.map(|version| (version.http2(), version.http3()));
        assert_eq!(spoken, [(false, false), (true, false), (false, true), (true, true)]);
    }

    #[test]
    fn viewers_are_told_of_the_port_that_they_know() {
        for (host, port) in
            [("www.demo.test", 443), ("www.demo.test:443", 443), ("www.demo.test:4443", 4443), ("[::1]:4443", 4443)]
        {
            assert_eq!(port_of_viewer(host, 4443), port, "{host}");
        }
        assert_eq!(alt_svc(443), "h3=\":443\"; ma=86400", "as observed");
    }
}
