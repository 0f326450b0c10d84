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
    /// A module of WebAssembly, instead of a command line.
    #[arg(long, value_name = "FILE", requires_all = ["fuel", "wasm_memory_bytes"])]
    pub(crate) wasm: Option<PathBuf>,
    /// What each of its answers may take.
    #[arg(long, value_name = "N")]
    pub(crate) fuel: Option<u64>,
    /// And its memory.
    #[arg(long, value_name = "N")]
    pub(crate) wasm_memory_bytes: Option<u64>,
    /// A command line for the shell.
    #[arg(required_unless_present = "wasm")]
    pub(crate) line: Option<String>,
}
