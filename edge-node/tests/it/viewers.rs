//! Who the viewer is: countries that are not served, and `CloudFront-*` headers for origins and cache keys.

use std::collections::{BTreeMap, BTreeSet};

use cdn_core::{
    Counter, SourceNat,
    distribution::{OriginRequestPolicy, Selection},
    geo::{GeoMap, GeoPrefix, Place, Point},
    geo_restriction::{Country, GeoRestriction},
    viewer_protocol::ViewerProtocolPolicy,
};
use edge_node::Places;
use tokio::net::TcpSocket;

use crate::support::{Client, Reply, Running, Scripted, Setup, line, ok};

/// Somebody in Berlin, and somebody in Paris.
const BERLIN: &str = "127.18.1.7";
const PARIS: &str = "127.18.2.7";
/// Somebody of whom nobody knows.
const NOWHERE: &str = "127.18.9.7";

fn setup(origin: &Scripted) -> Setup {
    let mut setup = Setup::new(origin.address).policy("CachingOptimized");
    know_places(&mut setup);
    setup
}

/// Tells a node where these are.
pub(crate) fn know_places(setup: &mut Setup) {
    let place = |net: &str, lat, lon, country: &str, label: &str| GeoPrefix {
        net: net.parse().unwrap(),
        place: Place { point: Point::new(lat, lon).unwrap(), country: country.into(), label: label.into() },
    };
    let map = GeoMap::build([
        place("198.18.1.0/24", 52.52437, 13.41053, "DE", "Berlin"),
        place("198.18.2.0/24", 48.85341, 2.3488, "FR", "Paris"),
    ]);
    let country_names = BTreeMap::from([(Country::parse("DE").unwrap(), "Germany".to_owned())]);
    setup.config.places = Some(Places { map, country_names });
    let nat = SourceNat::new("127.18.0.0/15".parse().unwrap(), "198.18.0.0/15".parse().unwrap());
    setup.config.source_nat = Some(nat.unwrap());
}

async fn ask(edge: &Running, from: &str, head: &str) -> Reply {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut client = Client::on(socket.connect(edge.address).await.unwrap());
    client.send(format!("{head}\r\nHost: www.demo.test\r\n\r\n")).await;
    client.reply(false).await
}

fn germany() -> BTreeSet<Country> {
    BTreeSet::from([Country::parse("DE").unwrap()])
}

#[tokio::test]
async fn a_viewer_of_a_blocked_country_gets_403_also_where_it_is_stored() {
    let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", "hello")]).await;
    let mut setup = setup(&origin);
    setup.spec.geo_restriction = GeoRestriction::Block(germany());
    let mut secure = setup.spec.default_behavior.clone();
    (secure.path_pattern, secure.viewer_protocol) = ("/s".into(), ViewerProtocolPolicy::RedirectToHttps);
    setup.spec.behaviors.push(secure);
    let edge = setup.start().await;
    for from in [PARIS, NOWHERE, PARIS] {
        assert_eq!(ask(&edge, from, "GET /a HTTP/1.1").await.status, 200, "{from}");
    }
    for path in ["/a", "/s"] {
        let refused = ask(&edge, BERLIN, &format!("GET {path} HTTP/1.1")).await;
        assert_eq!((refused.status, refused.reason().as_str()), (403, "geo_blocked"));
        assert_eq!(refused.x_cache(), "Error from cloudfront");
        assert!(refused.text().contains("block access from the country"), "{}", refused.text());
    }
    assert_eq!((origin.requests(), edge.count(Counter::EdgeGeoBlocked)), (1, 2));
}

#[tokio::test]
async fn only_allowed_countries_are_served_and_whoever_nobody_knows() {
    let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", "hello")]).await;
    let mut setup = setup(&origin);
    setup.spec.geo_restriction = GeoRestriction::Allow(germany());
    let edge = setup.start().await;
    for (from, status) in [(BERLIN, 200), (PARIS, 403), (NOWHERE, 200), (BERLIN, 200), (PARIS, 403)] {
        assert_eq!(ask(&edge, from, "GET /a HTTP/1.1").await.status, status, "{from}");
    }
}

#[tokio::test]
async fn an_origin_is_told_what_a_policy_names_and_is_true() {
    let origin = Scripted::start(|head, _| vec![ok("", head)]).await;
    let mut setup = setup(&origin);
    let named = ["Country", "Country-Name", "City", "Latitude", "Longitude", "Address", "Http-Version", "TLS", "ASN"];
    setup.spec.default_behavior.origin_request_policy = OriginRequestPolicy {
        headers: Selection::Only(vec!["CloudFront-Is-Desktop-Viewer".into(), "CloudFront-Forwarded-Proto".into()]),
        added_headers: named.map(|name| format!("CloudFront-Viewer-{name}")).into(),
        ..OriginRequestPolicy::default()
    };
    // A cache between is told by the edge.
    let (edge, _shield) = setup.start_with_shield().await;
    let head = "GET /a HTTP/1.1\r\nCloudFront-Viewer-ASN: 1\r\nCloudFront-Viewer-Country: XX";
    let sent = ask(&edge, BERLIN, head).await.text();
    for (name, expected) in [
        ("Viewer-Country", Some("DE")),
        ("Viewer-Country-Name", Some("Germany")),
        ("Viewer-City", Some("Berlin")),
        ("Viewer-Latitude", Some("52.52437")),
        ("Viewer-Longitude", Some("13.41053")),
        ("Viewer-Http-Version", Some("1.1")),
        ("Is-Desktop-Viewer", Some("true")),
        ("Forwarded-Proto", Some("http")),
        ("Viewer-TLS", None),
        ("Viewer-ASN", None),
    ] {
        assert_eq!(line(&sent, &format!("cloudfront-{name}")).as_deref(), expected, "{sent}");
    }
    assert!(line(&sent, "cloudfront-viewer-address").unwrap().starts_with("198.18.1.7:"), "{sent}");
    let unknown = ask(&edge, NOWHERE, "GET /b HTTP/1.1").await.text();
    assert_eq!(line(&unknown, "cloudfront-viewer-country"), None);
}

#[tokio::test]
async fn a_country_in_the_key_keeps_responses_apart() {
    let origin = Scripted::start(|head, _| {
        vec![ok("Cache-Control: max-age=60\r\n", &line(head, "cloudfront-viewer-country").unwrap_or_default())]
    })
    .await;
    let mut setup = setup(&origin);
    setup.spec.default_behavior.cache_policy.headers = Selection::Only(vec!["CloudFront-Viewer-Country".into()]);
    let edge = setup.start().await;
    for (from, country) in [(BERLIN, "DE"), (PARIS, "FR"), (BERLIN, "DE"), (PARIS, "FR"), (NOWHERE, "")] {
        assert_eq!(ask(&edge, from, "GET /a HTTP/1.1").await.text(), country, "{from}");
    }
    assert_eq!(origin.requests(), 3);
}
