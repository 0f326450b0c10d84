//! What a resolver has heard, for as long as the TTL says and for whom the scope says.
//!
//! Bounded by entries: when full, the answer that expires first goes. Time is an argument; knows no socket.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_proto::rr::{Name, RecordType};
use ipnet::Ipv4Net;

use super::reply::{Question, Reply};

/// The answers of one resolver.
#[derive(Debug)]
pub(crate) struct Cache {
    answers: HashMap<(Name, RecordType), Vec<Stored>>,
    /// Every answer by when it expires; the number keeps equal times apart.
    by_expiry: BTreeMap<(Instant, u64), (Name, RecordType)>,
    next: u64,
    entries_max: usize,
}

#[derive(Debug)]
struct Stored {
    /// For whom: `None` is an answer that was asked without a client subnet.
    audience: Option<Ipv4Net>,
    reply: Arc<Reply>,
    stored: Instant,
    expiry: (Instant, u64),
}

impl Cache {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { answers: HashMap::new(), by_expiry: BTreeMap::new(), next: 0, entries_max }
    }

    /// The answer to `question` and its age. An answer for a narrower audience wins (RFC 7871 section 7.3.1).
    pub(crate) fn lookup(&self, now: Instant, question: &Question) -> Option<(Arc<Reply>, Duration)> {
        let stored = self.answers.get(&(question.name.clone(), question.kind))?;
        let best = stored
            .iter()
            .filter(|stored| stored.expiry.0 > now && stored.is_for(question.subnet))
            .max_by_key(|stored| stored.audience.map(|net| net.prefix_len()))?;
        Some((Arc::clone(&best.reply), now.saturating_duration_since(best.stored)))
    }

    /// Keeps `reply` for `ttl`, instead of what was there for the same audience. Says whether another had to go.
    pub(crate) fn store(&mut self, now: Instant, question: &Question, reply: Arc<Reply>, ttl: Duration) -> bool {
        self.expire(now);
        let audience = question.subnet.map(|subnet| reply.audience(subnet));
        let key = (question.name.clone(), question.kind);
        let Some(expires) = now.checked_add(ttl).filter(|_| self.entries_max > 0) else { return false };
        if let Some(old) = self.answers.get_mut(&key).and_then(|stored| {
            let at = stored.iter().position(|stored| stored.audience == audience)?;
            Some(stored.swap_remove(at))
        }) {
            self.by_expiry.remove(&old.expiry);
        }
        let full = self.by_expiry.len() >= self.entries_max;
        if full {
            self.drop_first();
        }
        let expiry = (expires, self.next);
        self.next += 1;
        self.by_expiry.insert(expiry, key.clone());
        self.answers.entry(key).or_default().push(Stored { audience, reply, stored: now, expiry });
        full
    }

    /// Forgets everything and says how many answers that were.
    pub(crate) fn flush(&mut self) -> usize {
        self.answers.clear();
        let count = self.by_expiry.len();
        self.by_expiry.clear();
        count
    }

    /// How many answers are kept, expired ones that nobody looked at included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_expiry.len()
    }

    fn expire(&mut self, now: Instant) {
        while self.by_expiry.first_key_value().is_some_and(|(&(expires, _), _)| expires <= now) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some((expiry, key)) = self.by_expiry.pop_first() else { return };
        if let Some(stored) = self.answers.get_mut(&key) {
            stored.retain(|stored| stored.expiry != expiry);
            if stored.is_empty() {
                self.answers.remove(&key);
            }
        }
    }
}

impl Stored {
    fn is_for(&self, subnet: Option<Ipv4Net>) -> bool {
        match (self.audience, subnet) {
            (Some(audience), Some(subnet)) => audience.contains(&subnet),
            (None, None) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hickory_proto::op::ResponseCode;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn question(name: &str, subnet: Option<&str>) -> Question {
        Question {
            name: Name::from_ascii(name).unwrap(),
            kind: RecordType::A,
            subnet: subnet.map(|net| net.parse().unwrap()),
        }
    }

    fn reply(scope: Option<u8>) -> Arc<Reply> {
        Arc::new(Reply {
            rcode: ResponseCode::NoError,
            authoritative: true,
            truncated: false,
            recursion_available: false,
            answers: Vec::new(),
            authority: Vec::new(),
            scope,
            server: SocketAddr::from(([127, 0, 0, 1], 53)),
            tcp: false,
            tries: 1,
        })
    }

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_is_used_until_its_ttl_and_ages() {
        let (mut cache, start, asked) = (Cache::new(8), Instant::now(), question("a.test.", None));
        cache.store(start, &asked, reply(None), TTL);
        let (_, age) = cache.lookup(start + Duration::from_secs(4), &asked).unwrap();
        assert_eq!(age, Duration::from_secs(4));
        assert!(cache.lookup(start + TTL, &asked).is_none());
    }

    #[test]
    fn a_scoped_answer_is_only_for_clients_inside() {
        let (mut cache, now) = (Cache::new(8), Instant::now());
        let nairobi = question("a.test.", Some("198.18.41.0/24"));
        cache.store(now, &nairobi, reply(Some(24)), TTL);
        assert!(cache.lookup(now, &nairobi).is_some());
        assert!(cache.lookup(now, &question("A.TEST.", Some("198.18.41.0/24"))).is_some());
        assert!(cache.lookup(now, &question("a.test.", Some("198.18.42.0/24"))).is_none());
        assert!(cache.lookup(now, &question("a.test.", None)).is_none());
        cache.store(now, &nairobi, reply(Some(0)), TTL);
        assert!(cache.lookup(now, &question("a.test.", Some("198.18.42.0/24"))).is_some());
    }

    /// A cache that is asked all the time, at steps of [`TTL`] / [`STEPS`]: an answer that has expired is fetched in the same step.
    struct Busy {
        cache: Cache,
        asked: Question,
        /// The first step in which it is asked: its phase.
        begins: u32,
    }

    impl Busy {
        fn new(random: &mut ChaCha8Rng) -> Self {
            Self {
                cache: Cache::new(1),
                asked: question("www.demo.test.", None),
                begins: random.random_range(0..STEPS),
            }
        }

        /// What it answers at `now`, and for how long that may be kept.
        fn ask(&mut self, now: Instant, fetch: impl FnOnce() -> (Arc<Reply>, Duration)) -> (Arc<Reply>, Duration) {
            if let Some((reply, age)) = self.cache.lookup(now, &self.asked) {
                return (reply, TTL.saturating_sub(age));
            }
            let (reply, ttl) = fetch();
            self.cache.store(now, &self.asked, Arc::clone(&reply), ttl);
            (reply, ttl)
        }
    }

    const STEPS: u32 = 50;

    const CLIENTS: u32 = 800;

    /// The share of clients that are sent to the old address, for each step since it was changed. A resolver is behind
    /// the authority; `second` is a cache behind the resolver, and what it makes of the time that is left to an answer.
    fn share_on_the_old(second: Option<fn(Duration) -> Duration>) -> Vec<f64> {
        let (old, new, start) = (reply(None), reply(None), Instant::now());
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let mut on_old = vec![0u32; 2 * STEPS as usize + 1];
        for _ in 0..CLIENTS {
            let (mut resolver, mut behind) = (Busy::new(&mut random), Busy::new(&mut random));
            // Both have been asked for a while when the change comes, at step 3 STEPS.
            for step in 0..=5 * STEPS {
                let now = start + TTL * step / STEPS;
                let authority = || (Arc::clone(if step < 3 * STEPS { &old } else { &new }), TTL);
                if step < resolver.begins {
                    continue;
                }
                let answer = resolver.ask(now, authority);
                let seen = match second {
                    Some(_) if step < STEPS + behind.begins => continue,
                    Some(keep) => behind.ask(now, || (answer.0, keep(answer.1))).0,
                    None => answer.0,
                };
                if let Some(since) = step.checked_sub(3 * STEPS) {
                    on_old[since as usize] += u32::from(Arc::ptr_eq(&seen, &old));
                }
            }
        }
        on_old.iter().map(|&count| f64::from(count) / f64::from(CLIENTS)).collect()
    }

    /// Four standard errors of a share of so many, and two steps.
    fn assert_follows(what: &str, shares: &[f64], expected: impl Fn(f64) -> f64) {
        for (step, share) in shares.iter().enumerate() {
            let t = step as f64 / f64::from(STEPS);
            let bound = 4.0 * (0.25 / f64::from(CLIENTS)).sqrt() + 2.0 / f64::from(STEPS);
            assert!((share - expected(t)).abs() < bound, "{what}, t = {t} TTL: {share} for {}", expected(t));
        }
        // The mean time on the old address is the area under the curve.
        let steps = 2 * STEPS;
        let area = |at: &dyn Fn(f64) -> f64| {
            (0..=steps).map(|step| at(f64::from(step) / f64::from(STEPS))).sum::<f64>() / f64::from(STEPS)
        };
        let mean = shares.iter().sum::<f64>() / f64::from(STEPS);
        assert!((mean - area(&expected)).abs() < 0.05, "{what}: mean {mean} TTL for {}", area(&expected));
    }

    #[test]
    fn after_a_change_the_share_on_the_old_address_falls_as_the_formula_says() {
        // A busy resolver holds an answer of any age up to its TTL, uniformly: 1 - t/TTL are still on it, TTL/2 on average.
        let one = |t: f64| (1.0 - t).max(0.0);
        assert_follows("one cache", &share_on_the_old(None), one);
        // A second cache that counts down what the first has left expires with it, and adds nothing.
        assert_follows("a cache that counts down", &share_on_the_old(Some(|left| left)), one);
        // One that begins anew adds an age of its own: the sum of two uniform ages, which is their convolution.
        let convolved = |t: f64| match t {
            t if t <= 1.0 => 1.0 - t * t / 2.0,
            t if t <= 2.0 => (2.0 - t).powi(2) / 2.0,
            _ => 0.0,
        };
        assert_follows("a cache that begins anew", &share_on_the_old(Some(|_| TTL)), convolved);
    }

    #[test]
    fn when_full_the_answer_that_expires_first_goes() {
        let (mut cache, now) = (Cache::new(2), Instant::now());
        assert!(!cache.store(now, &question("long.test.", None), reply(None), TTL * 3));
        assert!(!cache.store(now, &question("short.test.", None), reply(None), TTL));
        assert!(cache.store(now, &question("new.test.", None), reply(None), TTL * 2));
        assert!(cache.lookup(now, &question("short.test.", None)).is_none());
        assert!(cache.lookup(now, &question("long.test.", None)).is_some());
        assert_eq!(cache.flush(), 2);
        assert_eq!(cache.len(), 0);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_both_indexes_agree(
            stores in prop::collection::vec((0u8..6, 0u8..4, 0u64..5, prop::option::of(0u8..33)), 0..60),
            max in 0usize..5,
        ) {
            let (mut cache, mut now) = (Cache::new(max), Instant::now());
            for (name, net, ttl, scope) in stores {
                let asked = question(&format!("n{name}.test."), Some(&format!("198.18.{net}.0/24")));
                cache.store(now, &asked, reply(scope), Duration::from_secs(ttl));
                now += Duration::from_millis(700);
                prop_assert!(cache.len() <= max);
                prop_assert_eq!(cache.len(), cache.answers.values().map(Vec::len).sum::<usize>());
                prop_assert!(cache.answers.values().all(|stored| !stored.is_empty()));
            }
        }
    }
}
