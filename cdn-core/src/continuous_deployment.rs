//! Continuous deployment: which requests of a distribution its staging distribution answers.
//!
//! Decides by CloudFront's rules ("Use CloudFront continuous deployment"): by a header that a tester sends, or by a share of
//! the requests, of which sessions can stay on the side that they came to. CloudFront does not document the cookie of a
//! session; here it is [`SESSION_COOKIE`], with the side and when the session began and was last seen. Draws and times
//! are arguments.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{WallTime, selection::cookies};

/// The cookie that keeps a session on its side.
pub const SESSION_COOKIE: &str = "cf-cd-session";
/// What the name of a tester's header begins with.
pub const HEADER_PREFIX: &str = "aws-cf-cd-";
/// The largest share of requests that may go to staging (CloudFront's limit).
pub const WEIGHT_MAX: f64 = 0.15;
/// Bounds of both times of a session (CloudFront's).
pub const SESSION_SECS: std::ops::RangeInclusive<u64> = 300..=3_600;

/// Which requests go to the staging distribution.
#[derive(Clone, Debug, PartialEq)]
pub enum Traffic {
    /// A share of all requests.
    Weight {
        /// 0 to [`WEIGHT_MAX`].
        share: f64,
        /// Whether viewers stay on the side that they came to.
        sessions: Option<Sessions>,
    },
    /// Those with this header and value.
    Header {
        /// Begins with [`HEADER_PREFIX`].
        name: HeaderName,
        /// Compared byte for byte.
        value: HeaderValue,
    },
}

/// How long a session stays on its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Without a request.
    pub idle: Duration,
    /// In all.
    pub max: Duration,
}

/// A continuous deployment policy, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ContinuousDeployment {
    /// Id of the staging distribution.
    staging: String,
    traffic: Traffic,
}

/// Why a continuous deployment policy is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ContinuousDeploymentError {
    /// CloudFront sends no more to staging.
    #[error("a weight is a share from 0 to {WEIGHT_MAX}")]
    Weight,
    /// CloudFront takes only such headers.
    #[error("the header's name must begin with {HEADER_PREFIX}")]
    Header,
    /// A session is too long or too short.
    #[error("sessions last 300 s to 3600 s, and are idle for no longer than that")]
    Sessions,
}

/// Who answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The staging distribution.
    pub is_staging: bool,
    /// `Set-Cookie` of the response, which keeps the viewer there.
    pub set_cookie: Option<HeaderValue>,
}

/// What the cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    is_staging: bool,
    began_secs: u64,
    seen_secs: u64,
}

impl ContinuousDeployment {
    /// Checks a policy.
    pub fn new(staging: impl Into<String>, traffic: Traffic) -> Result<Self, ContinuousDeploymentError> {
        match &traffic {
            Traffic::Weight { share, .. } if !(0.0..=WEIGHT_MAX).contains(share) => {
                return Err(ContinuousDeploymentError::Weight);
            }
            Traffic::Weight { sessions: Some(Sessions { idle, max }), .. } => {
                let within = |span: &Duration| SESSION_SECS.contains(&span.as_secs());
                if !within(idle) || !within(max) || idle > max {
                    return Err(ContinuousDeploymentError::Sessions);
                }
            }
            Traffic::Header { name, .. } if !name.as_str().starts_with(HEADER_PREFIX) => {
                return Err(ContinuousDeploymentError::Header);
            }
            _ => {}
        }
        Ok(Self { staging: staging.into(), traffic })
    }

    /// Id of the staging distribution.
    pub fn staging(&self) -> &str {
        &self.staging
    }

    /// Which requests go there.
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Who answers a request with these headers. `draw` differs from request to request; without one the answer is `None`
    /// where it needs one.
    pub fn choose(&self, headers: &HeaderMap, now: WallTime, draw: Option<u64>) -> Option<Choice> {
        let (share, sessions) = match &self.traffic {
            Traffic::Header { name, value } => {
                return Some(Choice { is_staging: headers.get(name) == Some(value), set_cookie: None });
            }
            Traffic::Weight { share, sessions } => (*share, *sessions),
        };
        // 53 bits are what a float can tell apart.
        let drawn = || draw.map(|draw| ((draw >> 11) as f64) < share * (1_u64 << 53) as f64);
        let Some(sessions) = sessions else { return Some(Choice { is_staging: drawn()?, set_cookie: None }) };
        let now_secs = u64::try_from(now.unix_secs()).unwrap_or_default();
        let session = match Session::of(headers).filter(|session| session.is_alive(sessions, now_secs)) {
            Some(session) => Session { seen_secs: now_secs, ..session },
            None => Session { is_staging: drawn()?, began_secs: now_secs, seen_secs: now_secs },
        };
        Some(Choice { is_staging: session.is_staging, set_cookie: session.cookie(sessions) })
    }
}

/// Takes the cookie of a session off a request: neither caches nor origins have to do with it.
pub fn remove_cookie(headers: &mut HeaderMap) {
    crate::selection::remove_cookies(headers, |name| name == SESSION_COOKIE);
}

impl Session {
    /// `staging.1700000000.1700000060`.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let (_, pair) = cookies(headers).find(|(name, _)| *name == SESSION_COOKIE)?;
        let mut words = pair.split_once('=')?.1.split('.');
        let is_staging = match words.next()? {
            "staging" => true,
            "primary" => false,
            _ => return None,
        };
        let mut secs = || words.next()?.parse::<u64>().ok();
        let session = Self { is_staging, began_secs: secs()?, seen_secs: secs()? };
        (words.next().is_none() && session.began_secs <= session.seen_secs).then_some(session)
    }

    /// A session that ends in the future has not begun yet, or was made up.
    const fn is_alive(self, sessions: Sessions, now_secs: u64) -> bool {
        self.seen_secs <= now_secs
            && now_secs - self.seen_secs < sessions.idle.as_secs()
            && now_secs - self.began_secs < sessions.max.as_secs()
    }

    fn cookie(self, sessions: Sessions) -> Option<HeaderValue> {
        let Self { is_staging, began_secs, seen_secs } = self;
        let side = if is_staging { "staging" } else { "primary" };
        let left = sessions.max.as_secs().saturating_sub(seen_secs - began_secs).min(sessions.idle.as_secs());
        let text = format!("{SESSION_COOKIE}={side}.{began_secs}.{seen_secs}; Max-Age={left}; Path=/; HttpOnly");
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use http::header;
    use proptest::prelude::*;

    use super::*;

    const SESSIONS: Sessions = Sessions { idle: Duration::from_secs(300), max: Duration::from_secs(600) };

    fn by_weight(share: f64, sessions: Option<Sessions>) -> ContinuousDeployment {
        ContinuousDeployment::new("next", Traffic::Weight { share, sessions }).unwrap()
    }

    fn at(secs: i64) -> WallTime {
        WallTime::from_unix_secs(secs)
    }

    fn with_cookie(choice: &Choice) -> HeaderMap {
        let set = choice.set_cookie.as_ref().unwrap().to_str().unwrap();
        let pair = format!("a=1; {}", set.split(';').next().unwrap());
        HeaderMap::from_iter([(header::COOKIE, pair.parse().unwrap())])
    }

    #[test]
    fn a_tester_comes_to_staging_by_a_header() {
        let name = HeaderName::from_static("aws-cf-cd-test");
        let traffic = Traffic::Header { name: name.clone(), value: HeaderValue::from_static("Yes") };
        let policy = ContinuousDeployment::new("next", traffic).unwrap();
        let choose = |value: &'static str| {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
            policy.choose(&headers, at(0), Some(0)).unwrap().is_staging
        };
        assert!(
            choose("Yes") && !choose("yes") && !policy.choose(&HeaderMap::new(), at(0), Some(0)).unwrap().is_staging
        );
    }

    #[test]
    fn a_share_of_the_draws_goes_to_staging() {
        let policy = by_weight(0.1, None);
        // Thirteen bits, each number once.
        let draws = (0..8_192_u64).map(|draw| draw << 51);
        let staging = draws.filter(|&draw| policy.choose(&HeaderMap::new(), at(0), Some(draw)).unwrap().is_staging);
        assert_eq!(staging.count(), 820);
        assert!(!by_weight(0.0, None).choose(&HeaderMap::new(), at(0), Some(0)).unwrap().is_staging);
    }

    #[test]
    fn a_session_stays_until_it_is_idle_or_old() {
        let policy = by_weight(0.15, Some(SESSIONS));
        let first = policy.choose(&HeaderMap::new(), at(1_000), Some(0)).unwrap();
        assert_eq!(
            first.set_cookie.as_ref().unwrap(),
            "cf-cd-session=staging.1000.1000; Max-Age=300; Path=/; HttpOnly"
        );
        // The draw would send them elsewhere.
        let second = policy.choose(&with_cookie(&first), at(1_299), Some(u64::MAX)).unwrap();
        assert_eq!(
            second.set_cookie.as_ref().unwrap(),
            "cf-cd-session=staging.1000.1299; Max-Age=300; Path=/; HttpOnly"
        );
        let third = policy.choose(&with_cookie(&second), at(1_598), Some(u64::MAX)).unwrap();
        assert!(third.is_staging && third.set_cookie.as_ref().unwrap().to_str().unwrap().contains("Max-Age=2;"));
        assert!(
            !policy.choose(&with_cookie(&third), at(1_600), Some(u64::MAX)).unwrap().is_staging,
            "as old as it may be"
        );
        assert!(
            !policy.choose(&with_cookie(&first), at(1_300), Some(u64::MAX)).unwrap().is_staging,
            "idle for too long"
        );
    }

    #[test]
    fn what_needs_no_draw_is_known_without_one() {
        let policy = by_weight(0.15, Some(SESSIONS));
        assert_eq!(policy.choose(&HeaderMap::new(), at(1_000), None), None);
        let first = policy.choose(&HeaderMap::new(), at(1_000), Some(0)).unwrap();
        assert!(policy.choose(&with_cookie(&first), at(1_001), None).unwrap().is_staging);
    }

    #[test]
    fn a_cookie_of_a_session_is_taken_off_and_others_stay() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; cf-cd-session=staging.1.1; b=2".parse().unwrap());
        remove_cookie(&mut headers);
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        let weight = |share, sessions| ContinuousDeployment::new("next", Traffic::Weight { share, sessions });
        assert_eq!(weight(0.16, None), Err(ContinuousDeploymentError::Weight));
        assert_eq!(weight(f64::NAN, None), Err(ContinuousDeploymentError::Weight));
        let long = Sessions { idle: Duration::from_secs(700), ..SESSIONS };
        assert_eq!(weight(0.1, Some(long)), Err(ContinuousDeploymentError::Sessions));
        let traffic = Traffic::Header { name: HeaderName::from_static("x-a"), value: HeaderValue::from_static("1") };
        assert_eq!(ContinuousDeployment::new("next", traffic), Err(ContinuousDeploymentError::Header));
    }

    proptest! {
        /// Whatever a cookie says, a session never lasts longer than it may.
        #[test]
        fn cookies_that_are_made_up_do_no_harm(value in "[a-z0-9.]{0,24}", now in 0_i64..4_000) {
            let policy = by_weight(0.15, Some(SESSIONS));
            let line = format!("{SESSION_COOKIE}={value}");
            let headers = HeaderMap::from_iter([(header::COOKIE, line.parse().unwrap())]);
            let choice = policy.choose(&headers, at(now), Some(u64::MAX)).unwrap();
            let session = Session::of(&with_cookie(&choice)).unwrap();
            prop_assert!(session.seen_secs == now as u64 && session.seen_secs - session.began_secs < 600);
        }
    }
}
