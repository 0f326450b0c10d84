//! Response rate limiting: how many answers a network that may be forged gets over UDP.
//!
//! Whoever sends questions with a victim's address has the answers sent to the victim. So answers are counted by client
//! network and kind, and beyond a rate some become short ones that only say "come by TCP" (a true client does, a victim
//! never asked), and the others are dropped. Knows addresses and time; does not know messages. Who has shown to be where
//! it says is not asked about here.
//!
//! Memory is fixed: two rows of cells, of which each network and kind has one in each, chosen by a keyed hash. A cell
//! holds the time at which it will have worked off what it let through (GCRA, ITU-T I.371). A network is beyond its rate
//! where both of its cells are, so sharing one cell with another network in trouble does it no harm.

use std::{hash::Hasher as _, net::IpAddr, time::Duration};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::Instant;

/// Cells of a row: two rows take 512 KiB. A flood in which every network stays under its rate has to come from more than
/// these, times the rate, to drive all cells over it.
const CELLS: usize = 1 << 15;

/// What a rate may have been saving up for: as many answers at once as one second has.
const BURST: Duration = Duration::from_secs(1);

/// Rates of [`ResponseRate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseRateOptions {
    /// Answers per second to a network (/24 of IPv4, /56 of IPv6) and [`AnswerKind`]. 0 for no limit. Default 1000.
    pub network_per_s: u32,
    /// Answers per second to all of them together, for floods that seem to come from everywhere. 0 for no limit. Default
    /// 50,000.
    pub all_per_s: u32,
    /// Of what is beyond a rate, each how-many-th is answered by a truncated answer; the others are dropped. 1: all are
    /// truncated, 0: all are dropped. Default 2.
    pub slip: u32,
}

impl Default for ResponseRateOptions {
    fn default() -> Self {
        Self { network_per_s: 1000, all_per_s: 50_000, slip: 2 }
    }
}

/// Kinds of answers, each with a rate of its own: errors for one network cannot use up its good answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// With records.
    Positive,
    /// That there is no such name or no such data.
    Negative,
    /// An error.
    Error,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It is sent.
    Whole,
    /// A truncated one is sent in its place.
    Truncated,
    /// Nothing is sent.
    Nothing,
}

/// The memory of recent answers. Call [`ResponseRate::handle_answer`] for each one that would be sent.
#[derive(Debug)]
pub struct ResponseRate {
    options: ResponseRateOptions,
    keys: (u64, u64),
    /// When each cell has worked off what it let through, in nanoseconds.
    rows: [Box<[u64]>; 2],
    all: u64,
    /// Answers beyond a rate so far.
    beyond: u32,
}

impl ResponseRate {
    /// A memory that knows nothing yet. `seed` decides who shares cells, so it should not be known to strangers.
    pub fn new(options: ResponseRateOptions, seed: u128) -> Self {
        let cells = if options.network_per_s == 0 { 0 } else { CELLS };
        let row = || vec![0; cells].into_boxed_slice();
        Self { options, keys: ((seed >> 64) as u64, seed as u64), rows: [row(), row()], all: 0, beyond: 0 }
    }

    /// What becomes of an answer of this kind to `client`.
    pub fn handle_answer(&mut self, now: Instant, client: IpAddr, kind: AnswerKind) -> Sending {
        let now = now.as_nanos();
        if self.is_within_network_rate(now, client, kind) && take(&mut self.all, now, self.options.all_per_s) {
            return Sending::Whole;
        }
        self.beyond = self.beyond.wrapping_add(1);
        match self.options.slip {
            0 => Sending::Nothing,
            slip if self.beyond.is_multiple_of(slip) => Sending::Truncated,
            _ => Sending::Nothing,
        }
    }

    fn is_within_network_rate(&mut self, now: u64, client: IpAddr, kind: AnswerKind) -> bool {
        let rate = self.options.network_per_s;
        if rate == 0 {
            return true;
        }
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        match client {
            IpAddr::V4(address) => hasher.write_u64(u64::from(address.to_bits() >> 8)),
            // The network part of a site's /56, in a range that no IPv4 network has.
            IpAddr::V6(address) => hasher.write_u64(1 << 63 | (address.to_bits() >> 72) as u64),
        }
        hasher.write_u8(kind as u8);
        let hash = hasher.finish128();
        let [first, second] = &mut self.rows;
        let cells = (first.get_mut(place(hash.h1)), second.get_mut(place(hash.h2)));
        let (Some(first), Some(second)) = cells else { return true };
        // Both are told, so `||` would be wrong.
        take(first, now, rate) | take(second, now, rate)
    }
}

fn place(hash: u64) -> usize {
    hash as usize % CELLS
}

/// Whether a cell has room for one more answer, which is then taken.
fn take(works_until: &mut u64, now: u64, rate_per_s: u32) -> bool {
    if rate_per_s == 0 {
        return true;
    }
    let until = (*works_until).max(now) + 1_000_000_000 / u64::from(rate_per_s);
    if until - now > BURST.as_nanos() as u64 {
        return false;
    }
    *works_until = until;
    true
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn limited(network_per_s: u32) -> ResponseRate {
        ResponseRate::new(ResponseRateOptions { network_per_s, all_per_s: 0, slip: 2 }, 7)
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 9));

    #[test]
    fn beyond_the_rate_every_second_answer_is_truncated_and_the_others_are_dropped() {
        let mut rate = limited(3);
        let mut ask = || rate.handle_answer(at(0), VICTIM, AnswerKind::Positive);
        assert_eq!([ask(), ask(), ask()], [Sending::Whole; 3]);
        assert_eq!(
            [ask(), ask(), ask(), ask()],
            [Sending::Nothing, Sending::Truncated, Sending::Nothing, Sending::Truncated]
        );
        // A third of a second later there is room for one more.
        let mut ask = || rate.handle_answer(at(334_000_000), VICTIM, AnswerKind::Positive);
        assert_eq!([ask(), ask()], [Sending::Whole, Sending::Nothing]);
    }

    #[test]
    fn a_network_is_limited_as_one_and_its_neighbour_is_not() {
        let mut rate = limited(1);
        let mut ask = |client: IpAddr| rate.handle_answer(at(0), client, AnswerKind::Positive) == Sending::Whole;
        assert!(ask(VICTIM));
        assert!(!ask(IpAddr::V4(Ipv4Addr::new(198, 18, 1, 200))));
        assert!(ask(IpAddr::V4(Ipv4Addr::new(198, 18, 2, 9))));
        let site = |low: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, low, 0, 0, 0, 1));
        assert!(ask(site(0x0000)));
        assert!(!ask(site(0x00ff)), "one /56");
        assert!(ask(site(0x0100)));
    }

    #[test]
    fn errors_do_not_use_up_the_rate_of_good_answers() {
        let mut rate = limited(1);
        for kind in [AnswerKind::Error, AnswerKind::Positive, AnswerKind::Negative] {
            assert_eq!(rate.handle_answer(at(0), VICTIM, kind), Sending::Whole);
            assert_ne!(rate.handle_answer(at(0), VICTIM, kind), Sending::Whole);
        }
    }

    #[test]
    fn without_rates_everything_is_sent() {
        let options = ResponseRateOptions { network_per_s: 0, all_per_s: 0, slip: 2 };
        let mut rate = ResponseRate::new(options, 7);
        let sent = (0..10_000).map(|_| rate.handle_answer(at(0), VICTIM, AnswerKind::Positive));
        assert!(sent.into_iter().all(|sending| sending == Sending::Whole));
    }

    /// A flood of questions with forged addresses, one per `gap_ns`, and what it comes to: bytes out for each byte in.
    fn amplification(options: ResponseRateOptions, flood: &Flood) -> f64 {
        let mut rate = ResponseRate::new(options, u128::from(flood.seed));
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for question in 0..flood.questions {
            let scattered = (u64::from(question) + flood.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let network = u32::try_from(scattered % u64::from(flood.networks)).unwrap();
            let client = IpAddr::V4(Ipv4Addr::from_bits(network << 8 | 9));
            bytes_in += flood.question_bytes;
            let now = at(u64::from(question) * flood.gap_ns);
            bytes_out += match rate.handle_answer(now, client, AnswerKind::Positive) {
                Sending::Whole => flood.answer_bytes,
                // The question, and at most the server's part of a cookie.
                Sending::Truncated => flood.question_bytes + 16,
                Sending::Nothing => 0,
            };
        }
        f64::from(bytes_out) / f64::from(bytes_in)
    }

    #[derive(Clone, Debug)]
    struct Flood {
        questions: u32,
        networks: u32,
        gap_ns: u64,
        question_bytes: u32,
        answer_bytes: u32,
        seed: u64,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A second and more of a flood that is ten times what its networks may have.
        #[test]
        fn a_flood_is_not_amplified(
            networks in 1u32..50,
            question_bytes in 40u32..80,
            answer_bytes in 60u32..=120,
            seed: u64,
        ) {
            let options = ResponseRateOptions { network_per_s: 20, all_per_s: 0, slip: 2 };
            // Twenty seconds at ten times the rate: the burst of the first second is a twentieth of what comes.
            let questions = networks * 20 * 10 * 20;
            let gap_ns = 1_000_000_000 / u64::from(networks * 20 * 10);
            let flood = Flood { questions, networks, gap_ns, question_bytes, answer_bytes, seed };
            let factor = amplification(options, &flood);
            prop_assert!(factor < 1.5, "{factor}");
        }

        /// However a flood is spread over networks, the rate over all of them holds it.
        #[test]
        fn a_flood_from_everywhere_is_not_amplified(
            networks in 1u32..1_000_000,
            question_bytes in 40u32..80,
            answer_bytes in 60u32..=120,
            seed: u64,
        ) {
            let options = ResponseRateOptions { network_per_s: 100, all_per_s: 1000, slip: 2 };
            let flood = Flood { questions: 100_000, networks, gap_ns: 100_000, question_bytes, answer_bytes, seed };
            let factor = amplification(options, &flood);
            prop_assert!(factor < 1.5, "{factor}");
        }

        /// In no span does anybody get more than the burst and the rate.
        #[test]
        fn no_network_gets_more_than_its_rate(gaps in prop::collection::vec(0u64..50_000_000, 1..2000), rate in 1u32..100) {
            let mut limiter = limited(rate);
            let (mut now, mut whole) = (0, 0u64);
            for gap in gaps {
                now += gap;
                if limiter.handle_answer(at(now), VICTIM, AnswerKind::Positive) == Sending::Whole {
                    whole += 1;
                }
                // Two cells, of which each lets through the rate.
                let most = u64::from(rate) + now * u64::from(rate) / 1_000_000_000 + 1;
                prop_assert!(whole <= most, "{whole} of {most} at {now}");
            }
        }

        /// Who stays under its rate is never limited while fewer networks than cells are in trouble.
        #[test]
        fn a_quiet_network_is_not_hurt_by_loud_ones(seed: u64) {
            let mut rate = ResponseRate::new(ResponseRateOptions { network_per_s: 10, all_per_s: 0, slip: 2 }, u128::from(seed));
            for network in 0..200u32 {
                for _ in 0..30 {
                    rate.handle_answer(at(0), IpAddr::V4(Ipv4Addr::from_bits(network << 8)), AnswerKind::Positive);
                }
            }
            prop_assert_eq!(rate.handle_answer(at(0), VICTIM, AnswerKind::Positive), Sending::Whole);
        }
    }
}
