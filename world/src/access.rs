//! Access networks: what the last mile adds to every path of a viewer.
//!
//! Decides round trip, jitter and loss of an access type. Refuses to know places; who has which type is a setting.

use std::sync::LazyLock;

use crate::{
    atlas::{ACCESS, each_row},
    geo::coded_enum,
};

coded_enum! {
    /// A type of access network.
    Access, "an access type: fiber, cable, dsl, lte, nr5g, leo, geo or cloud", {
        /// Fibre to the home: 2.5 ms.
        Fiber = "fiber",
        /// Cable television: 10 ms.
        Cable = "cable",
        /// Telephone line: 19 ms.
        Dsl = "dsl",
        /// 4G: 30 ms (assumed).
        Lte = "lte",
        /// 5G: 18 ms (assumed).
        Nr5g = "nr5g",
        /// Low-orbit satellites: 25.7 ms.
        Leo = "leo",
        /// A geostationary satellite: 560 ms.
        Geo = "geo",
        /// A virtual machine in a data centre of the city: 0.5 ms (assumed).
        Cloud = "cloud",
    }
}

/// What an access type adds to a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LastMile {
    /// Median round trip over the clients of that type.
    pub(crate) rtt_ms_median: f64,
    /// Standard deviation of its logarithm over clients.
    pub(crate) rtt_sigma_ln: f64,
    /// Mean of the per-packet delay above the base.
    pub(crate) jitter_ms_mean: f64,
    /// Share of packets lost.
    pub(crate) loss: f64,
}

impl Access {
    /// The median round trip over its clients, in milliseconds.
    pub fn rtt_ms_median(self) -> f64 {
        self.last_mile().rtt_ms_median
    }

    /// What it adds.
    pub(crate) fn last_mile(self) -> LastMile {
        static LAST_MILES: LazyLock<Vec<LastMile>> = LazyLock::new(read);
        LAST_MILES[self as usize]
    }
}

fn read() -> Vec<LastMile> {
    let mut read = Vec::new();
    let columns = ["access", "rtt_ms_median", "rtt_sigma_ln", "jitter_ms_mean", "jitter_sigma_ln", "loss"];
    let outcome = each_row(ACCESS, columns, |row| {
        let access: Access = row.parse(0)?;
        assert_eq!(access as usize, read.len(), "{access} stands at its place in the table of access types");
        read.push(LastMile {
            rtt_ms_median: row.parse(1)?,
            rtt_sigma_ln: row.parse(2)?,
            jitter_ms_mean: row.parse(3)?,
            loss: row.parse(5)?,
        });
        Ok(())
    });
    assert!(outcome.is_ok() && read.len() == Access::ALL.len(), "the table of access types is broken: {outcome:?}");
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_access_type_has_a_last_mile() {
        for &access in Access::ALL {
            let last_mile = access.last_mile();
            assert!(last_mile.rtt_ms_median > 0.0 && last_mile.loss < 0.01, "{access}: {last_mile:?}");
        }
        assert_eq!(Access::Fiber.last_mile().rtt_ms_median, 2.5);
        assert_eq!("NR5G".parse(), Ok(Access::Nr5g));
        assert!("pigeon".parse::<Access>().is_err());
    }
}
