//! What was typed about keys and signatures.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::{private_key::KeyKind, quantity::Span};

pub(super) const SIGN_EXAMPLES: &str = "\
Examples:
  iso keys new team
  iso sign url http://www.demo.test/private/a.mp4 --key keys/ID.private.pem
  iso sign cookie http://www.demo.test/ --resource 'http://www.demo.test/private/*' --key keys/ID.private.pem";

pub(super) const KEYS_EXAMPLES: &str = "\
Examples:
  iso keys new team
  iso keys list
  iso keys remove team K2JCJMDEHXQW5F";

const KEYS_NEW_EXAMPLES: &str = "\
Examples:
  iso keys new team
  iso keys new team --pem private.pem          a private key that is there already
  iso keys new team --kind ecdsa --dir secrets";

const KEYS_ADD_EXAMPLES: &str = "\
Examples:
  iso keys add team keys/K2JCJMDEHXQW5F.pem
  iso keys add team public.pem --id K2JCJMDEHXQW5F";

const KEYS_REMOVE_EXAMPLES: &str = "\
Examples:
  iso keys remove team K2JCJMDEHXQW5F";

const KEYS_LIST_EXAMPLES: &str = "\
Examples:
  iso keys list
  iso keys list --json";

const SIGN_URL_EXAMPLES: &str = "\
Examples:
  iso sign url http://www.demo.test/private/a.mp4 --key keys/ID.private.pem
  iso sign url http://www.demo.test/private/a.mp4 --key keys/ID.private.pem --expires 5m --ip 198.18.41.0/24";

const SIGN_COOKIE_EXAMPLES: &str = "\
Examples:
  iso sign cookie http://www.demo.test/ --resource 'http://www.demo.test/private/*' --key keys/ID.private.pem";

#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// Make a key pair, and say how its public half goes into a key group. A running world that has the group trusts the
    /// key from then on.
    #[command(after_help = KEYS_NEW_EXAMPLES)]
    New(NewKeyArgs),
    /// Put a public key into a key group of the running world.
    #[command(after_help = KEYS_ADD_EXAMPLES)]
    Add(AddKeyArgs),
    /// Take a key out of a key group of the running world: what it has signed is refused from then on.
    #[command(after_help = KEYS_REMOVE_EXAMPLES)]
    Remove(RemoveKeyArgs),
    /// The key groups of the running world.
    #[command(after_help = KEYS_LIST_EXAMPLES)]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct NewKeyArgs {
    /// The key group.
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// The private key: read where it is there, else written there.
    #[arg(long, value_name = "FILE")]
    pub(crate) pem: Option<PathBuf>,
    /// What to make.
    #[arg(long, value_enum, default_value = "rsa")]
    pub(crate) kind: KeyKind,
    /// Where the key pair goes: by default beside --pem, else into ./keys.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AddKeyArgs {
    /// The key group.
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// The public key, in PEM.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The key's id (Key-Pair-Id): by default the name of the file without what follows its first dot.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveKeyArgs {
    /// The key group.
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// The key's id (Key-Pair-Id).
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SignVerb {
    /// Sign a URL; prints it.
    #[command(after_help = SIGN_URL_EXAMPLES)]
    Url(SignArgs),
    /// Make cookies for a URL, or with --resource for many; prints them as curl's -b takes them.
    #[command(after_help = SIGN_COOKIE_EXAMPLES)]
    Cookie(SignArgs),
}

/// How a policy is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashArg {
    /// CloudFront's default.
    Sha1,
    /// Says so in Hash-Algorithm.
    Sha256,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The URL as viewers will ask for it.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// The private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The id of its public half (Key-Pair-Id); by default the one that `iso keys new` gives.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// For how long from now.
    #[arg(long, value_name = "DURATION", default_value = "1h", conflicts_with = "until")]
    pub(crate) expires: Span,
    /// Until when, in Unix seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) until: Option<i64>,
    /// From when on, in Unix seconds. Makes a custom policy, as the two below.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) after: Option<i64>,
    /// For which URLs, with * and ? as wildcards.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) resource: Option<String>,
    /// For viewers of this IPv4 address or network alone.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) ip: Option<String>,
    /// How the policy is hashed.
    #[arg(long, value_enum, default_value = "sha1")]
    pub(crate) hash: HashArg,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainSignArgs {
    /// The URL that is asked for, with its signature where it has one.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Cookies as curl takes them: name=value; ..., or a file.
    #[arg(short = 'b', long, value_name = "JAR")]
    pub(crate) cookies: Option<String>,
    /// Where the viewer stands, whose address counts.
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<String>,
    /// Suppose another time, in Unix seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<i64>,
    /// Show what changes the answer.
    #[arg(long)]
    pub(crate) matrix: bool,
}
