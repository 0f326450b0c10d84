//! What was typed about standing somewhere.

use std::path::PathBuf;

use clap::Args;

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
