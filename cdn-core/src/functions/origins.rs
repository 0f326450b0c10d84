//! Origins that a viewer-request function puts in the place of its behavior's target.
//!
//! Follows the AWS page "Helper methods for origin modification": what may be said, what is taken over from the origin that
//! was there, and what a change means for a group. Several changes are carried out one after the other, each on what the one
//! before it left. The cache key is none of it: CloudFront has no origin in it either.

use std::{net::IpAddr, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};

use super::FunctionInvalid;
use crate::{
    Instant,
    distribution::{
        CUSTOM_HEADER_VALUE_MAX, Distribution, Origin, OriginGroup, TransportFailover, accepts_custom_header,
        origin_fault,
    },
    origin_group::{Exchange, RequestKind},
    origin_protocol::{self, OriginProtocolPolicy, OriginSslProtocol},
};

/// Bytes of a domain name, of a `Host` and of a name in SNI.
const NAME_BYTES_MAX: usize = 253;

/// Bytes of an origin's path.
const PATH_BYTES_MAX: usize = 255;

/// Names that a certificate may be for, and bytes of one.
const CERTIFICATE_NAMES_MAX: usize = 20;
const CERTIFICATE_NAME_BYTES_MAX: usize = 64;

/// What a function says of the origin for its request, by CloudFront's methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginChange {
    /// `updateRequestOrigin`: other properties for the origin, or for the primary of a group.
    Update(Box<OriginUpdate>),
    /// `selectRequestOriginById`: another origin of the distribution.
    Select(OriginChoice),
    /// `createRequestOriginGroup`: two origins of the distribution.
    Group(GroupChoice),
}

/// Properties of an origin; what is not said stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginUpdate {
    /// Where it lives.
    pub domain_name: Option<String>,
    /// Put before the path.
    pub origin_path: Option<String>,
    /// In the place of all custom headers.
    pub custom_headers: Option<Vec<(HeaderName, HeaderValue)>>,
    /// Tries to connect: 1 to 3.
    pub connection_attempts: Option<u8>,
    /// How long each may take: 1 to 10 s.
    pub connection_timeout: Option<Duration>,
    /// Time to the first byte, and between two packets: 1 to 120 s.
    pub response_timeout: Option<Duration>,
    /// The whole exchange: at least the response timeout.
    pub completion_timeout: Option<Duration>,
    /// Idle time of a pooled connection: 1 to 120 s.
    pub keepalive_timeout: Option<Duration>,
    /// Whether misses pass the shield first.
    pub shield: Option<bool>,
    /// How it is spoken to.
    pub connection: Option<CustomOrigin>,
    /// What is said beside its name.
    pub overrides: OriginOverrides,
}

/// `customOriginConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomOrigin {
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to by HTTPS.
    pub https: bool,
    /// What may be spoken with it then.
    pub ssl_protocols: Vec<OriginSslProtocol>,
}

/// What a request to an origin says in the place of the origin's own name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginOverrides {
    /// `Host`.
    pub host_header: Option<String>,
    /// The name in the TLS handshake.
    pub sni: Option<String>,
    /// What its certificate may be for; empty leaves that to the names above.
    pub certificate_names: Vec<String>,
}

/// An origin of the distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginChoice {
    /// Its id.
    pub id: String,
    /// What is said in the place of its name.
    pub overrides: OriginOverrides,
}

/// Two origins of the distribution, the second for when the first fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChoice {
    /// The primary and the secondary.
    pub members: [OriginChoice; 2],
    /// Statuses that move the request: 400 to 599, at least one.
    pub failover_codes: Vec<StatusCode>,
}

impl OriginChange {
    /// Whether it is within CloudFront's bounds, whatever the distribution.
    ///
    /// # Errors
    /// What is not, in words for whoever wrote the function.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Update(update) => update.check(),
            Self::Select(choice) => choice.check(),
            Self::Group(GroupChoice { members, failover_codes }) => {
                members.iter().try_for_each(OriginChoice::check)?;
                if members[0].id == members[1].id {
                    return Err(format!("originIds must be of two origins, and both are {:?}", members[0].id));
                }
                let wrong = failover_codes.iter().find(|code| !(400..600).contains(&code.as_u16()));
                match wrong {
                    Some(code) => Err(format!("failoverCriteria.statusCodes has {}: 400 to 599 can be", code.as_u16())),
                    None if failover_codes.is_empty() => {
                        Err("failoverCriteria.statusCodes must have at least one status".to_owned())
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

impl OriginUpdate {
    fn check(&self) -> Result<(), String> {
        check_name("domainName", self.domain_name.as_deref())?;
        self.overrides.check()?;
        if self.origin_path.as_ref().is_some_and(|path| path.len() > PATH_BYTES_MAX) {
            return Err(format!("originPath may have {PATH_BYTES_MAX} characters"));
        }
        for (name, value) in self.custom_headers.iter().flatten() {
            if !accepts_custom_header(name) || value.len() > CUSTOM_HEADER_VALUE_MAX {
                return Err(format!("customHeaders may not have this {name}"));
            }
        }
        if self.connection.as_ref().is_some_and(|connection| connection.port == 0) {
            return Err("customOriginConfig.port must be from 1 to 65535".to_owned());
        }
        // The rest has the bounds of every origin.
        let mut origin = Origin::new("origin.test");
        self.apply(&mut origin);
        if self.response_timeout.is_none() {
            // What it would have to be longer than is the origin's to say.
            origin.completion_timeout = None;
        }
        match origin_fault(&origin) {
            Some((field, must_be)) => Err(format!("{} must be {must_be}", word(field))),
            None => Ok(()),
        }
    }

    fn apply(&self, origin: &mut Origin) {
        let Self { origin_path, custom_headers, connection_attempts, connection_timeout, response_timeout, .. } = self;
        set(&mut origin.origin_path, origin_path);
        set(&mut origin.custom_headers, custom_headers);
        set(&mut origin.connection_attempts, connection_attempts);
        set(&mut origin.connection_timeout, connection_timeout);
        set(&mut origin.response_timeout, response_timeout);
        set(&mut origin.keepalive_timeout, &self.keepalive_timeout);
        set(&mut origin.shield, &self.shield);
        if self.completion_timeout.is_some() {
            origin.completion_timeout = self.completion_timeout;
        }
        if let Some(CustomOrigin { https, ssl_protocols, .. }) = &self.connection {
            origin.protocol = if *https { OriginProtocolPolicy::HttpsOnly } else { OriginProtocolPolicy::HttpOnly };
            origin.ssl_protocols.clone_from(ssl_protocols);
        }
        if self.domain_name.is_some() || self.connection.is_some() {
            let name = self.domain_name.as_deref().unwrap_or_else(|| origin_protocol::own_name(origin)).to_owned();
            let port = match &self.connection {
                Some(CustomOrigin { port, https, .. }) => (*port != if *https { 443 } else { 80 }).then_some(*port),
                None => port_of(&origin.domain_name),
            };
            origin.domain_name = port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        }
        if self.domain_name.is_some() {
            // Whatever the viewer's `Host` is, the new origin hears its own name.
            origin.host_header = Some(origin.domain_name.clone());
            (origin.sni, origin.certificate_names) = (None, Vec::new());
        }
        self.overrides.apply(origin);
    }
}

impl OriginChoice {
    fn check(&self) -> Result<(), String> {
        if self.id.is_empty() { Err("an origin's id is empty".to_owned()) } else { self.overrides.check() }
    }
}

impl OriginOverrides {
    fn check(&self) -> Result<(), String> {
        check_name("hostHeader", self.host_header.as_deref())?;
        check_name("sni", self.sni.as_deref())?;
        let is_too_long = |name: &String| name.is_empty() || name.len() > CERTIFICATE_NAME_BYTES_MAX;
        if self.certificate_names.len() > CERTIFICATE_NAMES_MAX || self.certificate_names.iter().any(is_too_long) {
            return Err(format!(
                "allowedCertificateNames may have {CERTIFICATE_NAMES_MAX} names of 1 to {CERTIFICATE_NAME_BYTES_MAX} \
                 characters"
            ));
        }
        Ok(())
    }

    fn apply(&self, origin: &mut Origin) {
        if self.host_header.is_some() {
            origin.host_header.clone_from(&self.host_header);
        }
        if self.sni.is_some() {
            origin.sni.clone_from(&self.sni);
        }
        if !self.certificate_names.is_empty() {
            origin.certificate_names.clone_from(&self.certificate_names);
        }
    }
}

/// The origins that a request is for, once a function has had its say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenOrigins {
    group: Option<OriginGroup>,
    /// One, or the two of the group.
    origins: Vec<ChosenOrigin>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenOrigin {
    /// Id of the origin that it was made of.
    pub id: String,
    /// How it is asked.
    pub origin: Origin,
    /// Whether it lives elsewhere than the origin of that id.
    pub is_moved: bool,
}

impl ChosenOrigin {
    /// What it is called in a ledger: its id, or the name of where it has moved.
    fn name(&self) -> &str {
        if self.is_moved { origin_protocol::own_name(&self.origin) } else { &self.id }
    }
}

impl ChosenOrigins {
    /// What comes of `changes` where a behavior has this target.
    ///
    /// # Errors
    /// [`FunctionInvalid::UnknownOrigin`] where one names an origin that the distribution has not.
    pub fn new(distribution: &Distribution, target: &str, changes: &[OriginChange]) -> Result<Self, FunctionInvalid> {
        let mut chosen = match distribution.group(target) {
            Some(group) => {
                let [primary, secondary] = &group.members;
                let origins = vec![known(distribution, primary)?, known(distribution, secondary)?];
                Self { group: Some(group.clone()), origins }
            }
            None => Self { group: None, origins: vec![known(distribution, target)?] },
        };
        for change in changes {
            match change {
                OriginChange::Update(update) => {
                    if let Some(primary) = chosen.origins.first_mut() {
                        update.apply(&mut primary.origin);
                        primary.is_moved |= update.domain_name.is_some();
                    }
                }
                OriginChange::Select(choice) => {
                    chosen = Self { group: None, origins: vec![selected(distribution, choice)?] };
                }
                OriginChange::Group(GroupChoice { members: [primary, secondary], failover_codes }) => {
                    let group = OriginGroup {
                        members: [primary.id.clone(), secondary.id.clone()],
                        failover_codes: failover_codes.clone(),
                        on_transport_error: TransportFailover::Documented,
                    };
                    let origins = vec![selected(distribution, primary)?, selected(distribution, secondary)?];
                    chosen = Self { group: Some(group), origins };
                }
            }
        }
        Ok(chosen)
    }

    /// The origins, in the order in which they may be asked.
    pub fn origins(&self) -> &[ChosenOrigin] {
        &self.origins
    }

    /// An exchange with them.
    pub fn exchange(&self, now: Instant, request: RequestKind) -> Option<Exchange> {
        match (&self.group, self.origins.as_slice()) {
            (Some(group), [primary, secondary]) => {
                let members = [primary, secondary].map(|chosen| chosen.name().to_owned());
                let group = OriginGroup { members, ..group.clone() };
                Some(Exchange::with_group(now, request, &group, [&primary.origin, &secondary.origin]))
            }
            (_, [only, ..]) => Some(Exchange::with_origin(now, request, only.name(), &only.origin)),
            (_, []) => None,
        }
    }
}

fn known(distribution: &Distribution, id: &str) -> Result<ChosenOrigin, FunctionInvalid> {
    let origin = distribution.origin(id).ok_or_else(|| FunctionInvalid::UnknownOrigin(id.to_owned()))?;
    Ok(ChosenOrigin { id: id.to_owned(), origin: origin.clone(), is_moved: false })
}

fn selected(distribution: &Distribution, choice: &OriginChoice) -> Result<ChosenOrigin, FunctionInvalid> {
    let mut chosen = known(distribution, &choice.id)?;
    choice.overrides.apply(&mut chosen.origin);
    Ok(chosen)
}

/// A field of an origin as functions call it.
fn word(field: &'static str) -> &'static str {
    match field {
        "origin_path" => "originPath",
        "connection_attempts" => "connectionAttempts",
        "connection_timeout" => "timeouts.connectionTimeout",
        "response_timeout" => "timeouts.readTimeout",
        "completion_timeout" => "timeouts.responseCompletionTimeout",
        "keepalive_timeout" => "timeouts.keepAliveTimeout",
        "ssl_protocols" => "customOriginConfig.sslProtocols",
        "custom_headers" => "customHeaders",
        other => other,
    }
}

fn set<T: Clone>(field: &mut T, said: &Option<T>) {
    if let Some(said) = said {
        field.clone_from(said);
    }
}

/// The port in `name:port` or `[address]:port`.
fn port_of(domain_name: &str) -> Option<u16> {
    domain_name.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'))?.1.parse().ok()
}

/// A name may not be an address, and has no port.
fn check_name(field: &str, name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name_byte) {
        return Err(format!(
            "{field} must be a name of 1 to {NAME_BYTES_MAX} characters without a port, and is {name:?}"
        ));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("{field} may not be an address, and is {name:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{
        distribution::{Diagnostics, DistributionSpec},
        origin_group::Step,
        test_data,
    };

    /// A distribution with the origins `app` and `spare`, and a group of them.
    fn distribution() -> Distribution {
        let spec: DistributionSpec = test_data::distribution_spec();
        let mut spec = DistributionSpec { diagnostics: Diagnostics::default(), ..spec };
        spec.origins.insert("app".to_owned(), Origin { completion_timeout: None, ..Origin::new("app.test:8080") });
        spec.origins.insert("spare".to_owned(), Origin::new("spare.test"));
        let group = OriginGroup {
            members: ["app".to_owned(), "spare".to_owned()],
            failover_codes: vec![StatusCode::SERVICE_UNAVAILABLE],
            on_transport_error: TransportFailover::Documented,
        };
        spec.groups.insert("pair".to_owned(), group);
        Distribution::new(spec).unwrap()
    }

    fn chosen(target: &str, changes: &[OriginChange]) -> Vec<ChosenOrigin> {
        ChosenOrigins::new(&distribution(), target, changes).unwrap().origins().to_vec()
    }

    fn update(change: impl FnOnce(&mut OriginUpdate)) -> OriginChange {
        let mut update = OriginUpdate::default();
        change(&mut update);
        OriginChange::Update(Box::new(update))
    }

    fn choice(id: &str) -> OriginChoice {
        OriginChoice { id: id.to_owned(), overrides: OriginOverrides::default() }
    }

    #[test]
    fn what_an_update_does_not_say_stays() {
        let attempts = chosen("app", &[update(|update| update.connection_attempts = Some(1))]);
        let app = distribution().origin("app").unwrap().clone();
        let expected =
            ChosenOrigin { id: "app".to_owned(), origin: Origin { connection_attempts: 1, ..app }, is_moved: false };
        assert_eq!(attempts, [expected]);
    }

    #[test]
    fn a_new_name_is_heard_by_the_new_origin_and_the_port_stays() {
        let moved = &chosen("app", &[update(|update| update.domain_name = Some("other.test".to_owned()))])[0];
        assert_eq!((moved.origin.domain_name.as_str(), moved.is_moved), ("other.test:8080", true));
        assert_eq!(moved.origin.host_header.as_deref(), Some("other.test:8080"));
        let https = CustomOrigin { port: 443, https: true, ssl_protocols: vec![OriginSslProtocol::TLSv1_2] };
        let moved = &chosen(
            "app",
            &[update(|update| {
                update.domain_name = Some("other.test".to_owned());
                update.overrides.host_header = Some("host.test".to_owned());
                update.connection = Some(https);
            })],
        )[0];
        assert_eq!(moved.origin.domain_name, "other.test");
        assert_eq!(moved.origin.host_header.as_deref(), Some("host.test"));
        assert_eq!(moved.origin.protocol, OriginProtocolPolicy::HttpsOnly);
    }

    #[test]
    fn of_a_group_the_primary_alone_is_updated() {
        let origins = chosen("pair", &[update(|update| update.origin_path = Some("/v2".to_owned()))]);
        let paths: Vec<_> = origins.iter().map(|chosen| chosen.origin.origin_path.as_str()).collect();
        assert_eq!(paths, ["/v2", ""]);
    }

    #[test]
    fn changes_are_carried_out_one_after_the_other() {
        let to = |id| OriginChange::Select(choice(id));
        let path = update(|update| update.origin_path = Some("/v2".to_owned()));
        let at = |changes: &[OriginChange]| {
            let chosen = chosen("app", changes);
            (chosen[0].id.clone(), chosen[0].origin.origin_path.clone())
        };
        assert_eq!(at(&[to("spare"), path.clone()]), ("spare".to_owned(), "/v2".to_owned()));
        assert_eq!(at(&[path, to("spare")]), ("spare".to_owned(), String::new()));
    }

    #[test]
    fn a_group_that_a_function_makes_fails_over() {
        let members = [choice("spare"), choice("app")];
        let group = OriginChange::Group(GroupChoice { members, failover_codes: vec![StatusCode::NOT_FOUND] });
        let distribution = distribution();
        let chosen = ChosenOrigins::new(&distribution, "app", &[group]).unwrap();
        let request = RequestKind { method: Method::GET, cache_options: false, repeats: true };
        let mut exchange = chosen.exchange(Instant::ZERO, request).unwrap();
        assert_eq!(exchange.origin_id(0), "spare");
        exchange.on_connected(Instant::ZERO, false);
        exchange.on_response(Instant::ZERO, StatusCode::NOT_FOUND);
        assert!(matches!(exchange.step(), Step::Connect { member: 1, .. }), "{:?}", exchange.step());
    }

    #[test]
    fn an_origin_that_the_distribution_has_not_is_none() {
        let changes = [OriginChange::Select(choice("nobody"))];
        let refused = ChosenOrigins::new(&distribution(), "app", &changes);
        assert_eq!(refused, Err(FunctionInvalid::UnknownOrigin("nobody".to_owned())));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_its_field() {
        let check = |change: fn(&mut OriginUpdate), expected: &str| match update(change).check() {
            Ok(()) => assert_eq!(expected, "ok"),
            Err(said) => assert!(said.starts_with(expected), "{said}"),
        };
        let header = |name: &'static str| Some(vec![(HeaderName::from_static(name), HeaderValue::from_static("1"))]);
        check(|_| {}, "ok");
        check(|update| update.domain_name = Some("a.test:80".to_owned()), "domainName must be a name");
        check(|update| update.domain_name = Some("10.0.0.1".to_owned()), "domainName may not be an address");
        check(|update| update.overrides.host_header = Some(String::new()), "hostHeader must");
        check(|update| update.overrides.sni = Some("a".repeat(254)), "sni must");
        check(|update| update.overrides.certificate_names = vec!["a".to_owned(); 21], "allowedCertificateNames may");
        check(|update| update.origin_path = Some("v1".to_owned()), "originPath must be empty, or start with `/`");
        check(|update| update.connection_attempts = Some(4), "connectionAttempts must be 1 to 3");
        check(|update| update.connection_timeout = Some(Duration::from_secs(11)), "timeouts.connectionTimeout must");
        check(|update| update.response_timeout = Some(Duration::ZERO), "timeouts.readTimeout must");
        check(|update| update.completion_timeout = Some(Duration::from_secs(5)), "ok");
        check(
            |update| {
                update.completion_timeout = Some(Duration::from_secs(5));
                update.response_timeout = Some(Duration::from_secs(6));
            },
            "timeouts.responseCompletionTimeout must be at least the response timeout",
        );
        assert!(update(|update| update.custom_headers = header("x-stage")).check().is_ok());
        assert!(update(|update| update.custom_headers = header("host")).check().is_err());
        let group = |first: &str, codes: &[u16]| {
            let failover_codes = codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect();
            OriginChange::Group(GroupChoice { members: [choice(first), choice("spare")], failover_codes }).check()
        };
        assert!(group("app", &[500]).is_ok());
        assert!(group("spare", &[500]).unwrap_err().starts_with("originIds must be of two"));
        assert!(group("app", &[]).is_err() && group("app", &[200]).is_err());
    }
}
