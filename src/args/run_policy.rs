//! What our own processes type to start a policy program.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct RunPolicyArgs {
    /// Where it is started.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Seconds of a processor that it may use.
    #[arg(long, value_name = "N")]
    pub(crate) cpu_s: Option<u64>,
    /// Bytes of memory that it may use, and of each file that it may write.
    #[arg(long, value_name = "N")]
    pub(crate) memory_bytes: Option<u64>,
    /// Drop what it says on stderr.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// A command line for the shell.
    pub(crate) line: String,
}
