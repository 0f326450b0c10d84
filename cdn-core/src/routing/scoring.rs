//! What a policy makes of every candidate for one client.

use ipnet::IpNet;

use super::{Candidate, Policy, Pop, PopIndex};
use crate::{
    Reason,
    estimate::Estimate,
    geo::{BlockId, GeoMap, PlaceId},
};

/// A policy, and what it is applied to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scoring<'a> {
    pub(super) policy: &'a dyn Policy,
    pub(super) pops: &'a [Pop],
    /// Why each PoP is no candidate.
    pub(super) rejected: &'a [Option<Reason>],
    pub(super) seed: u64,
}

impl Scoring<'_> {
    /// What the policy thinks of each candidate. Who is none comes last, so that turns and margins are those among
    /// candidates.
    pub(super) fn scores(
        &self,
        distances_km: impl IntoIterator<Item = Option<f64>>,
        estimates: &[Estimate],
        block_key: u64,
        turn: u64,
    ) -> Vec<f64> {
        let &Self { policy, pops, rejected, seed } = self;
        let candidates = self.candidates();
        let mut positions = PopIndex::all(candidates);
        let all = pops.iter().zip(rejected).zip(distances_km).zip(estimates);
        all.map(|(((pop, rejected), distance_km), estimate)| {
            let index = if rejected.is_none() { positions.next() } else { None };
            let Some(index) = index else { return f64::INFINITY };
            policy.score(&Candidate { pop, index, candidates, distance_km, estimate, block_key, turn, seed })
        })
        .collect()
    }

    /// How many candidates there are.
    pub(super) fn candidates(&self) -> usize {
        self.rejected.iter().filter(|rejected| rejected.is_none()).count()
    }
}

/// The distance from `place` to each PoP.
pub(super) fn distances_km(geo: &GeoMap, pops: &[Pop], place: Option<PlaceId>) -> Vec<Option<f64>> {
    let point = place.map(|place| geo.point(place));
    pops.iter().map(|pop| Some(pop.place.point.distance_km(point?))).collect()
}

/// A number that stands for a block in draws: of its network, so that it outlives the table's order. 0 for none.
pub(super) fn block_key(geo: &GeoMap, block: Option<BlockId>) -> u64 {
    let Some(block) = block else { return 0 };
    match geo.block(block).net {
        IpNet::V4(net) => u64::from(net.network().to_bits()) << 8 | u64::from(net.prefix_len()),
        // What is below /64 is one subscriber's, so the upper half tells blocks apart; the length keeps nested ones apart.
        IpNet::V6(net) => {
            let bits = net.network().to_bits();
            ((bits >> 64) as u64 ^ (bits as u64)).rotate_left(8) ^ u64::from(net.prefix_len()) << 56
        }
    }
}
