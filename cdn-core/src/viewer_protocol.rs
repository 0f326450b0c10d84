//! What a behavior does with a request that did not come over HTTPS (AWS page "Require HTTPS for communication between
//! viewers and CloudFront").

use std::{fmt, str::FromStr};

use http::{Method, StatusCode, Version};

/// CloudFront's viewer protocol policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewerProtocolPolicy {
    /// HTTP and HTTPS are served alike.
    #[default]
    AllowAll,
    /// HTTP is sent to the same URL with HTTPS.
    RedirectToHttps,
    /// HTTP is refused.
    HttpsOnly,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is served.
    Serve,
    /// The viewer is sent to HTTPS with this status.
    Redirect(StatusCode),
    /// It is refused.
    Refuse,
}

/// No viewer protocol policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no viewer protocol policy: allow-all, redirect-to-https or https-only")]
pub struct UnknownViewerProtocolPolicy(String);

impl ViewerProtocolPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AllowAll, Self::RedirectToHttps, Self::HttpsOnly];

    /// CloudFront's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowAll => "allow-all",
            Self::RedirectToHttps => "redirect-to-https",
            Self::HttpsOnly => "https-only",
        }
    }

    /// What becomes of a request. A method that may change something keeps it (307), which HTTP/1.0 does not know.
    pub fn passage(self, is_https: bool, method: &Method, version: Version) -> Passage {
        match self {
            _ if is_https => Passage::Serve,
            Self::AllowAll => Passage::Serve,
            Self::HttpsOnly => Passage::Refuse,
            Self::RedirectToHttps => match *method {
                Method::GET | Method::HEAD => Passage::Redirect(StatusCode::MOVED_PERMANENTLY),
                _ if version >= Version::HTTP_11 => Passage::Redirect(StatusCode::TEMPORARY_REDIRECT),
                _ => Passage::Refuse,
            },
        }
    }
}

impl FromStr for ViewerProtocolPolicy {
    type Err = UnknownViewerProtocolPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownViewerProtocolPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| UnknownViewerProtocolPolicy(text.to_owned()))
    }
}

impl fmt::Display for ViewerProtocolPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a redirect leads: the same host, path and query with HTTPS. A viewer that wrote a port for HTTP, because this
/// world does not listen on 80, needs the one for HTTPS.
pub fn https_location(host: &str, target: &str, https_port: u16) -> String {
    match host.rsplit_once(':') {
        Some((name, "80" | "")) => format!("https://{name}{target}"),
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("https://{name}:{https_port}{target}")
        }
        _ => format!("https://{host}{target}"),
    }
}

/// The page of a redirect: 167 bytes for 301, as observed.
pub fn redirect_page(status: StatusCode) -> String {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>CloudFront</center>\r\n</body>\r\n</html>\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_served_sent_on_or_refused() {
        use Passage::{Redirect, Refuse, Serve};
        let (moved, temporary) = (StatusCode::MOVED_PERMANENTLY, StatusCode::TEMPORARY_REDIRECT);
        for (policy, method, version, expected) in [
            (ViewerProtocolPolicy::AllowAll, Method::POST, Version::HTTP_11, Serve),
            (ViewerProtocolPolicy::RedirectToHttps, Method::GET, Version::HTTP_10, Redirect(moved)),
            (ViewerProtocolPolicy::RedirectToHttps, Method::HEAD, Version::HTTP_2, Redirect(moved)),
            (ViewerProtocolPolicy::RedirectToHttps, Method::POST, Version::HTTP_11, Redirect(temporary)),
            (ViewerProtocolPolicy::RedirectToHttps, Method::OPTIONS, Version::HTTP_2, Redirect(temporary)),
            (ViewerProtocolPolicy::RedirectToHttps, Method::POST, Version::HTTP_10, Refuse),
            (ViewerProtocolPolicy::HttpsOnly, Method::GET, Version::HTTP_11, Refuse),
        ] {
            assert_eq!(policy.passage(false, &method, version), expected, "{policy} {method} {version:?}");
            assert_eq!(policy.passage(true, &method, version), Serve);
        }
    }

    #[test]
    fn redirects_keep_host_path_and_query() {
        for (host, location) in [
            ("www.demo.test", "https://www.demo.test/a?b=%20c"),
            ("www.demo.test:80", "https://www.demo.test/a?b=%20c"),
            ("www.demo.test:4480", "https://www.demo.test:4443/a?b=%20c"),
            ("[::1]:4480", "https://[::1]:4443/a?b=%20c"),
            ("[::1]", "https://[::1]/a?b=%20c"),
        ] {
            assert_eq!(https_location(host, "/a?b=%20c", 4443), location);
        }
        assert_eq!(redirect_page(StatusCode::MOVED_PERMANENTLY).len(), 167);
    }
}
