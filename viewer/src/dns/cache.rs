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
