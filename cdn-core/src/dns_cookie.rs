//! DNS cookies (RFC 7873): whether a client has shown that it receives what is sent to its address.
//!
//! Server cookies are made as RFC 9018 says, so that all servers with one secret, of whatever make, know each other's.
//! Knows the option's bytes, an address and the time; does not know messages, nor what a client without a cookie gets.

use std::{hash::Hasher as _, net::IpAddr, num::NonZeroU32, time::Duration};

use siphasher::{sip::SipHasher24, sip128};

/// The only version of server cookies there is (RFC 9018, section 4.1).
const VERSION: u8 = 1;

/// A server cookie holds for an hour (RFC 9018, section 4.3).
const AGE_MAX_S: u32 = 3600;

/// From then on a client gets a new one with its answer.
const RENEW_AGE_S: u32 = 1800;

/// Clocks of servers may differ by this much.
const FUTURE_MAX_S: u32 = 300;

/// The data of a COOKIE option, as a client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    client: [u8; 8],
    server: ServerPart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerPart {
    None,
    /// Of the length that ours have.
    Some([u8; 16]),
    /// Of another length, so nothing that we have made.
    Foreign,
}

/// Not 8 or 16 to 40 bytes (RFC 7873, section 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedCookie;

impl Cookie {
    /// Reads the option's data.
    ///
    /// # Errors
    /// [`MalformedCookie`], to which the answer is FORMERR.
    pub fn parse(data: &[u8]) -> Result<Self, MalformedCookie> {
        let (&client, server) = data.split_first_chunk().ok_or(MalformedCookie)?;
        let server = match server.len() {
            0 => ServerPart::None,
            16 => server.try_into().map_or(ServerPart::Foreign, ServerPart::Some),
            8..=32 => ServerPart::Foreign,
            _ => return Err(MalformedCookie),
        };
        Ok(Self { client, server })
    }
}

/// What a cookie proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieState {
    /// The client has one that was made for its address: it is where it says.
    Valid,
    /// It asks for one, and proves nothing yet.
    Asked,
    /// It has one that is not for its address, too old, or made with another secret.
    Invalid,
}

/// What server cookies are made with; shared by all routers of a world.
#[derive(Clone, Copy)]
pub struct CookieSecret(u64, u64);

/// The secrets of all times (RFC 9018, section 5).
///
/// A cookie says when it was made, and with that, which secret it was made with. So those who share these need not agree
/// on when to go over to the next one, and cookies made with the one before are good for the rest of their hour.
#[derive(Clone, Copy, Debug)]
pub struct CookieSecrets {
    root: CookieSecret,
    /// `None` where the root itself is the secret, for good.
    period_s: Option<NonZeroU32>,
}

impl CookieSecrets {
    /// One secret for good; whoever else has it, of whatever make, knows the cookies.
    pub const fn fixed(secret: CookieSecret) -> Self {
        Self { root: secret, period_s: None }
    }

    /// A new secret each `period` (whole seconds, at least one), drawn from `root`. Who finds out the secret of one
    /// period knows no other.
    pub fn rolling(root: CookieSecret, period: Duration) -> Self {
        let period_s = u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
        Self { root, period_s: Some(NonZeroU32::new(period_s).unwrap_or(NonZeroU32::MIN)) }
    }

    /// What `cookie` proves about `client` at `now_s`, in seconds since 1970, and the option's data for the answer: the
    /// client's part, and the server's, a new one where the old does not hold for long any more.
    pub fn check(&self, cookie: &Cookie, client: IpAddr, now_s: u32) -> (CookieState, [u8; 24]) {
        let state = match cookie.server {
            ServerPart::None => CookieState::Asked,
            ServerPart::Foreign => CookieState::Invalid,
            ServerPart::Some(server) => match self.age_s(&cookie.client, &server, client, now_s) {
                None => CookieState::Invalid,
                Some(age_s) if age_s <= RENEW_AGE_S => return (CookieState::Valid, joined(cookie.client, server)),
                Some(_) => CookieState::Valid,
            },
        };
        let [a, b, c, d] = now_s.to_be_bytes();
        let head = [VERSION, 0, 0, 0, a, b, c, d];
        let server = self.secret_of(now_s).server_cookie(&cookie.client, head, client);
        (state, joined(cookie.client, server))
    }

    /// How old a server cookie is, if it is one of ours and within its time; 0 for one from ahead of our clock.
    fn age_s(&self, client_part: &[u8; 8], server: &[u8; 16], client: IpAddr, now_s: u32) -> Option<u32> {
        let &head: &[u8; 8] = server.first_chunk()?;
        let [version, _, _, _, made @ ..] = head;
        let made_s = u32::from_be_bytes(made);
        // Serial number arithmetic (RFC 1982), for the day in 2106 when the count begins again.
        let age_s = now_s.wrapping_sub(made_s) as i32;
        let age_s = match age_s {
            0.. => u32::try_from(age_s).ok().filter(|age_s| *age_s <= AGE_MAX_S)?,
            _ if age_s.unsigned_abs() <= FUTURE_MAX_S => 0,
            _ => return None,
        };
        let is_ours = version == VERSION && self.secret_of(made_s).server_cookie(client_part, head, client) == *server;
        is_ours.then_some(age_s)
    }

    /// The secret of cookies that are made at `made_s`.
    fn secret_of(&self, made_s: u32) -> CookieSecret {
        let CookieSecret(low, high) = self.root;
        let Some(period_s) = self.period_s else { return self.root };
        let mut hasher = sip128::SipHasher24::new_with_keys(low, high);
        hasher.write(&(made_s / period_s).to_be_bytes());
        let drawn = sip128::Hasher128::finish128(&hasher);
        CookieSecret(drawn.h1, drawn.h2)
    }
}

impl CookieSecret {
    /// A secret of 128 bits.
    pub fn new(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Self(bits as u64, (bits >> 64) as u64)
    }

    /// Version, reserved bytes and time, and the hash over them, the client's cookie and address (RFC 9018, section 4).
    fn server_cookie(&self, client_part: &[u8; 8], head: [u8; 8], client: IpAddr) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(client_part);
        hasher.write(&head);
        match client {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        let mut cookie = [0; 16];
        let hash = hasher.finish().to_le_bytes();
        for (to, from) in cookie.iter_mut().zip(head.into_iter().chain(hash)) {
            *to = from;
        }
        cookie
    }
}

/// A secret is not printed.
impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

fn joined(client: [u8; 8], server: [u8; 16]) -> [u8; 24] {
    let mut data = [0; 24];
    for (to, from) in data.iter_mut().zip(client.into_iter().chain(server)) {
        *to = from;
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(byte)
    }

    fn secret() -> CookieSecret {
        CookieSecret::new(bytes("e5e973e5a6b2a43f48e7dc849e37bfcf"))
    }

    fn hex(bytes: [u8; 24]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn server_cookies_are_those_of_rfc_9018_appendix_a() {
        let ask = |secret: CookieSecret, cookie: &str, client: &str, now_s| {
            let mut data = vec![];
            for at in (0..cookie.len()).step_by(2) {
                data.push(u8::from_str_radix(&cookie[at..at + 2], 16).unwrap());
            }
            let (state, answer) =
                CookieSecrets::fixed(secret).check(&Cookie::parse(&data).unwrap(), client.parse().unwrap(), now_s);
            (state, hex(answer))
        };
        // A.1, learning a new server cookie.
        let first = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        assert_eq!(
            ask(secret(), "2464c4abcf10c957", "198.51.100.100", 1_559_731_985),
            (CookieState::Asked, first.into())
        );
        // A.2, the same client 40 minutes later: valid, and renewed.
        let renewed = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        assert_eq!(ask(secret(), first, "198.51.100.100", 1_559_734_385), (CookieState::Valid, renewed.into()));
        // A.3, reserved bits that are set: valid within its hour (which the appendix does not keep), and zero in ours.
        let (reserved, client) = ("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", "203.0.113.203");
        assert_eq!(ask(secret(), reserved, client, 1_559_727_985 + 60), (CookieState::Valid, reserved.into()));
        assert_eq!(
            ask(secret(), reserved, client, 1_559_734_700),
            (CookieState::Invalid, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e".into())
        );
        // A.4, a client of IPv6, before and after the secret was replaced.
        let (old, client) = ("22681ab97d52c298010000005cf7c57926556bd0934c72f8", "2001:db8:220:1:59de:d0f4:8769:82b8");
        let before = CookieSecret::new(bytes("dd3bdf9344b678b185a6f5cb60fca715"));
        let after = CookieSecret::new(bytes("445536bcd2513298075a5d379663c962"));
        assert_eq!(ask(before, old, client, 1_559_741_961), (CookieState::Valid, old.into()));
        assert_eq!(
            ask(after, old, client, 1_559_741_961),
            (CookieState::Invalid, "22681ab97d52c298010000005cf7c609a6bb79d16625507a".into())
        );
    }

    #[test]
    fn a_cookie_holds_for_one_address_and_an_hour() {
        let (secret, client): (_, IpAddr) = (CookieSecrets::fixed(secret()), "198.18.1.9".parse().unwrap());
        let asked = Cookie::parse(&[7; 8]).unwrap();
        let made_s = 1_000_000;
        let (_, data) = secret.check(&asked, client, made_s);
        let cookie = Cookie::parse(&data).unwrap();
        let state = |client: IpAddr, now_s| secret.check(&cookie, client, now_s).0;
        for (now_s, expected) in [
            (made_s, CookieState::Valid),
            (made_s + AGE_MAX_S, CookieState::Valid),
            (made_s + AGE_MAX_S + 1, CookieState::Invalid),
            (made_s - FUTURE_MAX_S, CookieState::Valid),
            (made_s - FUTURE_MAX_S - 1, CookieState::Invalid),
        ] {
            assert_eq!(state(client, now_s), expected, "{now_s}");
        }
        assert_eq!(state("198.18.1.8".parse().unwrap(), made_s), CookieState::Invalid);
        let other = CookieSecrets::fixed(CookieSecret::new([1; 16]));
        assert_eq!(other.check(&cookie, client, made_s).0, CookieState::Invalid);
        assert_eq!(secret.check(&cookie, client, made_s + RENEW_AGE_S).1, data, "no new one while it is young");
        assert_ne!(secret.check(&cookie, client, made_s + RENEW_AGE_S + 1).1, data);
    }

    #[test]
    fn a_cookie_of_the_secret_before_holds_for_its_hour_and_is_replaced_by_one_of_the_new() {
        let rolling = |bytes| CookieSecrets::rolling(CookieSecret::new(bytes), Duration::from_secs(86_400));
        let (secrets, client): (_, IpAddr) = (rolling([7; 16]), "198.18.1.9".parse().unwrap());
        let rollover_s = 20_000 * 86_400;
        let cookie = |made_s| {
            let (_, data) = secrets.check(&Cookie::parse(&[7; 8]).unwrap(), client, made_s);
            Cookie::parse(&data).unwrap()
        };
        let before = cookie(rollover_s - 1);
        for (now_s, expected) in [
            (rollover_s, CookieState::Valid),
            (rollover_s - 1 + AGE_MAX_S, CookieState::Valid),
            (rollover_s + AGE_MAX_S, CookieState::Invalid),
        ] {
            assert_eq!(secrets.check(&before, client, now_s).0, expected, "{now_s}");
        }
        let (_, renewed) = secrets.check(&before, client, rollover_s + RENEW_AGE_S);
        assert_eq!(Cookie::parse(&renewed).unwrap(), cookie(rollover_s + RENEW_AGE_S));
        // A server whose clock is behind knows what one ahead has made with the secret to come.
        assert_eq!(secrets.check(&cookie(rollover_s), client, rollover_s - 10).0, CookieState::Valid);
        // Secrets differ by period and by root, and none is the root.
        let all = [rollover_s - 1, rollover_s, rollover_s + 86_400].map(|made_s| secrets.secret_of(made_s));
        let [a, b, c] = all.map(|CookieSecret(low, high)| (low, high));
        assert!(a != b && b != c && a != c && ![a, b, c].contains(&(secrets.root.0, secrets.root.1)));
        assert_eq!(rolling([8; 16]).check(&before, client, rollover_s).0, CookieState::Invalid);
    }

    #[test]
    fn only_8_and_16_to_40_bytes_are_a_cookie() {
        for len in 0..=64 {
            let is_legal = len == 8 || (16..=40).contains(&len);
            assert_eq!(Cookie::parse(&vec![0; len]).is_ok(), is_legal, "{len}");
        }
    }
}
