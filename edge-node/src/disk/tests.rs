//! The tier where the file system, or a limit, says no.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{
    WallTime,
    distribution::{Behavior, Distribution, DistributionSpec, Origin},
    freshness::Lifetime,
    policies,
    store::StoredHead,
};
use http::{HeaderMap, Method, StatusCode};

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    distribution: Distribution,
    headers: HeaderMap,
    counters: Arc<Counters>,
    disk: Disk,
}

impl Fixture {
    fn new(limits: &Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = DiskConfig { dir: dir.path().join("tier"), bytes_max: 1 << 20, generation: String::new() };
        let counters = Arc::<Counters>::default();
        let disk = Disk::open(&config, limits, 1 << 20, &counters, &WallClock::default()).unwrap();
        let policy = policies::cache_policy("CachingOptimized").unwrap();
        let origins = BTreeMap::from([("app".to_owned(), Origin::new("app.test"))]);
        let behavior = Behavior { compress: false, ..Behavior::new("app", policy) };
        let spec = DistributionSpec::new("demo", origins, behavior);
        let distribution = Distribution::new(spec).unwrap();
        Self { dir, distribution, headers: HeaderMap::new(), counters, disk }
    }

    fn request<'a>(&'a self, path: &'a str) -> RequestHead<'a> {
        let behavior = self.distribution.behavior_for(path);
        let (distribution, method, headers) = (&self.distribution, &Method::GET, &self.headers);
        RequestHead { distribution, behavior, method, host: "h", path, query: None, headers }
    }

    fn write(&self, path: &str) {
        let head = RecordHead {
            distribution: Arc::clone(self.distribution.id()),
            uri: path.into(),
            vary: Vary::default(),
            head: Arc::new(StoredHead::new(StatusCode::OK, HeaderMap::new())),
            part: None,
            lifetime: Lifetime { fresh_for: Duration::from_secs(60), ..Lifetime::default() },
            stored_at: WallTime::from_unix_secs(1),
        };
        let draft = Draft::new(self.disk.seed(), self.disk.ticket(), &self.request(path), head).unwrap();
        self.disk.write(draft, &[Bytes::from_static(b"body")]);
        self.disk.flush();
    }

    fn find(&self, path: &str) -> Option<Result<OnDisk, Reason>> {
        let request = self.request(path);
        self.disk.find(request.key(self.disk.seed()), &request, None)
    }

    fn errors(&self) -> u64 {
        self.counters.value(Counter::EdgeDiskErrors)
    }
}

#[test]
fn no_more_is_read_at_once_than_the_limit_says() {
    let fixture = Fixture::new(&Limits { disk_read_bytes_max: 1, ..Limits::default() });
    fixture.write("/a");
    let first = fixture.find("/a").unwrap().unwrap();
    assert_eq!(fixture.find("/a").unwrap().unwrap_err(), Reason::MissDiskBusy);
    drop(first);
    assert!(fixture.find("/a").unwrap().is_ok(), "one may always be read");
    assert_eq!(fixture.counters.value(Counter::EdgeDiskBusy), 1);
}

#[test]
fn a_response_that_cannot_be_written_is_not_there() {
    let fixture = Fixture::new(&Limits::default());
    std::fs::remove_dir_all(fixture.dir.path().join("tier")).unwrap();
    fixture.write("/a");
    assert!(fixture.find("/a").is_none());
    assert_eq!((fixture.errors(), fixture.counters.value(Counter::EdgeDiskWrites)), (1, 0));
}

#[test]
fn a_tier_that_cannot_write_down_an_invalidation_is_given_up() {
    let fixture = Fixture::new(&Limits::default());
    fixture.write("/a");
    fixture.write("/b");
    let tier = fixture.dir.path().join("tier");
    std::fs::remove_dir_all(&tier).unwrap();
    let pattern = InvalidationPattern::parse("/a").unwrap();
    assert_eq!(fixture.disk.invalidate(fixture.distribution.id(), &pattern), 1);
    assert!(fixture.find("/b").is_none(), "nobody could know after a restart that it may be used and /a may not");
    fixture.write("/c");
    assert!(fixture.find("/c").is_none() && fixture.errors() > 0);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_gone() {
    let fixture = Fixture::new(&Limits::default());
    fixture.write("/a");
    let found = fixture.find("/a").unwrap().unwrap();
    for file in std::fs::read_dir(fixture.dir.path().join("tier")).unwrap().flatten() {
        if file.path().extension().is_some_and(|extension| extension == "segment") {
            File::options().write(true).open(file.path()).unwrap().set_len(10).unwrap();
        }
    }
    assert!(fixture.disk.read(found).await.is_none());
    assert!(fixture.find("/a").is_none());
    assert_eq!((fixture.errors(), fixture.counters.value(Counter::EdgeDiskDamaged)), (1, 1));
}
