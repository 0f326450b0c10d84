//! Where users are.
//!
//! Decides which place the next request comes from, in proportion to its users, and how many of a load's users live there.

use rand::Rng;

use super::{WorkloadError, alias::Alias};
use crate::{Atlas, Place, scenario::From};

/// The places of a load.
#[derive(Debug)]
pub(super) struct Crowd {
    members: Vec<Member>,
    table: Alias,
}

/// One place.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its index in the atlas.
    pub(super) place: u32,
    /// Hours ahead of UTC.
    pub(super) utc_offset_h: f64,
    /// How many of the load's users live there, at least one.
    pub(super) users: u32,
    /// The number of the first of them.
    pub(super) first_user: u32,
}

impl Crowd {
    /// `users` people who live where `from` says.
    pub(super) fn new(from: &From, users: u32, atlas: &Atlas) -> Result<Self, WorkloadError> {
        let places: Vec<(&Place, f64)> = match from {
            From::World => atlas.cities().iter().map(|city| (&city.place, city.place.users as f64)).collect(),
            From::Places(places) => {
                let found = places.iter().map(|(site, weight)| Ok((atlas.place(site.as_str())?, *weight)));
                found.collect::<Result<_, WorkloadError>>()?
            }
        };
        let weights: Vec<f64> = places.iter().map(|(_, weight)| *weight).collect();
        let table = Alias::new(&weights).ok_or(WorkloadError::Nowhere)?;
        let sum: f64 = weights.iter().sum();
        let mut first_user = 0_u32;
        let members = places.iter().map(|(place, weight)| {
            let users = ((f64::from(users) * weight / sum).round() as u32).max(1);
            let member = Member {
                place: atlas.index_of_place(place).unwrap_or_default(),
                utc_offset_h: f64::from(place.utc_offset_h),
                users,
                first_user,
            };
            first_user = first_user.saturating_add(users);
            member
        });
        Ok(Self { members: members.collect(), table })
    }

    /// The place of the next request.
    pub(super) fn draw(&self, chance: &mut impl Rng) -> &Member {
        // The table has as many items as there are members.
        &self.members[self.table.of(chance.next_u64())]
    }
}
