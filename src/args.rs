//! What was typed: the command line by clap, unchecked beyond its types.

mod cloudfront;
mod examples;
mod explain;
mod functions;
mod lab;
mod manifest;
mod manual;
mod run_policy;
mod sign;
mod stand;
mod study;
mod swarm;

use std::{io::Write as _, path::PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, parser::ValueSource};

use self::{
    cloudfront::{DIFF_EXAMPLES, IMPORT_EXAMPLES},
    explain::{EXPLAIN_CACHE_EXAMPLES, EXPLAIN_ORIGIN_EXAMPLES},
    functions::FUNCTIONS_EXAMPLES,
    lab::LAB_EXAMPLES,
    manifest::EXPORT_EXAMPLES,
    sign::{KEYS_EXAMPLES, SIGN_EXAMPLES},
    stand::BROWSE_EXAMPLES,
    study::STUDY_EXAMPLES,
    swarm::SWARM_EXAMPLES,
};
pub(crate) use self::{
    cloudfront::{DiffArgs, ExportArgs, ExportVerb, ImportArgs, ImportOptions, ImportVerb},
    explain::ExplainRequestArgs,
    functions::{FunctionsVerb, TestFunctionArgs},
    lab::{LabGradeArgs, LabStartArgs, LabSubmitArgs, LabTestArgs, LabVerb},
    manifest::ManifestArgs,
    manual::ManArgs,
    run_policy::RunPolicyArgs,
    sign::{AddKeyArgs, ExplainSignArgs, HashArg, KeysVerb, NewKeyArgs, RemoveKeyArgs, SignArgs, SignVerb},
    stand::{BrowseArgs, CurlArgs, DigArgs, InArgs, LoadArgs},
    study::{
        AnycastArgs, AxisName, BalanceArgs, CacheStudyArgs, CollapseArgs, EstimatesArgs, FailoverArgs, GroundArgs,
        MappingArgs, MergeArgs, Outputs, PlotArgs, ReplayArgs, RetriesArgs, RoutingArgs, RowOf, RowsArgs, Shape,
        SitesArgs, StudyVerb, SubnetsArgs, SweepArgs, Switch,
    },
    swarm::{ChaosSwarmArgs, SimArgs},
};
use crate::{
    quantity::{Share, Span},
    talk::error_document,
};

/// The version, and the commit that was built.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ISO_COMMIT"), ")");

/// A global CDN on one machine: real edges, routers and origins, with the latency of the real world between them.
#[derive(Debug, Parser)]
#[command(name = "iso", version, long_version = VERSION, args_override_self = true, after_help = examples::ISO, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    /// Which world: several can run side by side.
    #[arg(long, global = true, value_name = "NAME", default_value = "default", env = "ISO_WORLD")]
    pub(crate) world: String,
    /// Whether the world was named, rather than left to be the default.
    #[arg(skip)]
    pub(crate) world_is_named: bool,
    /// One JSON document on stdout (a stream is one document per line).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour on the terminal.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a world and stay in the foreground; Ctrl-C drains and stops, twice stops at once.
    #[command(after_help = examples::UP)]
    Up(UpArgs),
    /// Stop a world.
    #[command(after_help = examples::DOWN)]
    Down,
    /// Nodes, their health, and what is broken at the moment.
    #[command(after_help = examples::STATUS)]
    Status,
    /// Logs of nodes.
    #[command(after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// Wait until a world is healthy.
    #[command(after_help = examples::WAIT)]
    Wait(WaitArgs),
    /// Say what is wrong with this machine or this world, and measure every link.
    #[command(after_help = examples::DOCTOR)]
    Doctor,
    /// Open the dashboard in a browser.
    #[command(after_help = examples::OPEN)]
    Open,
    /// The system's curl, standing in a place.
    #[command(after_help = examples::CURL)]
    Curl(CurlArgs),
    /// Resolve a name from a place.
    #[command(after_help = examples::DIG)]
    Dig(DigArgs),
    /// Print the address of the forward proxy; its user name chooses the place.
    #[command(after_help = examples::PROXY)]
    Proxy,
    /// Run a command whose HTTP goes through a place.
    #[command(after_help = examples::IN)]
    In(InArgs),
    /// Open a browser that stands in a place: Chromium with a profile of its own, which goes with it.
    #[command(after_help = BROWSE_EXAMPLES)]
    Browse(BrowseArgs),
    /// Make requests from the world's cities, open loop, and say how long they took.
    #[command(after_help = examples::LOAD)]
    Load(LoadArgs),
    /// Kill nodes (SIGKILL); a PoP code stands for its edges.
    #[command(after_help = examples::KILL)]
    Kill(NodeArgs),
    /// Start nodes that were killed.
    #[command(after_help = examples::START)]
    Start(TargetArgs),
    /// Stop nodes in their tracks (SIGSTOP).
    #[command(after_help = examples::PAUSE)]
    Pause(NodeArgs),
    /// Let paused nodes go on (SIGCONT).
    #[command(after_help = examples::RESUME)]
    Resume(TargetArgs),
    /// Make an origin or a node misbehave.
    #[command(after_help = examples::FAULT)]
    Fault(FaultArgs),
    /// Change the link between two sites.
    #[command(after_help = examples::LINK)]
    Link(LinkArgs),
    /// Undo faults.
    #[command(after_help = examples::HEAL)]
    Heal(HealArgs),
    /// Take a PoP out of the routers' answers; what it is doing, it finishes.
    #[command(after_help = examples::DRAIN)]
    Drain(PopArgs),
    /// Put a PoP back into the routers' answers.
    #[command(after_help = examples::UNDRAIN)]
    Undrain(PopArgs),
    /// Show by which policy clients are routed, or switch it while the world runs.
    #[command(after_help = examples::ROUTE)]
    Route(RouteArgs),
    /// Say why, without side effects.
    #[command(subcommand, after_help = examples::EXPLAIN)]
    Explain(Explain),
    /// Remove objects from every cache.
    #[command(after_help = examples::INVALIDATE)]
    Invalidate(InvalidateArgs),
    /// Look into the caches.
    #[command(subcommand, after_help = examples::CACHE)]
    Cache(CacheVerb),
    /// Play scenarios: load, a timeline of faults, and expectations that are held or missed.
    #[command(subcommand, after_help = examples::CHAOS)]
    Chaos(ChaosVerb),
    /// A random failure for the running world, and a grade for how it took it.
    #[command(after_help = examples::DRILL)]
    Drill(DrillArgs),
    /// The world itself: places and distances.
    #[command(name = "world", subcommand, after_help = examples::WORLD)]
    WorldVerb(WorldVerb),
    /// Studies in virtual time: nothing runs, no world is needed.
    #[command(subcommand, after_help = STUDY_EXAMPLES)]
    Study(StudyVerb),
    /// Exercises with a score: write a router, test it, hand it in, grade a class.
    #[command(subcommand, after_help = LAB_EXAMPLES)]
    Lab(LabVerb),
    /// Bring in a distribution that there is already.
    #[command(subcommand, after_help = IMPORT_EXAMPLES)]
    Import(ImportVerb),
    /// Write a world, or a distribution of it, in the format of others.
    #[command(subcommand, after_help = EXPORT_EXAMPLES)]
    Export(ExportVerb),
    /// Check, write and describe cluster files.
    #[command(subcommand, after_help = examples::CONFIG)]
    Config(ConfigVerb),
    /// Key pairs for signed URLs and cookies.
    #[command(subcommand, after_help = KEYS_EXAMPLES)]
    Keys(KeysVerb),
    /// Sign a URL, or make signed cookies, as the owner of an app would.
    #[command(subcommand, after_help = SIGN_EXAMPLES)]
    Sign(SignVerb),
    /// Viewer functions, which are CloudFront Functions: try one on its own.
    #[command(subcommand, after_help = FUNCTIONS_EXAMPLES)]
    Functions(FunctionsVerb),
    /// Have this machine trust the world's certificates, so that a browser does; nothing else ever touches a trust store.
    #[command(after_help = examples::TRUST)]
    Trust(TrustArgs),
    /// Take that back.
    #[command(after_help = examples::UNTRUST)]
    Untrust(TrustArgs),
    /// Completions for a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// The manual, in roff.
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
    /// What `up` starts: one node, its config on stdin.
    #[command(hide = true)]
    Node(NodeProcessArgs),
    /// What routers and studies start: a policy program, within limits.
    #[command(name = "run-policy", hide = true)]
    RunPolicy(RunPolicyArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpArgs {
    /// A cluster file; without one, and without ./cluster.toml being named, the built-in world.
    #[arg(long, value_name = "FILE", env = "ISO_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// A distribution in CloudFront's own format, instead of the demo site or beside those of the cluster file.
    #[arg(long, value_name = "FILE")]
    pub(crate) import: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) import_options: ImportOptions,
    /// PoPs by metro code, comma separated, one edge each.
    #[arg(long, value_name = "CODES", value_delimiter = ',', env = "ISO_POPS", conflicts_with = "preset")]
    pub(crate) pops: Vec<String>,
    /// A named set of PoPs: tiny, world-6, lab-12, world-18, world-36.
    #[arg(long, value_name = "NAME", env = "ISO_PRESET")]
    pub(crate) preset: Option<String>,
    /// An origin: ID=URL@SITE for your own app, ID=./DIR@SITE for a directory, ID=sim@SITE for a simulated one.
    #[arg(long = "origin", value_name = "ID=WHAT@SITE")]
    pub(crate) origins: Vec<String>,
    /// An origin group: the primary and the secondary.
    #[arg(long, value_name = "A,B")]
    pub(crate) failover: Option<String>,
    /// Cache policy of the default behavior.
    #[arg(long, value_name = "POLICY")]
    pub(crate) cache: Option<String>,
    /// One more name for the demo distribution.
    #[arg(long = "host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// PoP of the shield, or none.
    #[arg(long, value_name = "POP")]
    pub(crate) shield: Option<String>,
    /// A routing policy of your own: a program that is asked line by line on its stdin. See docs/policies.md.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) router: Option<String>,
    /// Seed of everything random.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// First port of the block of ports; 0 takes any free block.
    #[arg(long, value_name = "N", env = "ISO_BASE_PORT")]
    pub(crate) base_port: Option<u16>,
    /// Go to the background.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// With -d: return once every link has been measured and every node is healthy.
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: how long to wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "wait")]
    pub(crate) timeout: Option<Span>,
    /// The background process itself.
    #[arg(long, hide = true)]
    pub(crate) daemon: bool,
    /// With --daemon: the end of stdin is the end of whoever wanted this world, and nothing of it is to be left.
    #[arg(long, hide = true, requires = "daemon")]
    pub(crate) tied: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// One node, such as edge.iad; all without it.
    pub(crate) node: Option<String>,
    /// Keep printing as lines come.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Lines to begin with.
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES")]
    pub(crate) tail: usize,
    /// Records of a distribution's real-time log ([log.realtime.ID]), as they come.
    #[arg(long, value_name = "DISTRIBUTION", conflicts_with = "tail")]
    pub(crate) realtime: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// What to wait for.
    #[arg(long = "for", value_enum, default_value = "healthy")]
    pub(crate) until: WaitFor,
    /// How long to wait.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    pub(crate) timeout: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// Every node up that was not stopped on purpose, and every link measured.
    Healthy,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Only say which commands do it.
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Node ids or PoP codes.
    #[arg(required = true, value_name = "NODE|POP")]
    pub(crate) targets: Vec<String>,
    /// Undone by itself after this time.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) span: Option<Span>,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Node ids or PoP codes.
    #[arg(required = true, value_name = "NODE|POP")]
    pub(crate) targets: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).multiple(true))]
pub(crate) struct FaultArgs {
    /// An origin or a node.
    #[arg(value_name = "ORIGIN|NODE")]
    pub(crate) target: String,
    /// Answer with this status.
    #[arg(long, value_name = "N", group = "how")]
    pub(crate) status: Option<u16>,
    /// Share of requests that it concerns, as 30% or 0.3.
    #[arg(long, value_name = "P")]
    pub(crate) rate: Option<Share>,
    /// Answer later by this time.
    #[arg(long, value_name = "DURATION", group = "how")]
    pub(crate) latency: Option<Span>,
    /// Refuse connections.
    #[arg(long, group = "how")]
    pub(crate) refuse: bool,
    /// Reset connections.
    #[arg(long, group = "how")]
    pub(crate) reset: bool,
    /// Say nothing at all, not even to a connection attempt.
    #[arg(long, group = "how")]
    pub(crate) blackhole: bool,
    /// End bodies too early.
    #[arg(long, group = "how")]
    pub(crate) truncate: bool,
    /// Stop in the middle of a body.
    #[arg(long, group = "how")]
    pub(crate) stall: bool,
    /// Answer with what is not HTTP.
    #[arg(long, group = "how")]
    pub(crate) garbage: bool,
    /// Answer at this many bits per second.
    #[arg(long, value_name = "BPS", group = "how", value_parser = parse_bps)]
    pub(crate) throttle: Option<u64>,
    /// Have a clock that is ahead by this time: what arrives is older than it is, signatures end too early.
    #[arg(long, value_name = "DURATION", group = "how", conflicts_with = "clock_behind")]
    pub(crate) clock_ahead: Option<Span>,
    /// Have a clock that is behind by this time.
    #[arg(long, value_name = "DURATION", group = "how")]
    pub(crate) clock_behind: Option<Span>,
    /// Have no room for logs: their lines are lost.
    #[arg(long, group = "how")]
    pub(crate) logs_full: bool,
    /// Only for paths like this, with * and ? as wildcards.
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Option<String>,
    /// Only for what comes from this site.
    #[arg(long, value_name = "SITE")]
    pub(crate) from: Option<String>,
    /// Ends by itself after this time.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) span: Option<Span>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).multiple(true))]
pub(crate) struct LinkArgs {
    /// One site: a PoP, a region, a city or a node.
    pub(crate) a: String,
    /// The other site.
    pub(crate) b: String,
    /// One-way delay that comes on top, as +80ms.
    #[arg(long, value_name = "+D", group = "how")]
    pub(crate) delay: Option<Span>,
    /// Share of packets lost, as 5% or 0.05.
    #[arg(long, value_name = "P", group = "how")]
    pub(crate) loss: Option<Share>,
    /// Bits per second, as 10M.
    #[arg(long, value_name = "BPS", group = "how", value_parser = parse_bps)]
    pub(crate) throttle: Option<u64>,
    /// Nothing passes: a black hole.
    #[arg(long, group = "how")]
    pub(crate) partition: bool,
    /// Only from the first site to the second.
    #[arg(long)]
    pub(crate) one_way: bool,
    /// Ends by itself after this time.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) span: Option<Span>,
}

#[derive(Debug, Args)]
pub(crate) struct HealArgs {
    /// What to heal: a node, an origin, a PoP or all.
    #[arg(default_value = "all", value_name = "all|TARGET")]
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct PopArgs {
    /// PoP codes.
    #[arg(required = true, value_name = "POP")]
    pub(crate) pops: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<RouteVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteVerb {
    /// Route by another policy, at every router.
    #[command(after_help = examples::ROUTE_POLICY)]
    Policy {
        /// latency, geo, geoproximity, anycast, weighted, random, round-robin or static; for one distribution also
        /// default, which is the world's.
        name: String,
        /// Only this distribution, by id or host name; without it, all that have no policy of their own.
        #[arg(long, value_name = "ID")]
        distribution: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Why this edge: candidates, estimates, health, load, and the reason each was kept or rejected.
    #[command(after_help = examples::EXPLAIN_ROUTE)]
    Route(ExplainRouteArgs),
    /// What the caches on a request's way would answer: the key, what is stored under it, and for how long.
    #[command(after_help = EXPLAIN_CACHE_EXAMPLES)]
    Cache(ExplainRequestArgs),
    /// Which origins would be asked, with what, how often, and how long that may take.
    #[command(after_help = EXPLAIN_ORIGIN_EXAMPLES)]
    Origin(ExplainRequestArgs),
    /// Why a signed URL or signed cookies pass, or the first check that fails, with both sides of the comparison.
    #[command(after_help = examples::EXPLAIN_SIGN)]
    Sign(ExplainSignArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainRouteArgs {
    /// A city, a PoP code or a region.
    #[arg(long, value_name = "PLACE", required_unless_present = "replay")]
    pub(crate) from: Option<String>,
    /// Where the resolver stands.
    #[arg(long, value_name = "PLACE")]
    pub(crate) resolver: Option<String>,
    /// The resolver does not send the client subnet.
    #[arg(long)]
    pub(crate) no_ecs: bool,
    /// Suppose something without doing it: drain=FRA. Can be given several times.
    #[arg(long, value_name = "WHAT", value_parser = parse_what_if)]
    pub(crate) what_if: Vec<WhatIf>,
    /// Tell a decision again, by its id, from what was known then. Explanations, answers over HTTP, `_why` and the query log
    /// have ids.
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "resolver", "no_ecs", "what_if", "url"])]
    pub(crate) replay: Option<String>,
    /// A URL or a name; without one, the first name of the world.
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Something to suppose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WhatIf {
    /// A PoP, by code, is drained.
    Drain(String),
}

#[derive(Debug, Args)]
pub(crate) struct InvalidateArgs {
    /// Paths such as /app.js or /images/*.
    #[arg(required = true, value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// Which distribution; all without it.
    #[arg(long, value_name = "ID")]
    pub(crate) distribution: Option<String>,
    /// Show it arriving at each node.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// Which PoP holds a path, how old and how fresh.
    #[command(after_help = examples::CACHE_WHERE)]
    Where {
        /// A path such as /app.js, or a URL.
        path: String,
    },
    /// What caches hold of a path: every variant, its headers, the parts of its key, why it is fresh.
    #[command(after_help = examples::CACHE_SHOW)]
    Show {
        /// A path such as /app.js, or a URL.
        path: String,
        /// One node, or a PoP code for its edges; every cache without it.
        #[arg(long, value_name = "NODE|POP")]
        at: Option<String>,
    },
    /// What every cache holds and has done: bytes, hits, misses, hit ratios, evictions.
    #[command(after_help = examples::CACHE_STATS)]
    Stats,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChaosVerb {
    /// Play scenario files, each in a world of its own; with --world in the world of that name, which is healed after.
    #[command(after_help = examples::CHAOS_RUN)]
    Run(ChaosRunArgs),
    /// Play scenarios on real processes and in virtual time, and show how far the two agree.
    #[command(after_help = examples::CHAOS_AGREE)]
    Agree(ChaosAgreeArgs),
    /// Scenarios that nobody wrote: each seed draws one, which must break no law; one that does is made as short as it gets.
    #[command(after_help = SWARM_EXAMPLES)]
    Swarm(ChaosSwarmArgs),
    /// The scenarios that iso brings.
    #[command(after_help = examples::CHAOS_LIST)]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct ChaosAgreeArgs {
    /// Scenario files, folders of them, or names of `iso chaos list`. All are checked before anything starts.
    #[arg(required = true, value_name = "FILE|FOLDER|NAME")]
    pub(crate) files: Vec<PathBuf>,
    /// Seed of everything random, instead of the file's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write every request of both runs side by side, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) requests: Option<PathBuf>,
    /// Put the table, the command and this machine's name into a page of Markdown that has a place for them.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChaosRunArgs {
    /// Scenario files, or names of `iso chaos list`. All are checked before anything starts.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub(crate) files: Vec<PathBuf>,
    /// In virtual time, with the same decisions, instead of on real processes.
    #[arg(long)]
    pub(crate) sim: bool,
    /// Seed of everything random, instead of the file's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Under so many seeds, from that one on: one verdict, with the least, the median and the most of what they got.
    #[arg(long, value_name = "N", requires = "sim", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) seeds: Option<u64>,
    /// Write a JUnit report: one suite per scenario, or per seed with --seeds; one case per expectation.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a page with charts that needs nothing else. With --seeds: how what they got is spread, and the worst of them.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) means: SimArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Draws the failure; a random one without it.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How long the failure lasts.
    #[arg(long = "for", value_name = "DURATION", default_value = "15s")]
    pub(crate) span: Span,
    /// Requests per second that are made meanwhile, from the world's cities.
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    pub(crate) rps: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorldVerb {
    /// The model's round trip between two places, or between the pairs of a file.
    #[command(after_help = examples::WORLD_RTT)]
    Rtt {
        /// One place.
        #[arg(required_unless_present = "csv")]
        a: Option<String>,
        /// The other place.
        #[arg(required_unless_present = "csv")]
        b: Option<String>,
        /// Pairs: src_lat,src_lon,src_kind,dst_lat,dst_lon,dst_kind with kind region or public.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["a", "b"])]
        csv: Option<PathBuf>,
        /// The world's seed; that of a running world where one runs.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// A cluster file whose seed, access network and matrix count.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Places by name.
    #[command(after_help = examples::WORLD_PLACES)]
    Places {
        /// Part of a name.
        #[arg(default_value = "")]
        search: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check a cluster file.
    #[command(after_help = examples::CONFIG_CHECK)]
    Check {
        /// The file.
        #[arg(default_value = "cluster.toml")]
        file: PathBuf,
    },
    /// Write a commented cluster file.
    #[command(after_help = examples::CONFIG_INIT)]
    Init {
        /// The file.
        #[arg(default_value = "cluster.toml")]
        file: PathBuf,
        /// Overwrite a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Have the caches of a running world serve as a cluster file says: behaviors and policies, for the next request on.
    /// Names and origins stay.
    #[command(after_help = examples::CONFIG_APPLY)]
    Apply {
        /// The file; without one, back to what each was started with.
        file: Option<PathBuf>,
        /// Edges, regional caches and shields by id, or PoPs for their edges; all of them if left out.
        #[arg(long, value_name = "NODES", value_delimiter = ',')]
        on: Vec<String>,
    },
    /// The JSON schema of cluster files.
    #[command(after_help = examples::CONFIG_SCHEMA)]
    Schema,
    /// Say what would have to change in the cloud for a distribution to be as it is here. Exit code 1 if anything would.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NodeProcessArgs {
    /// edge, regional, shield, router, origin or viewer.
    pub(crate) role: String,
    /// The part of the id after the dot.
    pub(crate) id: String,
}

/// Parses the command line; wrong usage ends the process with exit code 2.
pub(crate) fn parse() -> Cli {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        // Of a global option the verb's own matches know the source; the value is the same.
        let mut at = Some(&matches);
        while let Some(matches) = at {
            let source = matches.value_source("world");
            cli.world_is_named |= source.is_some_and(|source| source != ValueSource::DefaultValue);
            at = matches.subcommand().map(|(_, matches)| matches);
        }
        Ok(cli)
    });
    parsed.unwrap_or_else(|error| {
        // What cannot be parsed may still say how it wants to be answered.
        let wants_json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
        if wants_json && error.use_stderr() {
            let text = error.to_string();
            let _ = writeln!(std::io::stdout(), "{}", error_document(text.trim_start_matches("error: ").trim_end()));
        }
        error.exit()
    })
}

/// Bits per second: a number with an optional k, M or G (and an optional `bps` or `bit`).
pub(crate) fn parse_bps(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is not a bit rate; write 500k, 10M or 1G");
    let body = text.trim().trim_end_matches("bps").trim_end_matches("bit").trim();
    let (number, scale) = match body.char_indices().last() {
        Some((at, 'k' | 'K')) => (&body[..at], 1e3),
        Some((at, 'm' | 'M')) => (&body[..at], 1e6),
        Some((at, 'g' | 'G')) => (&body[..at], 1e9),
        _ => (body, 1.0),
    };
    let rate = number.trim().parse::<f64>().map_err(|_| refuse())? * scale;
    if rate.is_finite() && (1.0..1e15).contains(&rate) { Ok(rate as u64) } else { Err(refuse()) }
}

/// What `iso study NAME FLAGS` means, for a plan that says it otherwise.
///
/// # Errors
/// What clap makes of it.
pub(crate) fn study_of(name: &str, flags: &[String]) -> Result<StudyVerb, clap::Error> {
    match Cli::try_parse_from(study_words(name, flags))?.verb {
        Verb::Study(verb) => Ok(verb),
        _ => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
    }
}

/// The same as it was typed, flag by flag with defaults, and the command that has them.
///
/// # Errors
/// What clap makes of it.
pub(crate) fn study_matches(name: &str, flags: &[String]) -> Result<(clap::Command, clap::ArgMatches), clap::Error> {
    let unknown = || clap::Error::new(clap::error::ErrorKind::InvalidSubcommand);
    let command = Cli::command();
    let mut all = command.clone().try_get_matches_from(study_words(name, flags))?;
    let (_, mut studies) = all.remove_subcommand().ok_or_else(unknown)?;
    let (_, matches) = studies.remove_subcommand().ok_or_else(unknown)?;
    let command = command.find_subcommand("study").and_then(|studies| studies.find_subcommand(name));
    Ok((command.cloned().ok_or_else(unknown)?, matches))
}

fn study_words(name: &str, flags: &[String]) -> impl Iterator<Item = String> {
    ["iso", "study", name].map(str::to_owned).into_iter().chain(flags.iter().cloned())
}

/// `drain=POP`.
fn parse_what_if(text: &str) -> Result<WhatIf, String> {
    match text.split_once('=') {
        Some(("drain", pop)) if !pop.is_empty() => Ok(WhatIf::Drain(pop.to_owned())),
        _ => Err(format!("{text:?} cannot be supposed; write drain=FRA")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bit_rates_read_what_people_write() {
        for (text, expected) in [("500k", 500_000), ("10M", 10_000_000), ("1Gbit", 1_000_000_000), ("9600bps", 9600)] {
            assert_eq!(parse_bps(text), Ok(expected), "{text}");
        }
        assert!(parse_bps("fast").is_err() && parse_bps("").is_err() && parse_bps("0").is_err());
    }
}
