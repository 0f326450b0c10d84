//! What was typed about labs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::study::thread_count;
use crate::quantity::Span;

pub(super) const LAB_EXAMPLES: &str = "\
Examples:
  iso lab start cdn-routing                       router.py, a README and public tests, here
  iso lab test                                    play them in virtual time: marks and a score
  iso lab submit --bundle --student ada           pack what is handed in; nothing is sent anywhere
  iso lab grade submissions/*.bundle --csv --seed 8412   the teacher's: every bundle, scenarios of a seed

Exit codes of test: 0 every check held, 10 one did not.";

const LAB_LIST_EXAMPLES: &str = "\
Examples:
  iso lab list";

const LAB_START_EXAMPLES: &str = "\
Examples:
  iso lab start cdn-routing
  iso lab start cdn-routing --dir homework";

const LAB_TEST_EXAMPLES: &str = "\
Examples:
  iso lab test
  iso lab test --router 'python3 other.py' --seed 7 --json

Exit codes: 0 every check held, 10 one did not.";

const LAB_SUBMIT_EXAMPLES: &str = "\
Examples:
  iso lab submit --bundle --student ada
  iso lab submit --bundle --key class.key --out ada.bundle";

const LAB_GRADE_EXAMPLES: &str = "\
Examples:
  iso lab grade submissions/*.bundle --csv --seed 8412
  iso lab grade ada.bundle --key class.key";

#[derive(Debug, Subcommand)]
pub(crate) enum LabVerb {
    /// The labs that come along.
    #[command(after_help = LAB_LIST_EXAMPLES)]
    List,
    /// Write a lab's files into a directory.
    #[command(after_help = LAB_START_EXAMPLES)]
    Start(LabStartArgs),
    /// Play the public scenarios with your router, and say what holds and how good it is.
    #[command(after_help = LAB_TEST_EXAMPLES)]
    Test(LabTestArgs),
    /// Pack your router and what it came to.
    #[command(after_help = LAB_SUBMIT_EXAMPLES)]
    Submit(LabSubmitArgs),
    /// Play hidden scenarios with every router that was handed in. They run with your rights: read docs/lab.md first.
    #[command(after_help = LAB_GRADE_EXAMPLES)]
    Grade(LabGradeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LabStartArgs {
    /// Which lab: one that `iso lab list` shows.
    pub(crate) name: String,
    /// Where to; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LabTestArgs {
    /// Where lab.toml is.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Another command line than the router of lab.toml.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) router: Option<String>,
    /// Another seed than that of lab.toml.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct LabSubmitArgs {
    /// Write a bundle, which is all that there is: nothing is sent anywhere.
    #[arg(long, required = true)]
    pub(crate) bundle: bool,
    /// Where lab.toml is.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Whose it is; the bundle is called so.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "student")]
    pub(crate) student: String,
    /// Where the bundle goes; NAME.bundle by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// A file with a key from your teacher, to seal the bundle with.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LabGradeArgs {
    /// Bundles.
    #[arg(required = true, value_name = "BUNDLE")]
    pub(crate) bundles: Vec<PathBuf>,
    /// Print CSV rather than a table.
    #[arg(long)]
    pub(crate) csv: bool,
    /// Which scenarios are drawn; whoever knows it can practise them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The key that bundles are sealed with; one that is not is refused.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// How long all answers of a router together may take in one scenario; then it is asked no more.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub(crate) time_max: Span,
    /// Routers at a time; by default one per core.
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub(crate) threads: Option<usize>,
}
