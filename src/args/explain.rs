//! What was typed after `iso explain cache` and `iso explain origin`.

use clap::Args;

pub(super) const EXPLAIN_CACHE_EXAMPLES: &str = "\
Examples:
  iso explain cache --from tokyo 'http://www.demo.test/app.js?utm=x'
  iso explain cache --from berlin -H 'Accept-Encoding: br' /app.js

Nothing is asked of an origin, nothing is stored, and nothing counts as a hit.";

pub(super) const EXPLAIN_ORIGIN_EXAMPLES: &str = "\
Examples:
  iso explain origin --from tokyo http://www.demo.test/cart
  iso explain origin --from tokyo -X POST -H 'Cookie: a=b' /cart

No origin is asked. Shown is what one would be sent if the caches on the way did not answer.";

/// A request that nobody makes.
#[derive(Debug, Args)]
pub(crate) struct ExplainRequestArgs {
    /// A city, a PoP code or a region.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: String,
    /// The method.
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// A header of the viewer's. Can be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// A URL; a path alone is one of the world's first name.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
}
