//! What was typed about standing somewhere, as one or as many.

use std::path::PathBuf;

use clap::Args;

use crate::quantity::{ByteCount, Span};

pub(super) const BROWSE_EXAMPLES: &str = "\
Examples:
  iso browse tokyo www.demo.test
  iso browse 'sao paulo' http://www.demo.test/ -- --auto-open-devtools-for-tabs
  iso browse lima www.demo.test -- --headless --dump-dom       without a screen";

#[derive(Debug, Args)]
pub(crate) struct CurlArgs {
    /// A city, a PoP code or a region.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: String,
    /// Show where the time went.
    #[arg(long)]
    pub(crate) ledger: bool,
    /// Resolve and connect first; time the request alone.
    #[arg(long)]
    pub(crate) warm: bool,
    /// Ask the edge by HTTP/3, which the viewer proxy speaks for curl. With curl's own arguments too.
    #[arg(long)]
    pub(crate) http3: bool,
    /// Where the resolver stands.
    #[arg(long, value_name = "PLACE")]
    pub(crate) resolver: Option<String>,
    /// The resolver does not send the client subnet.
    #[arg(long)]
    pub(crate) no_ecs: bool,
    /// What curl gets.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CURL-ARGS")]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DigArgs {
    /// A city, a PoP code or a region.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: String,
    /// Where the resolver stands.
    #[arg(long, value_name = "PLACE")]
    pub(crate) resolver: Option<String>,
    /// The resolver does not send the client subnet.
    #[arg(long)]
    pub(crate) no_ecs: bool,
    /// Print the addresses alone.
    #[arg(long)]
    pub(crate) short: bool,
    /// A name.
    pub(crate) name: String,
    /// A record type.
    #[arg(default_value = "A", value_name = "TYPE")]
    pub(crate) record_type: String,
}

#[derive(Debug, Args)]
pub(crate) struct InArgs {
    /// A city, a PoP code or a region.
    pub(crate) place: String,
    /// A command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BrowseArgs {
    /// A city, a PoP code or a region.
    pub(crate) place: String,
    /// The page; https:// where it says nothing else.
    pub(crate) url: String,
    /// Speak HTTP/3 with the page's host, whose distribution must have it (http_version).
    #[arg(long)]
    pub(crate) http3: bool,
    /// The browser, Chromium or one of its kin; by default the first that is on the path.
    #[arg(long, value_name = "PATH", env = "ISO_BROWSER")]
    pub(crate) browser: Option<PathBuf>,
    /// What else the browser is told.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) more: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Where users are: world, which is every city by its users, or places.
    #[arg(long, value_name = "world|PLACE", value_delimiter = ',', default_value = "world")]
    pub(crate) from: Vec<String>,
    /// Requests per second, over all places.
    #[arg(long, value_name = "N")]
    pub(crate) rps: Option<f64>,
    /// How long.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) span: Span,
    /// What is asked for: zipf:S:N, trace:FILE or a path.
    #[arg(long, value_name = "zipf:S:N|trace:FILE|/PATH", default_value = "zipf:1:1000")]
    pub(crate) paths: String,
    /// Bytes of each object, of a simulated origin.
    #[arg(long, value_name = "BYTES")]
    pub(crate) size: Option<ByteCount>,
    /// Over HTTPS.
    #[arg(long)]
    pub(crate) https: bool,
    /// By HTTP/3, where the distribution's http_version has it.
    #[arg(long)]
    pub(crate) http3: bool,
    /// Users that the requests are spread over; each keeps its own connections.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) users: u32,
    /// The mean pause of a user between two requests of a session.
    #[arg(long, value_name = "DURATION")]
    pub(crate) think: Option<Span>,
    /// Which distribution; the first without it.
    #[arg(long, value_name = "ID")]
    pub(crate) distribution: Option<String>,
    /// Seed of the workload; the world's without it.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}
