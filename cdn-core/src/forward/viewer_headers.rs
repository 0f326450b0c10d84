//! The `CloudFront-*` headers that say who a viewer is.
//!
//! Decides their values by CloudFront's page "Add CloudFront request headers", as far as there is something true to say: a
//! fingerprint of the TLS handshake, an autonomous system or a postal code is nothing that this world has, and such headers
//! are not made up. What a device is CloudFront looks up in a database of its own; here a few words of `User-Agent` decide.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::request::Viewer;
use crate::geo::Place;

/// Headers for which somebody must know where the viewer is.
const OF_PLACE: [&str; 5] = [
    "cloudfront-viewer-city",
    "cloudfront-viewer-country",
    "cloudfront-viewer-country-name",
    "cloudfront-viewer-latitude",
    "cloudfront-viewer-longitude",
];

/// The header that tells the TLS handshake.
pub const CLOUDFRONT_VIEWER_TLS: HeaderName = HeaderName::from_static("cloudfront-viewer-tls");

/// What is known of a viewer beside its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Where it is.
    pub place: Option<&'a Place>,
    /// What its country is called.
    pub country_name: Option<&'a str>,
    /// How its TLS handshake went: `TLSv1.3:TLS_AES_128_GCM_SHA256:fullHandshake`.
    pub tls: Option<&'a str>,
}

/// Whether the header's value needs [`Facts::place`].
pub fn is_of_place(name: &HeaderName) -> bool {
    OF_PLACE.contains(&name.as_str())
}

/// The value of a `CloudFront-*` header; `None` for those about which nothing is known.
pub(super) fn viewer_header(
    name: &HeaderName,
    viewer: &Viewer,
    facts: Facts<'_>,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    let word = |word: &'static str| Some(HeaderValue::from_static(word));
    let yes_or_no = |yes: bool| word(if yes { "true" } else { "false" });
    let text = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok().filter(|value| !value.is_empty());
    let degrees = |degrees: f64| text(&format!("{degrees:.5}"));
    let device = || Device::of(headers);
    match name.as_str().strip_prefix("cloudfront-")? {
        "forwarded-proto" => word(if viewer.https { "https" } else { "http" }),
        "viewer-http-version" => word(match viewer.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2.0",
            Version::HTTP_3 => "3.0",
            _ => "1.1",
        }),
        "viewer-address" => text(&format!("{}:{}", viewer.address.ip().to_canonical(), viewer.address.port())),
        "viewer-tls" => text(facts.tls?),
        "viewer-country" => text(&facts.place?.country),
        "viewer-country-name" => text(facts.country_name?),
        "viewer-city" => text(&facts.place?.label),
        "viewer-latitude" => degrees(facts.place?.point.lat_deg()),
        "viewer-longitude" => degrees(facts.place?.point.lon_deg()),
        "is-desktop-viewer" => yes_or_no(device().kind == Kind::Desktop),
        "is-mobile-viewer" => yes_or_no(device().kind == Kind::Mobile),
        "is-tablet-viewer" => yes_or_no(device().kind == Kind::Tablet),
        "is-smarttv-viewer" => yes_or_no(device().kind == Kind::SmartTv),
        "is-ios-viewer" => yes_or_no(device().is_ios),
        "is-android-viewer" => yes_or_no(device().is_android),
        _ => None,
    }
}

/// What a viewer's device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Device {
    kind: Kind,
    is_ios: bool,
    is_android: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Desktop,
    Mobile,
    Tablet,
    SmartTv,
}

impl Device {
    fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| agent.contains(word));
        let is_ios = has(&["iPhone", "iPad", "iPod"]);
        let is_android = agent.contains("Android");
        // A television says that it is one, also where it runs Android; a tablet of Android says no `Mobile`.
        let kind = if has(&[
            "SmartTV", "SMART-TV", "Smart-TV", "GoogleTV", "AppleTV", "HbbTV", "Web0S", "BRAVIA", "Roku", "AFT",
        ]) {
            Kind::SmartTv
        } else if has(&["iPad", "Tablet", "Kindle", "Silk/"]) || is_android && !agent.contains("Mobile") {
            Kind::Tablet
        } else if has(&["Mobile", "iPhone", "iPod"]) {
            Kind::Mobile
        } else {
            Kind::Desktop
        };
        Self { kind, is_ios, is_android }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Point;

    fn value(name: &'static str, agent: &str, facts: Facts<'_>) -> Option<String> {
        let viewer = Viewer {
            address: "[::ffff:198.18.41.7]:5000".parse().unwrap(),
            https: true,
            version: Version::HTTP_2,
            request_id: HeaderValue::from_static("id=="),
        };
        let headers = HeaderMap::from_iter([(header::USER_AGENT, agent.parse().unwrap())]);
        let value = viewer_header(&HeaderName::from_static(name), &viewer, facts, &headers)?;
        Some(String::from_utf8(value.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn what_is_known_is_said_and_nothing_else() {
        let point = Point::new(-23.5475, -46.63611).unwrap();
        let place = Place { point, country: "BR".into(), label: "São Paulo".into() };
        let tls = "TLSv1.3:TLS_AES_128_GCM_SHA256:fullHandshake";
        let facts = Facts { place: Some(&place), country_name: Some("Brazil"), tls: Some(tls) };
        for (name, expected) in [
            ("cloudfront-viewer-address", Some("198.18.41.7:5000")),
            ("cloudfront-forwarded-proto", Some("https")),
            ("cloudfront-viewer-http-version", Some("2.0")),
            ("cloudfront-viewer-country", Some("BR")),
            ("cloudfront-viewer-country-name", Some("Brazil")),
            ("cloudfront-viewer-city", Some("São Paulo")),
            ("cloudfront-viewer-latitude", Some("-23.54750")),
            ("cloudfront-viewer-longitude", Some("-46.63611")),
            ("cloudfront-viewer-tls", Some(tls)),
            ("cloudfront-viewer-asn", None),
            ("cloudfront-viewer-ja3-fingerprint", None),
            ("cloudfront-viewer-postal-code", None),
        ] {
            assert_eq!(value(name, "", facts).as_deref(), expected, "{name}");
        }
        for name in OF_PLACE {
            assert_eq!(value(name, "", Facts::default()), None, "{name}");
        }
    }

    #[test]
    fn a_device_is_one_of_four_kinds() {
        let kinds = [
            "cloudfront-is-desktop-viewer",
            "cloudfront-is-mobile-viewer",
            "cloudfront-is-tablet-viewer",
            "cloudfront-is-smarttv-viewer",
            "cloudfront-is-ios-viewer",
            "cloudfront-is-android-viewer",
        ];
        for (agent, expected) in [
            ("curl/8", "100000"),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/140.0", "100000"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148", "010010"),
            ("Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) Mobile/15E148", "001010"),
            ("Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/140.0 Mobile Safari/537.36", "010001"),
            ("Mozilla/5.0 (Linux; Android 15; SM-X910) Chrome/140.0 Safari/537.36", "001001"),
            ("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) TV Safari/537.36", "000100"),
        ] {
            let said: String = kinds
                .map(|name| if value(name, agent, Facts::default()).as_deref() == Some("true") { '1' } else { '0' })
                .into_iter()
                .collect();
            assert_eq!(said, expected, "{agent}");
        }
    }
}
