//! The store against a model of it that is slow and obvious: a list of everything that was ever stored.

use super::*;

/// A response that was stored.
#[derive(Clone, Debug)]
struct Kept {
    path: &'static str,
    /// The language it is for; `None` where it does not vary.
    language: Option<&'static str>,
    body: &'static str,
    at: Instant,
    fresh: u64,
    while_revalidate: u64,
    if_error: u64,
    gone: bool,
}

/// What RFC 9111 and 5861 say, read off the list.
#[derive(Debug, Default)]
struct Model(Vec<Kept>);

#[derive(Debug, PartialEq, Eq)]
enum Says {
    Fresh(&'static str, u64),
    Stale(&'static str),
    Ask,
}

impl Model {
    fn select(&self, path: &str, language: &str) -> Option<&Kept> {
        let selected =
            |kept: &&Kept| kept.path == path && kept.language.is_none_or(|own| own == language) && !kept.gone;
        self.0.iter().rev().find(selected)
    }

    fn says(&self, now: Instant, path: &str, language: &str) -> Says {
        let Some(kept) = self.select(path, language) else { return Says::Ask };
        let age = (now - kept.at).as_secs();
        match age {
            age if age < kept.fresh => Says::Fresh(kept.body, age),
            age if age < kept.fresh + kept.while_revalidate => Says::Stale(kept.body),
            _ => Says::Ask,
        }
    }

    fn on_failure(&self, now: Instant, path: &str, language: &str) -> Option<&'static str> {
        let kept = self.select(path, language)?;
        ((now - kept.at).as_secs() < kept.fresh + kept.if_error).then_some(kept.body)
    }

    /// The newest response that a request selects is the only one that it selects from now on.
    fn store(&mut self, kept: Kept, language: &str) {
        for old in &mut self.0 {
            let varied_alike = old.language.is_none_or(|own| own == language);
            old.gone |= old.path == kept.path && varied_alike;
        }
        self.0.push(kept);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Asks; what the store wants fetched is answered at once, or fails.
    Ask {
        path: usize,
        language: usize,
        varies: bool,
        spans: (u64, u64, u64),
        fails: bool,
    },
    Invalidate(usize),
    Sleep(u64),
}

const PATHS: [&str; 2] = ["/a", "/b"];
const LANGUAGES: [&str; 3] = ["en", "de", "fr"];
const BODIES: [&str; 7] = ["one", "two", "three", "four", "five", "six", "seven"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let spans = (0_u64..20, 0_u64..10, 0_u64..30);
    let ask = (0..PATHS.len(), 0..LANGUAGES.len(), any::<bool>(), spans, prop::bool::weighted(0.3))
        .prop_map(|(path, language, varies, spans, fails)| Step::Ask { path, language, varies, spans, fails });
    let step =
        prop_oneof![8 => ask, 1 => (0..PATHS.len()).prop_map(Step::Invalidate), 4 => (1_u64..12).prop_map(Step::Sleep)];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Every answer of the store is the model's, and every response's age is the time since it was stored.
    #[test]
    fn the_store_agrees_with_a_list_of_everything_that_was_stored(steps in steps()) {
        let mut world = World::new(StoreSettings { variants_max: 1_000, ..StoreSettings::default() });
        let mut model = Model::default();
        let mut bodies = BODIES.iter().cycle();
        for step in steps {
            let (path, language_text, varies, (fresh, while_revalidate, if_error), fails) = match step {
                Step::Sleep(secs) => {
                    world.advance(secs);
                    continue;
                }
                Step::Invalidate(path) => {
                    let here = |kept: &&mut Kept| kept.path == PATHS[path] && !kept.gone;
                    let expected = model.0.iter_mut().filter(here).map(|kept| kept.gone = true).count() as u64;
                    prop_assert_eq!(world.invalidate(PATHS[path]), expected);
                    continue;
                }
                Step::Ask { path, language, varies, spans, fails } => {
                    (PATHS[path], LANGUAGES[language], varies, spans, fails)
                }
            };
            let headers = language(language_text);
            let says = model.says(world.now, path, language_text);
            let begun = match (world.ask(path, &headers), says) {
                (Lookup::Hit(served), Says::Fresh(body, age)) => {
                    prop_assert_eq!((served.body, served.age.as_secs()), (body, age));
                    continue;
                }
                (Lookup::Stale { served, refresh }, Says::Stale(body)) => {
                    prop_assert_eq!(served.body, body);
                    match refresh {
                        Some(begun) => begun,
                        None => continue,
                    }
                }
                (Lookup::Fetch(begun), Says::Ask) => begun,
                // The origin failed less than ten seconds ago and is left alone.
                (Lookup::StaleOnError(served), Says::Ask | Says::Stale(_)) => {
                    prop_assert_eq!(Some(served.body), model.on_failure(world.now, path, language_text));
                    continue;
                }
                (found, says) => return Err(TestCaseError::fail(format!("{found:?}, and the model says {says:?}"))),
            };
            if fails {
                let stands_in = match world.shard.failed(world.now, begun.id, FetchError::NoResponse) {
                    Failed::Stale(served) => Some(served.body),
                    Failed::Answer => None,
                };
                prop_assert_eq!(stands_in, model.on_failure(world.now, path, language_text));
                if stands_in.is_none() {
                    world.shard.released(begun.id);
                }
                continue;
            }
            let body = bodies.next().copied().unwrap_or_default();
            let names: &[HeaderName] = if varies { &[header::ACCEPT_LANGUAGE] } else { &[] };
            let outcome =
                world.store_for(begun.id, body, lifetime(fresh, while_revalidate, if_error), names, &headers);
            prop_assert!(matches!(outcome, Outcome::Stored(_)));
            let own = varies.then_some(language_text);
            let kept =
                Kept { path, language: own, body, at: world.now, fresh, while_revalidate, if_error, gone: false };
            model.store(kept, language_text);
            world.check();
        }
    }
}
