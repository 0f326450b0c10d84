//! What was typed about studies.

mod anycast;
mod balance;
mod collapse;
mod estimates;
mod mapping;
mod plot;
mod retries;
mod rows;
mod runs;
mod subnets;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use self::{
    anycast::ANYCAST_EXAMPLES, balance::BALANCE_EXAMPLES, collapse::COLLAPSE_EXAMPLES, estimates::ESTIMATES_EXAMPLES,
    mapping::MAPPING_EXAMPLES, plot::PLOT_EXAMPLES, retries::RETRIES_EXAMPLES, subnets::SUBNETS_EXAMPLES,
};
pub(crate) use self::{
    anycast::AnycastArgs,
    balance::{BalanceArgs, Shape},
    collapse::CollapseArgs,
    estimates::EstimatesArgs,
    mapping::MappingArgs,
    plot::{AxisName, PlotArgs},
    retries::RetriesArgs,
    rows::{Outputs, RowsArgs},
    runs::{RunsArgs, thread_count},
    subnets::SubnetsArgs,
};
use crate::quantity::{ByteCount, Share, Span};

pub(super) const STUDY_EXAMPLES: &str = "\
Examples:
  iso study routing --preset world-18
  iso study failover --kill IAD --ttl 20s,60s,5m
  iso study cache --policy all --size 0.1%,1%,10%
  iso study run plan.toml --out rows.csv";

const ROUTING_EXAMPLES: &str = "\
Examples:
  iso study routing                                         five ways to an edge, the six PoPs of iso up
  iso study routing --preset world-18 --kill FRA@30s        and how long each takes to come back
  iso study routing --resolver frankfurt --ecs off          everybody asks one far resolver
  iso study routing --cities 100 --router 'python3 router.py'   a policy of your own beside them
  iso study routing --preset cloudfront --seeds 20 --csv routing.csv --html routing.html";

const SITES_EXAMPLES: &str = "\
Examples:
  iso study sites --preset world-6 --add 3       which three PoPs to add, and what users gain
  iso study sites --sites 1,2,5,10,20,50,100     latency against the number of PoPs
  iso study sites --pops FRA,LHR,CDG             a list of your own, one after the other";

const FAILOVER_EXAMPLES: &str = "\
Examples:
  iso study failover                                   FRA dies: DNS, anycast and both, three TTLs
  iso study failover --probe-interval 10s --retry-interval 10s --down-after 1,3   probes that take their time
  iso study failover --kill IAD --ttl 20s,60s,5m --stretch 9%@5m
  iso study failover --probe-interval 500ms,1s,5s --seeds 20 --csv failover.csv";

const CACHE_EXAMPLES: &str = "\
Examples:
  iso study cache                                            four policies at 1 % and 10 % of a catalogue
  iso study cache --policy all --size 0.1%,1%,10% --workload zipf:1.0:1000000
  iso study cache --policy lru --edges 20 --shield off,10%   what a shield is worth
  iso study cache --policy lru --admission all,by-size --size-decades 9 --workload zipf:0.9:10000
  iso study cache --policy lru,sieve,gdsf --workload class:v-1 --size 10GB,100GB
  iso study cache --policy lru,sieve --workload trace:requests.csv,class:w-1 --size 1%,10%";

const SWEEP_EXAMPLES: &str = "\
A plan is a TOML file: study (routing, sites, failover, cache, mapping, subnets, anycast, estimates, collapse, balance or
retries), [set] with its flags, and [sweep] with lists of them, of which all combinations are run:
  study = \"failover\"
  [set]
  cities = 200
  seeds = 20
  [sweep]
  ttl = [\"20s\", \"60s\", \"5m\"]
  policies = [\"latency\", \"anycast\"]

Examples:
  iso study run plan.toml --out rows.csv
  iso study run plan.toml --out rows.csv --resume            after Ctrl-C, or a power cut
  iso study run plan.toml --out 2.csv --shard 2/8            one of eight jobs
  iso study merge ?.csv --out rows.csv
  iso study merge ?.csv --out rows.parquet                   for tools that read tables: columns with types";

const MERGE_EXAMPLES: &str = "\
Examples:
  iso study merge ?.csv --out rows.csv
  iso study merge 1.parquet 2.parquet --out rows.parquet";

const REPLAY_EXAMPLES: &str = "\
Examples:
  iso study replay --trace web.oracleGeneral.bin --policy lru,sieve,s3-fifo --size 1GiB,10GiB
  iso study replay --trace requests.csv --policy all --size 64MiB --json
  zstd -dc web.oracleGeneral.zst | iso study replay --trace - --format oracleGeneral --policy lru --size 1GiB";

#[derive(Debug, Subcommand)]
pub(crate) enum StudyVerb {
    /// Send the same clients to edges by one routing policy after the other, and compare what they see.
    #[command(after_help = ROUTING_EXAMPLES)]
    Routing(RoutingArgs),
    /// Latency against the number and the choice of PoPs.
    #[command(after_help = SITES_EXAMPLES)]
    Sites(SitesArgs),
    /// What the death of a PoP costs, by policy, TTL and probe interval, and what closed forms say beside.
    #[command(after_help = FAILOVER_EXAMPLES)]
    Failover(FailoverArgs),
    /// Hit ratios of eviction policies and admission rules by size, with a shield or without, and what closed forms say beside.
    #[command(after_help = CACHE_EXAMPLES)]
    Cache(CacheStudyArgs),
    /// Whose round trip decides to which site a client is sent: the resolver's, its clients', or the client's own.
    #[command(after_help = MAPPING_EXAMPLES)]
    Mapping(MappingArgs),
    /// How many more questions reach a name server when resolvers send client subnets, by popularity of the name.
    #[command(after_help = SUBNETS_EXAMPLES)]
    Subnets(SubnetsArgs),
    /// How much slower anycast is than the best of some unicast sites, and whether yesterday's measurements choose better.
    #[command(after_help = ANYCAST_EXAMPLES)]
    Anycast(AnycastArgs),
    /// A path becomes slower for hours: whether the router's estimate follows, and how often its routing changes.
    #[command(after_help = ESTIMATES_EXAMPLES)]
    Estimates(EstimatesArgs),
    /// What the end of an object's life costs: fetches and waiting, with collapsing and early expiry or without.
    #[command(after_help = COLLAPSE_EXAMPLES)]
    Collapse(CollapseArgs),
    /// Latency and errors by load under balancing policies, beside antagonists, with the limit formula where it holds.
    #[command(after_help = BALANCE_EXAMPLES)]
    Balance(BalanceArgs),
    /// The highest load that recovers from a cut, by retries, retry budget and load shedding.
    #[command(after_help = RETRIES_EXAMPLES)]
    Retries(RetriesArgs),
    /// Run a plan: a study over all combinations of ranges, several at a time.
    #[command(after_help = SWEEP_EXAMPLES)]
    Run(SweepArgs),
    /// Put the shards of a plan together.
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Draw rows: curves with 95 % intervals over seeds, as SVG or PNG.
    #[command(after_help = PLOT_EXAMPLES)]
    Plot(PlotArgs),
    /// Replay a trace of requests through caches, one per policy and size, and count what they miss.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
}

/// Which PoPs and cities a study is about.
#[derive(Debug, Args)]
pub(crate) struct GroundArgs {
    /// PoPs by metro code, comma separated.
    #[arg(long, value_name = "CODES", value_delimiter = ',', conflicts_with = "preset")]
    pub(crate) pops: Vec<String>,
    /// A named set of PoPs: tiny, world-6, lab-12, world-18, world-36; or the footprint of a CDN: cloudfront, cloudflare, google,
    /// fastly; or all.
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// Cities, those with the most users first.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) cities: usize,
    /// Seed of everything random, the world's noise among it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Repeat with so many seeds, from --seed on, for means with 95 % intervals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: u32,
    /// Threads; by default one per core. The result does not depend on it.
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Write one page that needs nothing else: table, curves, maps.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl GroundArgs {
    pub(crate) fn outputs(&self) -> Outputs<'_> {
        Outputs { threads: self.threads, rows: &self.rows, html: self.html.as_deref() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RoutingArgs {
    #[command(flatten)]
    pub(crate) ground: GroundArgs,
    /// Routing policies, comma separated, or all; origin-only has no edges, program:COMMAND is one of your own.
    #[arg(
        long,
        value_name = "POLICIES",
        value_delimiter = ',',
        default_values_t = ["latency", "geo", "anycast", "random", "origin-only"].map(str::to_owned)
    )]
    pub(crate) policies: Vec<String>,
    /// A routing policy of your own beside them: a program that is asked line by line (docs/policies.md). May be repeated.
    #[arg(long = "router", value_name = "COMMAND")]
    pub(crate) routers: Vec<String>,
    /// Clients; each lives in a city, as many of them as it has users, with a last mile of its own.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) clients: u32,
    /// Requests of each policy and seed.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) requests: u64,
    /// How long requests are counted.
    #[arg(long = "for", value_name = "DURATION", default_value = "2m")]
    pub(crate) span: Span,
    /// How long routers learn before that.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub(crate) warmup: Span,
    /// Where the origin and the router stand.
    #[arg(long, value_name = "PLACE", default_value = "us-east-1")]
    pub(crate) origin: String,
    /// One resolver for many clients, far from most; without it each has one in its city.
    #[arg(long, value_name = "PLACE")]
    pub(crate) resolver: Option<String>,
    /// The share of clients behind that resolver.
    #[arg(long, value_name = "SHARE", default_value = "100%", requires = "resolver")]
    pub(crate) resolver_share: Share,
    /// Whether resolvers send the client subnet (RFC 7871).
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) ecs: Switch,
    /// How long resolvers may keep an answer.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) ttl: Span,
    /// Resolvers that keep answers longer, as SHARE@DURATION: 9%@5m.
    #[arg(long, value_name = "SHARE@DURATION")]
    pub(crate) stretch: Option<String>,
    /// A PoP that falls silent, and when: FRA@30s.
    #[arg(long, value_name = "POP@T")]
    pub(crate) kill: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct SitesArgs {
    #[command(flatten)]
    pub(crate) ground: GroundArgs,
    /// Keep the PoPs given, and choose so many more, each the one that takes most off the mean.
    #[arg(long, value_name = "N", conflicts_with = "sites")]
    pub(crate) add: Option<usize>,
    /// Numbers of PoPs to show, comma separated: in random orders (as many as --seeds) and greedily.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) sites: Vec<usize>,
    /// Whom more PoPs are chosen from: a named set or a footprint, as --preset.
    #[arg(long, value_name = "NAME", default_value = "all")]
    pub(crate) from: String,
}

#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    pub(crate) ground: GroundArgs,
    /// The PoP that falls silent.
    #[arg(long, value_name = "POP", default_value = "FRA")]
    pub(crate) kill: String,
    /// Routing policies, comma separated: latency stands for DNS, anycast for routes, hybrid for both: answers by latency, and
    /// a prefix below that all PoPs announce.
    #[arg(
        long,
        value_name = "POLICIES",
        value_delimiter = ',',
        default_values_t = ["latency", "anycast", "hybrid"].map(str::to_owned)
    )]
    pub(crate) policies: Vec<String>,
    /// How long resolvers may keep an answer, comma separated.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', default_value = "20s,60s,5m")]
    pub(crate) ttl: Vec<Span>,
    /// Time between two probes of an edge, comma separated.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', default_value = "1s")]
    pub(crate) probe_interval: Vec<Span>,
    /// Probes in a row that must fail before an edge counts as down, comma separated.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "14")]
    pub(crate) down_after: Vec<u32>,
    /// Time between two probes once one has failed.
    #[arg(long, value_name = "DURATION", default_value = "60ms")]
    pub(crate) retry_interval: Span,
    /// Addresses per answer, each in another PoP.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) answers: usize,
    /// Resolvers that keep answers longer, as SHARE@DURATION: 9%@5m.
    #[arg(long, value_name = "SHARE@DURATION")]
    pub(crate) stretch: Option<String>,
    /// Clients.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) clients: u32,
    /// Requests per second.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) rps: u64,
    /// What a row of --csv is about: a run, or each second after the death.
    #[arg(long, value_enum, default_value_t = RowOf::Run)]
    pub(crate) rows: RowOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowOf {
    Run,
    Second,
}

#[derive(Debug, Args)]
pub(crate) struct CacheStudyArgs {
    /// Eviction policies, comma separated, or all; wasm:FILE is one of your own (docs/policies.md).
    #[arg(
        long = "policy",
        value_name = "POLICY",
        value_delimiter = ',',
        default_values_t = ["lru", "fifo", "sieve", "s3-fifo"].map(str::to_owned)
    )]
    pub(crate) policies: Vec<String>,
    /// Objects that fit into each edge, comma separated: a number, or a share of the catalogue. Bytes where sizes differ.
    #[arg(long = "size", value_name = "OBJECTS", value_delimiter = ',', default_values_t = ["1%", "10%"].map(str::to_owned))]
    pub(crate) sizes: Vec<String>,
    /// Objects that fit into the shield, comma separated, or off.
    #[arg(long = "shield", value_name = "OBJECTS", value_delimiter = ',', default_values_t = ["off".to_owned()])]
    pub(crate) shields: Vec<String>,
    /// Who is let in, comma separated: all, second-request (as stores can be told to), by-size (the small rather than the large,
    /// as AdaptSize does).
    #[arg(long, value_name = "RULES", value_delimiter = ',', default_values_t = ["all".to_owned()])]
    pub(crate) admission: Vec<String>,
    /// Sizes of objects over so many decades from one byte on, as many objects in each; 0 for one size.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) size_decades: u32,
    /// For how long a response is fresh, comma separated, or off for ever.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', default_values_t = ["off".to_owned()])]
    pub(crate) ttl: Vec<String>,
    /// Requests per second of all viewers, which is what a TTL is measured by; a trace has its own times.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000.0)]
    pub(crate) rps: f64,
    /// Edges, among which requests are spread by chance.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) edges: u32,
    /// What is asked for, comma separated: zipf:S:N, an exponent and a number of objects; class:NAME[:N], with the exponent
    /// and the sizes of a class of traffic: w-1, w-2, w (web), v-1, v-2, v (video), d-1, d-2 (download), eu, tc, tc-0 to tc-3
    /// (mixed); or trace:FILE, as `iso study replay` reads it.
    #[arg(
        long = "workload",
        value_name = "WORKLOADS",
        value_delimiter = ',',
        default_values_t = ["zipf:0.8:100000".to_owned()]
    )]
    pub(crate) workloads: Vec<String>,
    /// Requests that are counted; by default 1000000, and all of a trace.
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Requests before that; by default as many, or four times what fits into all edges if that is more; none of a trace.
    #[arg(long, value_name = "N")]
    pub(crate) warmup: Option<u64>,
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// Where the rows go, as CSV; as Parquet where the name ends in .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Go on where a stopped sweep ended.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Do a part of it: the Ith of N, from 1.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<String>,
    /// Refuse a plan with more runs than this.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) max_runs: usize,
    /// Threads; by default one per core. The rows do not depend on it.
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Files that `iso study run` wrote, of one plan.
    #[arg(value_name = "FILES", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where all rows go, as CSV; as Parquet where the name ends in .parquet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Leave out files that are damaged, and runs that are missing.
    #[arg(long)]
    pub(crate) allow_missing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A trace: oracleGeneral (records of 24 bytes) or CSV (time,id,size), also compressed as .gz; - is stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: PathBuf,
    /// The trace's format, where its name does not say it: oracleGeneral or csv.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Eviction policies, comma separated, or all; wasm:FILE is one of your own (docs/policies.md).
    #[arg(long = "policy", value_name = "POLICY", value_delimiter = ',', required = true)]
    pub(crate) policies: Vec<String>,
    /// Bytes of the cache, comma separated, as 64MiB or 1GiB.
    #[arg(long = "size", value_name = "BYTES", value_delimiter = ',', required = true)]
    pub(crate) sizes: Vec<ByteCount>,
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
}
