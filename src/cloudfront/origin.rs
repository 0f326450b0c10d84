//! Origins and origin groups: CloudFront's JSON to a cluster file's, and back.

use std::time::Duration;

use cdn_core::{
    distribution::{
        CUSTOM_HEADER_VALUE_MAX, CUSTOM_HEADERS_MAX, CUSTOM_HEADERS_TOTAL_MAX, FAILOVER_CODES_AWS, OriginGroup,
        accepts_custom_header,
    },
    origin_protocol::{OriginProtocolPolicy, OriginSslProtocol},
};
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};
use world::{Atlas, Place};

use super::{
    Carried, Importer, Known,
    names::{id_for, is_bucket, region_of},
    policy::list,
    read::{At, INVALID_ARGUMENT, Object, Refusal, without_nulls},
    report::Kind,
};
use crate::{
    cluster::{AppUrl, OriginPlan},
    cluster_file::{GroupFile, OriginFile},
    quantity::Span,
};

/// Where an origin stands whose address does not tell.
const SITE: &str = "us-east-1";

/// The three kinds of origins; each has exactly one of these.
const KINDS: [&str; 3] = ["CustomOriginConfig", "S3OriginConfig", "VpcOriginConfig"];

/// What behaviors may ask.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its id in the cluster file.
    pub(super) id: String,
    /// Whether it, or a member of it, is a bucket of S3's.
    pub(super) is_bucket: bool,
    /// Whether it is a group.
    pub(super) is_group: bool,
}

/// An origin that was imported, and where it stands now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ImportedOrigin {
    /// CloudFront's id.
    pub(crate) id: String,
    /// Its id in the cluster file.
    pub(crate) origin: String,
    /// Its real address.
    pub(crate) domain: String,
    /// Whether a `--map` says what answers; the others are simulated.
    pub(crate) mapped: bool,
    /// Where it stands.
    pub(crate) site: String,
}

const ORIGIN_MEMBERS: &[Known] = &[
    Known("OriginAccessControlId", Kind::Approximated, "requests to the bucket are not signed (origin access control)"),
    Known("OriginAccessIdentity", Kind::Approximated, "requests to the bucket are not signed (origin access identity)"),
];

const GROUP_MEMBERS: &[Known] = &[Known(
    "SelectionCriteria",
    Kind::Approximated,
    "media quality is not looked at: the first origin is asked first",
)];

impl Importer<'_> {
    pub(super) fn origins(&mut self, origins: &[At<'_>]) -> Result<(), Refusal> {
        for at in origins {
            let mut object = at.object()?;
            let id_at = object.required("Id")?;
            let id = id_at.text()?;
            if id.is_empty() || self.targets.contains_key(id) {
                return Err(id_at.refuse(INVALID_ARGUMENT, format!("the origin id {id:?} is empty or used twice")));
            }
            let own = self.own_id(id, |id| self.file.origins.contains_key(id));
            let mut carried = Carried::new();
            if own != id {
                carried.insert("Id".into(), id.into());
            }
            let (domain, is_bucket, origin) = self.origin(&mut object, id, carried)?;
            self.imported_origin(id, &own, &domain, &origin, at);
            self.targets.insert(id.to_owned(), Target { id: own.clone(), is_bucket, is_group: false });
            self.file.origins.insert(own, origin);
        }
        self.report.simulated("origins");
        Ok(())
    }

    /// The id of an origin or a group in the cluster file.
    fn own_id(&self, id: &str, is_taken: impl Fn(&str) -> bool) -> String {
        self.options.ids.get(id).cloned().unwrap_or_else(|| id_for(id, is_taken))
    }

    fn imported_origin(&mut self, id: &str, own: &str, domain: &str, origin: &OriginFile, at: &At<'_>) {
        let mapped = self.options.maps.contains_key(id);
        let site = origin.site.clone().unwrap_or_else(|| SITE.to_owned());
        if !mapped {
            let message = match region_of(domain) {
                Some(region) => format!("{domain} is simulated, in {region}"),
                None => format!("{domain} is simulated, in {SITE}: its address tells no region"),
            };
            self.report.remark(Kind::Approximated, &format!("origin {id}"), at, message);
        }
        let (id, origin, domain) = (id.to_owned(), own.to_owned(), domain.to_owned());
        self.imported.push(ImportedOrigin { id, origin, domain, mapped, site });
    }

    fn origin(
        &mut self,
        object: &mut Object<'_>,
        id: &str,
        mut carried: Carried,
    ) -> Result<(String, bool, OriginFile), Refusal> {
        let domain_at = object.required("DomainName")?;
        let domain = domain_at.text()?;
        let is_host = |text: &str| {
            let label = |label: &str| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            text.len() <= 253 && text.split('.').all(label)
        };
        if !is_host(domain) {
            let message = format!("DomainName {domain:?} is no host name; scheme, port and path do not belong to it");
            return Err(domain_at.refuse("InvalidOrigin", message));
        }
        let path_at = object.place("OriginPath");
        let path = object.text("OriginPath")?;
        if path.is_some_and(|path| !path.starts_with('/') || path.ends_with('/') || path.len() > 255) {
            let message = "OriginPath starts with a slash and does not end with one";
            return Err(path_at.refuse("InvalidRelativePath", message));
        }
        let mut origin = self.options.maps.get(id).cloned().unwrap_or_default();
        let told = || region_of(domain).unwrap_or_else(|| SITE.to_owned());
        origin.site.get_or_insert_with(told);
        origin.host = Some(domain.to_owned());
        origin.path = path.map(str::to_owned);
        origin.headers = custom_headers(object)?;
        let attempts = object.number("ConnectionAttempts", 1..=3, INVALID_ARGUMENT)?;
        origin.connection_attempts = attempts.filter(|attempts| *attempts != 3).and_then(|n| u8::try_from(n).ok());
        origin.connection_timeout =
            object.number("ConnectionTimeout", 1..=10, INVALID_ARGUMENT)?.filter(|secs| *secs != 10).map(seconds);
        let is_bucket = self.kind_of_origin(object, domain, id, &mut origin, &mut carried)?;
        let cap_at = object.place("ResponseCompletionTimeout");
        if let Some(at) = object.take("ResponseCompletionTimeout") {
            let cap = seconds(at.number()?);
            if cap.0 < origin.response_timeout.map_or(Duration::from_secs(30), |span| span.0) {
                return Err(cap_at.refuse(INVALID_ARGUMENT, "ResponseCompletionTimeout is below OriginReadTimeout"));
            }
            origin.completion_timeout = Some(cap);
        }
        self.origin_shield(object, id, &mut origin, &mut carried)?;
        self.carry(object, &mut carried, &format!("origin {id}"), ORIGIN_MEMBERS);
        origin.cloudfront = carried;
        Ok((domain.to_owned(), is_bucket, origin))
    }

    /// Reads what only one of the three kinds of origins has; whether it is a bucket.
    fn kind_of_origin(
        &mut self,
        object: &mut Object<'_>,
        domain: &str,
        id: &str,
        origin: &mut OriginFile,
        carried: &mut Carried,
    ) -> Result<bool, Refusal> {
        let place = object.at.clone();
        let mut kinds = KINDS.into_iter().filter_map(|kind| Some((kind, object.take(kind)?)));
        let (Some((kind, at)), None) = (kinds.next(), kinds.next()) else {
            let message = "an origin has exactly one of CustomOriginConfig, S3OriginConfig and VpcOriginConfig";
            return Err(place.refuse(INVALID_ARGUMENT, message));
        };
        let mut config = at.object()?;
        let subject = format!("origin {id}");
        match kind {
            "S3OriginConfig" => {
                if !is_bucket(domain) {
                    let message = format!("{domain} is no bucket of S3's; websites of S3's are custom origins");
                    return Err(at.refuse("InvalidOrigin", message));
                }
                let identity = config.place("OriginAccessIdentity");
                let said = config.required("OriginAccessIdentity")?.text()?;
                if !said.is_empty() && !said.starts_with("origin-access-identity/cloudfront/") {
                    let message = format!("{said:?} is no origin-access-identity/cloudfront/ID");
                    return Err(identity.refuse("InvalidOriginAccessIdentity", message));
                }
                if !said.is_empty() {
                    let Known(_, kind, message) = ORIGIN_MEMBERS[1];
                    self.report.remark(kind, &subject, &identity, message);
                }
            }
            "VpcOriginConfig" => {
                let message = "an origin in a VPC is one like any other here";
                self.report.remark(Kind::Approximated, &subject, &at, message);
            }
            _ => {
                let mut ports = [80, 443];
                for (name, into) in ["HTTPPort", "HTTPSPort"].into_iter().zip(&mut ports) {
                    let port = config.required(name)?;
                    let number = u16::try_from(port.number()?).ok().filter(|port| matches!(port, 80 | 443 | 1024..));
                    *into = number.ok_or_else(|| {
                        port.refuse(INVALID_ARGUMENT, "a port of an origin is 80, 443 or 1024 to 65535")
                    })?;
                }
                let policy_at = config.required("OriginProtocolPolicy")?;
                let policy =
                    OriginProtocolPolicy::ALL.iter().find(|policy| policy_at.node.text() == Some(policy.as_str()));
                let policy = *policy.ok_or_else(|| {
                    let message = "OriginProtocolPolicy is http-only, https-only or match-viewer";
                    policy_at.refuse(INVALID_ARGUMENT, message)
                })?;
                let mut protocols = Vec::new();
                for protocol in config.list("OriginSslProtocols")? {
                    if !["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"].contains(&protocol.text()?) {
                        let message = "OriginSslProtocols are SSLv3, TLSv1, TLSv1.1 and TLSv1.2";
                        return Err(protocol.refuse(INVALID_ARGUMENT, message));
                    }
                    protocols.push(protocol.text()?.to_owned());
                }
                if let Some(message) = protocol_of(origin, policy, ports, protocols) {
                    self.report.remark(Kind::Approximated, &subject, &policy_at, message);
                }
            }
        }
        let read = config.number("OriginReadTimeout", 1..=120, "InvalidOriginReadTimeout")?;
        origin.response_timeout = read.filter(|secs| *secs != 30).map(seconds);
        let idle = config.number("OriginKeepaliveTimeout", 1..=120, "InvalidOriginKeepaliveTimeout")?;
        origin.keepalive_timeout = idle.filter(|secs| *secs != 5).map(seconds);
        let mut kept = without_nulls(&at.node.to_json());
        if let Some(members) = kept.as_object_mut() {
            members.retain(|name, _| !name.ends_with("Timeout"));
        }
        carried.insert(kind.into(), kept);
        Ok(kind == "S3OriginConfig")
    }

    fn origin_shield(
        &mut self,
        object: &mut Object<'_>,
        id: &str,
        origin: &mut OriginFile,
        carried: &mut Carried,
    ) -> Result<(), Refusal> {
        origin.shield = Some(false);
        let Some(mut shield) = object.object("OriginShield")? else { return Ok(()) };
        if !shield.flag("Enabled")? {
            return Ok(());
        }
        let place = shield.place("OriginShieldRegion");
        let region = shield.text("OriginShieldRegion")?;
        let atlas = Atlas::embedded();
        let found = region.and_then(|region| atlas.regions().iter().find(|known| known.place.id.as_str() == region));
        let Some(found) = found else {
            let message = format!("OriginShieldRegion {:?} is no region", region.unwrap_or_default());
            return Err(place.refuse(INVALID_ARGUMENT, message));
        };
        origin.shield = Some(true);
        self.report.simulated("origin shield");
        let nearest = world::nearest(found.place.coordinates, atlas.pops().iter().map(|pop| &pop.place));
        let pop = nearest.and_then(Place::pop_code).map(|code| code.to_string());
        let first = self.file.shield.get_or_insert_with(|| pop.clone().unwrap_or_else(|| "none".into())).clone();
        if pop.as_ref() != Some(&first) {
            let message = format!("a world has one shield: this origin is shielded at {first} too");
            self.report.remark(Kind::Approximated, &format!("origin {id}"), &place, message);
        }
        carried.insert("OriginShieldRegion".into(), found.place.id.as_str().into());
        Ok(())
    }

    pub(super) fn groups(&mut self, groups: &[At<'_>]) -> Result<(), Refusal> {
        for at in groups {
            let mut object = at.object()?;
            let id_at = object.required("Id")?;
            let id = id_at.text()?;
            if id.is_empty() || self.targets.contains_key(id) {
                return Err(
                    id_at.refuse(INVALID_ARGUMENT, format!("the id {id:?} of the group is empty or used twice"))
                );
            }
            let members_at = object.place("Members");
            let mut names = Vec::new();
            for member in object.required("Members")?.object()?.items()? {
                let origin = member.object()?.required("OriginId")?;
                let target = self.targets.get(origin.text()?).filter(|target| !target.is_group);
                let target = target.ok_or_else(|| origin.refuse("NoSuchOrigin", "there is no origin of this id"))?;
                names.push(target.clone());
            }
            let Ok([primary, secondary]) = <[Target; 2]>::try_from(names) else {
                return Err(members_at.refuse(INVALID_ARGUMENT, "an origin group has exactly two members"));
            };
            if primary.id == secondary.id {
                return Err(members_at.refuse(INVALID_ARGUMENT, "an origin group has two different members"));
            }
            let codes = self.failover_codes(&mut object, id)?;
            let taken = |id: &str| self.file.origins.contains_key(id) || self.file.groups.contains_key(id);
            let own = self.own_id(id, taken);
            let mut carried = Carried::new();
            if own != id {
                carried.insert("Id".into(), id.into());
            }
            if object.place("SelectionCriteria").node.text() == Some("default") {
                object.take("SelectionCriteria");
            }
            self.carry(&object, &mut carried, &format!("group {id}"), GROUP_MEMBERS);
            self.slow_failover(id, &primary, &members_at);
            let is_bucket = primary.is_bucket || secondary.is_bucket;
            self.targets.insert(id.to_owned(), Target { id: own.clone(), is_bucket, is_group: true });
            let group = GroupFile {
                members: [primary.id, secondary.id],
                failover_codes: Some(codes),
                on_transport_error: None,
                cloudfront: carried,
            };
            self.file.groups.insert(own, group);
            self.report.simulated("failover");
        }
        Ok(())
    }

    fn failover_codes(&mut self, object: &mut Object<'_>, id: &str) -> Result<Vec<u16>, Refusal> {
        let mut criteria = object.required("FailoverCriteria")?.object()?;
        let place = criteria.place("StatusCodes");
        let mut codes = Vec::new();
        for at in criteria.list("StatusCodes")? {
            let code = u16::try_from(at.number()?).ok().filter(|code| (400..=599).contains(code));
            let code =
                code.ok_or_else(|| at.refuse(INVALID_ARGUMENT, "a failover code is a status from 400 to 599"))?;
            if !FAILOVER_CODES_AWS.contains(&code) {
                let message = format!("AWS does not offer {code} as a failover code");
                self.report.remark(Kind::Risky, &format!("group {id}"), &at, message);
            }
            codes.push(code);
        }
        if codes.is_empty() {
            return Err(place.refuse(INVALID_ARGUMENT, "an origin group has at least one failover code"));
        }
        if !codes.contains(&503) && !codes.contains(&502) {
            let message =
                "an origin that refuses connections does not fail over: neither 502 nor 503 is among the codes";
            self.report.remark(Kind::Risky, &format!("group {id}"), &place, message);
        }
        if !codes.contains(&504) {
            let message = "an origin that is silent does not fail over: 504 is not among the codes";
            self.report.remark(Kind::Risky, &format!("group {id}"), &place, message);
        }
        Ok(codes)
    }

    /// Says so where viewers wait long for a primary that is silent.
    fn slow_failover(&mut self, id: &str, primary: &Target, at: &At<'_>) {
        let Some(origin) = self.file.origins.get(&primary.id) else { return };
        let attempts = u32::from(origin.connection_attempts.unwrap_or(3));
        let timeout = origin.connection_timeout.map_or(10, |span| span.0.as_secs());
        let silence = u64::from(attempts) * timeout;
        let response = origin.response_timeout.map_or(30, |span| span.0.as_secs());
        let mute = u64::from(attempts) * response;
        if silence >= 10 || mute >= 10 {
            let message = format!(
                "before failover viewers wait {attempts} × {timeout} s = {silence} s for a {} that is not there, and \
                 {attempts} × {response} s = {mute} s for one that says nothing",
                primary.id
            );
            self.report.remark(Kind::Risky, &format!("group {id}"), at, message);
        }
    }
}

/// Has edges speak with an origin as AWS would, as far as what answers in its place lets them. Returns what is otherwise.
fn protocol_of(
    origin: &mut OriginFile,
    policy: OriginProtocolPolicy,
    [http_port, https_port]: [u16; 2],
    ssl_protocols: Vec<String>,
) -> Option<String> {
    use OriginProtocolPolicy::{HttpOnly, HttpsOnly, MatchViewer};
    let app = origin.url.as_deref().and_then(|url| AppUrl::parse(url).ok());
    let protocol = match (&app, policy) {
        (Some(app), _) if app.https => {
            if !app.says_port {
                origin.url = Some(AppUrl { port: https_port, ..app.clone() }.url());
            }
            HttpsOnly
        }
        // Ports that say that they are the app's own.
        (Some(app), MatchViewer) if app.port == http_port && http_port >= 1024 => {
            origin.protocol = Some(MatchViewer.as_str().to_owned());
            origin.https_port = Some(https_port);
            MatchViewer
        }
        _ => HttpOnly,
    };
    if protocol != HttpOnly && !ssl_protocols.is_empty() {
        origin.ssl_protocols = Some(ssl_protocols);
    }
    (policy != protocol).then(|| {
        let here = if protocol == HttpsOnly { "https" } else { "http" };
        format!("{policy} to the origin is {here} here")
    })
}

fn custom_headers(object: &mut Object<'_>) -> Result<IndexMap<String, String>, Refusal> {
    let place = object.place("CustomHeaders");
    let mut headers: IndexMap<String, String> = IndexMap::new();
    for at in object.list("CustomHeaders")? {
        let mut header = at.object()?;
        let name_at = header.required("HeaderName")?;
        let value_at = header.required("HeaderValue")?;
        let (name, value) = (name_at.text()?, value_at.text()?);
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().filter(accepts_custom_header);
        if parsed.is_none() {
            return Err(name_at.refuse(INVALID_ARGUMENT, format!("an origin cannot have the custom header {name:?}")));
        }
        if value.len() > CUSTOM_HEADER_VALUE_MAX {
            let message = format!("the value of {name} is longer than {CUSTOM_HEADER_VALUE_MAX} characters");
            return Err(value_at.refuse(INVALID_ARGUMENT, message));
        }
        if HeaderValue::from_str(value).is_err() {
            return Err(value_at.refuse(INVALID_ARGUMENT, format!("the value of {name} cannot stand in a header")));
        }
        if headers.keys().any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(name_at.refuse(INVALID_ARGUMENT, format!("the custom header {name} is there twice")));
        }
        headers.insert(name.to_owned(), value.to_owned());
    }
    if headers.len() > CUSTOM_HEADERS_MAX {
        let message = format!("{} custom headers: AWS allows {CUSTOM_HEADERS_MAX}", headers.len());
        return Err(place.refuse("TooManyOriginCustomHeaders", message));
    }
    let total: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if total > CUSTOM_HEADERS_TOTAL_MAX {
        let message = format!("custom headers of {total} characters: AWS allows {CUSTOM_HEADERS_TOTAL_MAX}");
        return Err(place.refuse(INVALID_ARGUMENT, message));
    }
    Ok(headers)
}

const fn seconds(secs: u64) -> Span {
    Span(Duration::from_secs(secs))
}

/// An origin as CloudFront writes it.
pub(super) fn origin_json(id: &str, plan: &OriginPlan, written: Option<&OriginFile>) -> Json {
    let origin = &plan.origin;
    let nothing = Carried::new();
    let mut carried = written.map_or(&nothing, |written| &written.cloudfront).clone();
    let own_id = carried.shift_remove("Id").unwrap_or_else(|| id.into());
    let headers: Vec<Json> = match written {
        // As they were written, since names of headers compare without case.
        Some(written) => written.headers.iter().map(|(name, value)| custom_header(name, value)).collect(),
        None => Vec::new(),
    };
    let (domain, port) = match origin.domain_name.rsplit_once(':') {
        Some((domain, port)) => (domain, port.parse::<u16>().ok()),
        None => (origin.domain_name.as_str(), None),
    };
    let mut json = json!({
        "Id": own_id,
        "DomainName": domain,
        "OriginPath": origin.origin_path,
        "CustomHeaders": list(&headers),
    });
    let kind = KINDS.into_iter().find(|kind| carried.contains_key(*kind)).unwrap_or("CustomOriginConfig");
    let mut config = carried.shift_remove(kind).filter(Json::is_object).unwrap_or_else(|| {
        // TLS 1.3 is always spoken there, and has no name.
        let spoken = origin.ssl_protocols.iter().filter(|protocol| **protocol != OriginSslProtocol::TLSv1_3);
        let mut protocols: Vec<&str> = spoken.map(|protocol| protocol.as_str()).collect();
        if protocols.is_empty() {
            protocols.push(OriginSslProtocol::TLSv1_2.as_str());
        }
        let policy = origin.protocol;
        // The port in a name is that of the scheme that is spoken, HTTP's where both are.
        let (http, https) = match policy {
            OriginProtocolPolicy::HttpsOnly => (None, port),
            _ => (port, written.and_then(|written| written.https_port)),
        };
        json!({
            "HTTPPort": http.unwrap_or(80),
            "HTTPSPort": https.unwrap_or(443),
            "OriginProtocolPolicy": policy.as_str(),
            "OriginSslProtocols": list(&protocols),
        })
    });
    let response_timeout = origin.response_timeout.as_secs();
    if kind == "S3OriginConfig" {
        config.as_object_mut().map(|config| config.entry("OriginAccessIdentity").or_insert_with(|| "".into()));
    }
    config["OriginReadTimeout"] = response_timeout.into();
    if kind != "S3OriginConfig" {
        config["OriginKeepaliveTimeout"] = origin.keepalive_timeout.as_secs().into();
    }
    json[kind] = config;
    json["ConnectionAttempts"] = origin.connection_attempts.into();
    json["ConnectionTimeout"] = origin.connection_timeout.as_secs().into();
    if let Some(cap) = origin.completion_timeout {
        json["ResponseCompletionTimeout"] = cap.as_secs().into();
    }
    let region = carried.shift_remove("OriginShieldRegion");
    json["OriginShield"] = match (origin.shield, region) {
        (true, Some(region)) => json!({ "Enabled": true, "OriginShieldRegion": region }),
        (true, None) => json!({ "Enabled": true, "OriginShieldRegion": shield_region(&plan.place) }),
        (false, _) => json!({ "Enabled": false }),
    };
    json["OriginAccessControlId"] = "".into();
    for (name, value) in carried {
        json[name] = value;
    }
    json
}

/// The region nearest to where an origin stands.
fn shield_region(place: &Place) -> String {
    let regions = Atlas::embedded().regions().iter().map(|region| &region.place);
    let near = world::nearest(place.coordinates, regions);
    near.map_or_else(|| SITE.to_owned(), |region| region.id.as_str().to_owned())
}

fn custom_header(name: &str, value: &str) -> Json {
    json!({ "HeaderName": name, "HeaderValue": value })
}

/// An origin group as CloudFront writes it; `name_of` knows CloudFront's ids of origins.
pub(super) fn group_json(
    id: &str,
    group: &OriginGroup,
    written: Option<&GroupFile>,
    name_of: impl Fn(&str) -> String,
) -> Json {
    let nothing = Carried::new();
    let mut carried = written.map_or(&nothing, |written| &written.cloudfront).clone();
    let own_id = carried.shift_remove("Id").unwrap_or_else(|| id.into());
    let codes: Vec<u16> = group.failover_codes.iter().map(http::StatusCode::as_u16).collect();
    let members: Vec<Json> = group.members.iter().map(|member| json!({ "OriginId": name_of(member) })).collect();
    let mut json = json!({
        "Id": own_id,
        "FailoverCriteria": { "StatusCodes": list(&codes) },
        "Members": list(&members),
        "SelectionCriteria": "default",
    });
    for (name, value) in carried {
        json[name] = value;
    }
    json
}
