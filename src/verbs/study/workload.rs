//! What the caches of a study are asked for, as it is typed: `zipf:0.8:100000`, `class:w-1`, or `trace:FILE`; and what fits
//! into a cache then.

use std::{path::Path, sync::Arc};

use simulator::studies::cache::{Asked, Room, Sizes, Trace};
use world::{
    scenario::Paths,
    workload::{Traffic, Zipf},
};

use super::{inputs::Inputs, with_hint};
use crate::{
    diagnose::nearest_or_all,
    load::paths,
    quantity::{ByteCount, Span},
    talk::VerbError,
};

/// Sizes are whole numbers of 64 bits, and so are sums of them.
const DECADES_MAX: u32 = 12;
/// Objects of a class of traffic, where none are said.
const OBJECTS: &str = "100000";
/// Objects that a table of popularity may hold.
const OBJECTS_MAX: u64 = 10_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Workload {
    /// As it was typed.
    pub(super) name: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Drawn { objects: u32, exponent: f64, sizes: Sizes },
    Recorded(Arc<Trace>),
}

impl Workload {
    /// Checks what was typed. Sizes over so many decades are of objects that have none of their own.
    pub(super) fn of(text: &str, decades: u32, inputs: &Inputs) -> Result<Self, VerbError> {
        let name = text.trim().to_owned();
        let what = what_of(&name, inputs)?;
        let what = match (decades, what) {
            (0, what) => what,
            (1..=DECADES_MAX, What::Drawn { objects, exponent, sizes: Sizes::One }) => {
                What::Drawn { objects, exponent, sizes: Sizes::Decades(decades) }
            }
            (1..=DECADES_MAX, _) => {
                return Err(VerbError::Usage(format!("--size-decades: objects of {name} have sizes of their own")));
            }
            _ => return Err(VerbError::Usage(format!("--size-decades {decades}: at most {DECADES_MAX}"))),
        };
        Ok(Self { name, what })
    }

    /// How many objects there are.
    pub(super) fn objects(&self) -> u32 {
        match &self.what {
            What::Drawn { objects, .. } => *objects,
            What::Recorded(trace) => trace.objects(),
        }
    }

    /// Of Zipf's law, where requests are drawn by it.
    pub(super) const fn exponent(&self) -> Option<f64> {
        match self.what {
            What::Drawn { exponent, .. } => Some(exponent),
            What::Recorded(_) => None,
        }
    }

    /// Over how many decades sizes are drawn, where they are.
    pub(super) const fn decades(&self) -> Option<u32> {
        match self.what {
            What::Drawn { sizes: Sizes::Decades(decades), .. } => Some(decades),
            _ => None,
        }
    }

    /// Whether all objects are of one size, which is the unit of room.
    pub(super) const fn is_of_one_size(&self) -> bool {
        matches!(self.what, What::Drawn { sizes: Sizes::One, .. })
    }

    /// How many requests there are, where it ends.
    pub(super) fn requests(&self) -> Option<u64> {
        match &self.what {
            What::Drawn { .. } => None,
            What::Recorded(trace) => Some(trace.requests()),
        }
    }

    /// Whether it is the same under each seed, but for the edge that a request comes to.
    pub(super) const fn is_alike(&self) -> bool {
        self.is_of_one_size() || matches!(self.what, What::Recorded(_))
    }

    /// Of sizes and room.
    pub(super) const fn unit(&self) -> &'static str {
        if self.is_of_one_size() { "objects" } else { "bytes" }
    }

    /// What there is, for people.
    pub(super) fn title(&self) -> String {
        match &self.what {
            What::Drawn { objects, exponent, .. } => format!("{objects} objects by Zipf {exponent}"),
            What::Recorded(trace) => format!("{}: {} objects", self.name, trace.objects()),
        }
    }

    /// As it is played.
    pub(super) fn asked(&self) -> Asked {
        match &self.what {
            What::Drawn { objects, exponent, sizes } => {
                Asked::Drawn { zipf: Zipf::new(*objects, *exponent), sizes: *sizes }
            }
            What::Recorded(trace) => Asked::Recorded(Arc::clone(trace)),
        }
    }

    /// What its time is counted in, in a second, where so many requests are made in one.
    pub(super) const fn ticks_per_s(&self, rps: f64) -> f64 {
        match self.what {
            What::Drawn { .. } => rps,
            What::Recorded(_) => 1e6,
        }
    }

    /// A TTL in its time; none of `off`.
    pub(super) fn ttl(&self, text: &str, rps: f64) -> Result<Option<u64>, VerbError> {
        let text = text.trim();
        if text == "off" {
            return Ok(None);
        }
        let refuse = |_| VerbError::Usage(format!("--ttl {text}: write a duration, as 10m, or off"));
        let span = text.parse::<Span>().map_err(refuse)?;
        match (span.0.as_secs_f64() * self.ticks_per_s(rps)).round() {
            ticks if (1.0..1e15).contains(&ticks) => Ok(Some(ticks as u64)),
            _ if self.requests().is_some() => {
                Err(VerbError::Usage(format!("--ttl {text}: from a microsecond to thirty years in a trace")))
            }
            ticks => Err(VerbError::Usage(format!("--ttl {text}: {ticks} requests at {rps} a second; one at least"))),
        }
    }

    /// Room: a number of objects, or of bytes where sizes differ, or a share of all objects.
    pub(super) fn room(&self, flag: &str, text: &str) -> Result<Room, VerbError> {
        let text = text.trim();
        let all = u64::from(self.objects());
        let is_of_one_size = self.is_of_one_size();
        let room = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| Room::Share(percent / 100.0)),
            None if is_of_one_size => text.parse().ok().map(Room::Bytes),
            None => text.parse::<ByteCount>().ok().map(|bytes| Room::Bytes(bytes.0)),
        };
        let is_some = |room: &Room| match *room {
            Room::Share(share) if is_of_one_size => share <= 1.0 && share * all as f64 >= 0.5,
            Room::Share(share) => share <= 1.0 && share > 0.0,
            Room::Bytes(room) if is_of_one_size => (1..=all).contains(&room),
            Room::Bytes(room) => room > 0,
        };
        room.filter(is_some).ok_or_else(|| {
            let number = match is_of_one_size {
                true => format!("a number of objects from 1 to {all}"),
                false => "a number of bytes, as 64MiB".to_owned(),
            };
            VerbError::Usage(format!("--{flag} {text}: write {number}, or a share as 1%"))
        })
    }
}

fn what_of(text: &str, inputs: &Inputs) -> Result<What, VerbError> {
    let refuse = |why: &str| VerbError::Usage(format!("--workload {text}: {why}"));
    let count = |n: u64| match u32::try_from(n) {
        Ok(n) if (1..=OBJECTS_MAX).contains(&n.into()) => Ok(n),
        _ => Err(refuse(&format!("from 1 to {OBJECTS_MAX} objects"))),
    };
    if let Some(class) = text.strip_prefix("class:") {
        let (name, objects) = class.split_once(':').unwrap_or((class, OBJECTS));
        let traffic = Traffic::named(name).ok_or_else(|| {
            let hint = nearest_or_all(name, Traffic::all().iter().map(|traffic| traffic.name.as_str()));
            VerbError::Usage(with_hint(format!("--workload {text}: no class {name:?}"), hint))
        })?;
        let objects = objects.parse().map_err(|_| refuse("write class:NAME:N"))?;
        let sizes = Sizes::Traffic(traffic.sizes);
        return Ok(What::Drawn { objects: count(objects)?, exponent: traffic.exponent, sizes });
    }
    if let Some(file) = text.strip_prefix("trace:").filter(|file| !file.is_empty()) {
        let trace = inputs.trace(file).map_err(|why| VerbError::Usage(format!("--workload: {why}")))?;
        return Ok(What::Recorded(trace));
    }
    match paths::parse(text, Path::new(".")) {
        Ok(Paths::Zipf { s, n }) => Ok(What::Drawn { objects: count(n)?, exponent: s, sizes: Sizes::One }),
        Ok(_) => Err(refuse("write zipf:S:N, class:NAME or trace:FILE")),
        Err(why) => Err(VerbError::Usage(format!("--workload: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, decades: u32) -> Result<Workload, String> {
        Workload::of(text, decades, &Inputs::default()).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn room_is_a_number_or_a_share_of_the_catalogue() {
        let workload = of("zipf:0.8:1000", 0).unwrap();
        let room = |text: &str| workload.room("size", text).map(|room| room.bytes(1000));
        assert_eq!((room("10").unwrap(), room("1%").unwrap()), (10, 10));
        for wrong in ["0", "1001", "-1%", "101%", "many", "0.01%", "64KiB"] {
            assert!(room(wrong).is_err(), "{wrong}");
        }
        let workload = of("zipf:0.8:1000", 9).unwrap();
        let room = |text: &str| workload.room("size", text).map(|room| room.bytes(1_000_000));
        assert_eq!((room("64KiB").unwrap(), room("0.01%").unwrap()), (65_536, 100));
        assert!(room("0").is_err() && room("0%").is_err() && room("10 apples").is_err());
    }

    #[test]
    fn a_workload_is_zipf_a_class_of_traffic_or_a_trace() {
        let known = |text: &str| of(text, 0).map(|workload| (workload.objects(), workload.exponent(), workload.unit()));
        assert_eq!(known("zipf:0.8:1000"), Ok((1000, Some(0.8), "objects")));
        assert_eq!(known("class:v-1:500"), Ok((500, Some(0.84), "bytes")));
        assert_eq!(known("class:v-1").unwrap().0, 100_000);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.csv"), "0,7,10\n60,8,20\n61,7,10\n").unwrap();
        let trace = Workload::of(" trace:t.csv", 0, &Inputs::from(dir.path())).unwrap();
        assert_eq!((trace.objects(), trace.exponent(), trace.requests(), trace.unit()), (2, None, Some(3), "bytes"));
        assert_eq!((trace.title(), trace.ttl("1m", 9.0).unwrap()), ("trace:t.csv: 2 objects".into(), Some(60_000_000)));
        for wrong in [
            "zipf:0.8:99999999999",
            "/a",
            "zipf",
            "class:v-9",
            "class:v-1:many",
            "class:v-1:0",
            "class:",
            "trace:",
            "trace:t.csv",
        ] {
            assert!(of(wrong, 0).is_err(), "{wrong}");
        }
        for own in ["class:v-1", "zipf:1:9"] {
            assert!(of(own, 13).unwrap_err().contains("at most 12"), "{own}");
        }
        assert!(of("class:v-1", 3).unwrap_err().contains("sizes of their own"));
    }
}
