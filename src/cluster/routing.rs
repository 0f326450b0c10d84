//! How clients are routed: policies with their settings, and for each distribution which PoPs may serve it.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{
    PopCode,
    routing::{AnycastOptions, BIAS_MAX, Host, InsideOptions, PolicyKind, PriceClass, SpillOptions},
};
use indexmap::IndexMap;
use world::Place;

use crate::{
    cluster_file::{ClusterFile, DEMO, DistributionFile},
    diagnose::{KeyError, nearest_or_all},
    quantity::Span,
};

/// Settings of routing, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct RoutingPlan {
    /// The policy of distributions that have none of their own.
    pub(crate) policy: PolicyKind,
    /// Percent by PoP.
    pub(crate) bias: BTreeMap<PopCode, i8>,
    /// Shares by PoP.
    pub(crate) weights: BTreeMap<PopCode, f64>,
    /// Capacities by PoP, and when clients are sent on.
    pub(crate) spill: SpillOptions,
    /// How hosts are spread over the edges of a PoP.
    pub(crate) inside: InsideOptions,
    /// The model of catchments.
    pub(crate) anycast: AnycastOptions,
    /// Every distribution, in the order written.
    pub(crate) hosts: Vec<Host>,
}

/// The longest time in which 80 % of networks hear of a withdrawal.
const CONVERGENCE_MAX: Duration = Duration::from_secs(600);

/// Weights and capacities beyond this are typing errors.
const NUMBER_MAX: f64 = 1e9;

pub(super) fn routing_of(file: &ClusterFile, pops: &[Place]) -> Result<RoutingPlan, KeyError> {
    let written = &file.router;
    let has_program = written.program.is_some();
    let policy = written.policy.as_deref().map(|name| policy_of("router.policy", name, has_program)).transpose()?;
    let default = if has_program { PolicyKind::Program } else { PolicyKind::default() };
    let bias = by_pop("router.bias", &written.bias, pops, |bias: i64| {
        let most = i64::from(BIAS_MAX);
        let fits = i8::try_from(bias).ok().filter(|_| (-most..=most).contains(&bias));
        fits.ok_or_else(|| format!("a bias is between -{most} and {most}"))
    })?;
    let weights = by_pop("router.weights", &written.weights, pops, |weight| {
        let is_one = (0.0..=NUMBER_MAX).contains(&weight);
        is_one.then_some(weight).ok_or_else(|| "a weight is 0 or more".to_owned())
    })?;
    let capacity = by_pop("router.capacity", &written.capacity, pops, |rps| {
        let is_one = rps > 0.0 && rps <= NUMBER_MAX;
        is_one.then_some(rps).ok_or_else(|| "a capacity is above 0 requests per second".to_owned())
    })?;
    let defaults = SpillOptions::default();
    let headroom = written.headroom.unwrap_or(defaults.headroom);
    if !(0.0..1.0).contains(&headroom) {
        return Err(KeyError::new("router.headroom", "a headroom is 0 or more, and below 1"));
    }
    let mut files = file.distributions.clone();
    if files.is_empty() {
        files.insert(DEMO.into(), DistributionFile::default());
    }
    let hosts: Result<Vec<Host>, KeyError> =
        files.iter().map(|(id, written)| host_of(id, written, pops, has_program)).collect();
    Ok(RoutingPlan {
        policy: policy.unwrap_or(default),
        bias,
        weights,
        spill: SpillOptions { capacity, headroom, ..defaults },
        inside: inside_of(file)?,
        anycast: anycast_of(file)?,
        hosts: hosts?,
    })
}

fn policy_of(key: &str, name: &str, has_program: bool) -> Result<PolicyKind, KeyError> {
    let named = name.parse();
    if named == Ok(PolicyKind::Program) && !has_program {
        return Err(KeyError::new(key, "there is no program").hint("[router] program = \"python3 router.py\""));
    }
    named.map_err(|_| {
        let hint = nearest_or_all(name, PolicyKind::ALL.map(PolicyKind::as_str));
        KeyError { hint, ..KeyError::new(key, format!("no policy {name:?}")) }
    })
}

/// The PoP of this world that `code` names.
fn pop_of(key: &str, code: &str, pops: &[Place]) -> Result<PopCode, KeyError> {
    let ours = || pops.iter().filter_map(Place::pop_code);
    let named = code.parse::<PopCode>().ok().filter(|code| ours().any(|ours| ours == *code));
    named.ok_or_else(|| {
        let names: Vec<String> = ours().map(|code| code.to_string()).collect();
        let hint = nearest_or_all(&code.to_ascii_uppercase(), names.iter().map(String::as_str));
        KeyError { hint, ..KeyError::new(key, format!("this world has no PoP {code:?}")) }
    })
}

/// A setting per PoP, each checked.
pub(super) fn by_pop<T: Copy, U>(
    key: &str,
    written: &IndexMap<String, T>,
    pops: &[Place],
    check: impl Fn(T) -> Result<U, String>,
) -> Result<BTreeMap<PopCode, U>, KeyError> {
    let one = |(code, &value): (&String, &T)| {
        let key = format!("{key}.{code}");
        let pop = pop_of(&key, code, pops)?;
        Ok((pop, check(value).map_err(|why| KeyError::new(&key, why))?))
    };
    written.iter().map(one).collect()
}

fn inside_of(file: &ClusterFile) -> Result<InsideOptions, KeyError> {
    let defaults = InsideOptions::default();
    let dispersion = file.router.dispersion.unwrap_or(defaults.dispersion);
    if dispersion == 0 {
        return Err(KeyError::new("router.dispersion", "it is at least 1"));
    }
    let load_bound = match file.router.load_bound {
        None => defaults.load_bound,
        Some(0.0) => None,
        Some(bound) if (1.0..=NUMBER_MAX).contains(&bound) => Some(bound),
        Some(_) => {
            return Err(KeyError::new("router.load_bound", "a bound is 1 or more times the mean, or 0 for none"));
        }
    };
    Ok(InsideOptions { dispersion, load_bound })
}

fn anycast_of(file: &ClusterFile) -> Result<AnycastOptions, KeyError> {
    let written = &file.router.anycast;
    let defaults = AnycastOptions::default();
    let options = AnycastOptions {
        detour_km: written.detour_km.unwrap_or(defaults.detour_km),
        remote_share: written.remote_share.unwrap_or(defaults.remote_share),
        convergence: written.convergence.map_or(defaults.convergence, |span| span.0),
    };
    if !(0.0..=40_000.0).contains(&options.detour_km) {
        return Err(KeyError::new("router.anycast.detour_km", "a detour is between 0 and 40000 km"));
    }
    if !(0.0..=1.0).contains(&options.remote_share) {
        return Err(KeyError::new("router.anycast.remote_share", "a share is between 0 and 1"));
    }
    if options.convergence > CONVERGENCE_MAX {
        let what = format!("{} is more than {}", Span(options.convergence), Span(CONVERGENCE_MAX));
        return Err(KeyError::new("router.anycast.convergence", what));
    }
    Ok(options)
}

fn host_of(id: &str, written: &DistributionFile, pops: &[Place], has_program: bool) -> Result<Host, KeyError> {
    let key = |field: &str| format!("distributions.{id}.{field}");
    let policy = written.routing.as_deref().map(|name| policy_of(&key("routing"), name, has_program)).transpose()?;
    let price_class = match written.price_class.as_deref() {
        Some(name) => name.parse().map_err(|_| {
            let hint = nearest_or_all(name, PriceClass::ALL.map(PriceClass::as_str));
            KeyError { hint, ..KeyError::new(&key("price_class"), format!("no price class {name:?}")) }
        })?,
        None => PriceClass::All,
    };
    let listed = written.pops.as_ref().map(|codes| {
        let all = codes.iter().enumerate();
        all.map(|(at, code)| pop_of(&key(&format!("pops.{at}")), code, pops)).collect::<Result<Vec<_>, _>>()
    });
    let host = Host { id: id.to_owned(), policy, pops: listed.transpose()?, price_class };
    if candidates(&host, pops).is_empty() {
        let field = if written.pops.is_some() { "pops" } else { "price_class" };
        let here = pops.iter().filter_map(Place::pop_code).map(|code| code.to_string()).collect::<Vec<_>>().join(", ");
        return Err(KeyError::new(&key(field), "no PoP is left that may serve this distribution")
            .hint(format!("this world has {here}")));
    }
    Ok(host)
}

/// The PoPs that may serve a distribution.
pub(crate) fn candidates(host: &Host, pops: &[Place]) -> Vec<PopCode> {
    let all = pops.iter().filter_map(|place| Some((place.pop_code()?, place.country.as_str())));
    all.filter(|(code, country)| host.rejects(*code, country).is_none()).map(|(code, _)| code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Cluster, Inputs},
        diagnose::{Source, read_cluster},
    };

    fn plan(text: &str) -> Result<RoutingPlan, String> {
        let source = Source { name: "cluster.toml".into(), text: text.into() };
        let file = read_cluster(&source).map_err(|complaint| complaint.to_string())?;
        let checked = Cluster::check(&file, &Inputs::default());
        checked.map(|cluster| cluster.routing).map_err(|error| format!("{}: {error}", error.key.join(".")))
    }

    #[test]
    fn settings_of_policies_are_read_by_pop() {
        let plan = plan(
            "[router]\npolicy = \"geoproximity\"\nheadroom = 0.2\ndispersion = 2\nload_bound = 0.0\n[router.bias]\nfra = 25\nIAD = -99\n\
             [router.weights]\nNRT = 0\n[router.capacity]\nFRA = 500\n[router.anycast]\nconvergence = \"3s\"\n",
        )
        .unwrap();
        let code = |code: &str| code.parse::<PopCode>().unwrap();
        assert_eq!(plan.policy, PolicyKind::Geoproximity);
        assert_eq!(plan.bias, BTreeMap::from([(code("FRA"), 25), (code("IAD"), -99)]));
        assert_eq!((plan.weights[&code("NRT")], plan.spill.capacity[&code("FRA")]), (0.0, 500.0));
        assert_eq!((plan.spill.headroom, plan.anycast.convergence), (0.2, Duration::from_secs(3)));
        assert_eq!(plan.hosts, [Host::new("demo")]);
        assert_eq!(plan.inside, InsideOptions { dispersion: 2, load_bound: None });
    }

    #[test]
    fn a_program_routes_unless_something_else_is_said() {
        let policy = |text: &str| plan(text).map(|plan| plan.policy);
        assert_eq!(policy("[router]\nprogram = \"python3 router.py\"\n"), Ok(PolicyKind::Program));
        let beside =
            plan("[router]\nprogram = \"x\"\npolicy = \"geo\"\n[distributions.a]\nrouting = \"program\"\n").unwrap();
        assert_eq!((beside.policy, beside.hosts[0].policy), (PolicyKind::Nearest, Some(PolicyKind::Program)));
    }

    #[test]
    fn distributions_narrow_their_pops() {
        let plan = plan(
            "[distributions.a]\nrouting = \"round-robin\"\nprice_class = \"PriceClass_100\"\n\
             [distributions.b]\npops = [\"nrt\", \"SIN\"]\n",
        )
        .unwrap();
        assert_eq!(plan.hosts[0].policy, Some(PolicyKind::RoundRobin));
        assert_eq!(plan.hosts[0].price_class, PriceClass::Class100);
        assert_eq!(plan.hosts[1].pops.as_ref().unwrap().len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_nearest_name() {
        for (text, expected) in [
            (
                "[router]\npolicy = \"round_robin\"\n",
                "router.policy: no policy \"round_robin\"; did you mean `round-robin`?",
            ),
            ("[router]\npolicy = \"program\"\n", "router.policy: there is no program; [router] program = "),
            ("[router]\nprogram = \" \"\n", "router.program: it is empty"),
            ("[router]\nprogram = \"x\"\nprogram_deadline = \"1h\"\n", "router.program_deadline: 60m is not between"),
            ("[router.bias]\nFRB = 1\n", "router.bias.FRB: this world has no PoP \"FRB\"; did you mean `FRA`?"),
            ("[router.bias]\nFRA = 100\n", "router.bias.FRA: a bias is between -99 and 99"),
            ("[router.weights]\nFRA = -1\n", "router.weights.FRA: a weight is 0 or more"),
            ("[router.weights]\nFRA = nan\n", "router.weights.FRA: a weight is 0 or more"),
            ("[router.capacity]\nFRA = 0\n", "router.capacity.FRA: a capacity is above 0 requests per second"),
            ("[router]\nheadroom = 1.0\n", "router.headroom: a headroom is 0 or more, and below 1"),
            ("[router]\ndispersion = 0\n", "router.dispersion: it is at least 1"),
            ("[router]\nload_bound = 0.9\n", "router.load_bound: a bound is 1 or more times the mean, or 0 for none"),
            ("[router.anycast]\nremote_share = 2\n", "router.anycast.remote_share: a share is between 0 and 1"),
            ("[router.anycast]\nconvergence = \"1h\"\n", "router.anycast.convergence: "),
            (
                "[distributions.a]\nrouting = \"geos\"\n",
                "distributions.a.routing: no policy \"geos\"; did you mean `geo`?",
            ),
            ("[distributions.a]\nprice_class = \"PriceClass_10\"\n", "distributions.a.price_class: no price class"),
            ("[distributions.a]\npops = []\n", "distributions.a.pops: no PoP is left"),
            ("[distributions.a]\npops = [\"IAD\", \"LHR\"]\n", "distributions.a.pops.1: this world has no PoP \"LHR\""),
            (
                "pops = [\"GRU\"]\n[distributions.a]\nprice_class = \"PriceClass_200\"\n",
                "distributions.a.price_class: no PoP is left that may serve this distribution; this world has GRU",
            ),
        ] {
            let error = plan(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
