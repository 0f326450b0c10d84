//! One function per verb: ask the running world, print the answer.
//!
//! Results go to stdout, talk to stderr, and `--json` prints the API's own document.

mod ask;
mod break_it;
mod browse;
mod cache;
mod cloudfront;
mod config;
mod doctor;
mod explain;
mod functions;
mod keys;
mod lab;
mod load;
mod manifest;
mod manual;
pub(crate) mod paint;
mod route;
mod served;
mod sign;
mod stand;
mod study;
mod trust;
mod world_verb;

use std::{future::Future, io::Write as _, ops::ControlFlow, process::ExitCode};

use serde::Serialize;

use self::manifest::Manifest;
use crate::{
    args::{Cli, Explain, ExportVerb, Verb},
    chaos, node, policy_program,
    talk::{Api, VerbError, error_document, tell},
    up,
};

/// Runs the verb and turns its outcome into the exit code of the contract.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let outcome = dispatch(&cli);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, VerbError::Exit(_) | VerbError::Interrupted) {
                // What the background process says is for whoever started it, who prints the document.
                let is_daemon = matches!(&cli.verb, Verb::Up(args) if args.daemon);
                if cli.json && !is_daemon {
                    let _ = say(&error_document(&error.to_string()));
                }
                tell(&format!("error: {error}"));
            }
            ExitCode::from(error.code())
        }
    }
}

fn dispatch(cli: &Cli) -> Result<(), VerbError> {
    match &cli.verb {
        Verb::Up(args) => up::run(cli, args),
        Verb::Node(args) => node::run(args),
        Verb::RunPolicy(args) => policy_program::exec(args),
        Verb::Config(verb) => config::run(cli, verb),
        Verb::Import(verb) => cloudfront::import(cli, verb),
        Verb::Export(ExportVerb::Cloudfront(args)) => cloudfront::export_verb(cli, args),
        Verb::Export(ExportVerb::Compose(args)) => manifest::run(cli, args, Manifest::Compose),
        Verb::Export(ExportVerb::Kubernetes(args)) => manifest::run(cli, args, Manifest::Kubernetes),
        Verb::Chaos(verb) => chaos::run(cli, verb),
        Verb::Drill(args) => chaos::drill(cli, args),
        Verb::WorldVerb(verb) => world_verb::run(cli, verb),
        Verb::Study(verb) => study::run(cli, verb),
        Verb::Lab(verb) => lab::run(cli, verb),
        Verb::Completions { shell } => manual::completions(cli, *shell),
        Verb::Man(args) => manual::manual(cli, args),
        Verb::Down => block_on(ask::down(cli)),
        Verb::Status => block_on(ask::status(cli)),
        Verb::Logs(args) => block_on(ask::logs(cli, args)),
        Verb::Wait(args) => block_on(ask::wait(cli, args)),
        Verb::Open => block_on(ask::open(cli)),
        Verb::Route(args) => block_on(route::run(cli, args)),
        Verb::Keys(verb) => block_on(keys::run(cli, verb)),
        Verb::Sign(verb) => sign::sign(cli, verb),
        Verb::Functions(verb) => functions::run(cli, verb),
        Verb::Explain(Explain::Cache(args)) => block_on(explain::cache(cli, args)),
        Verb::Explain(Explain::Origin(args)) => block_on(explain::origin(cli, args)),
        Verb::Explain(Explain::Sign(args)) => block_on(sign::explain(cli, args)),
        Verb::Explain(Explain::Route(args)) => block_on(route::explain(cli, args)),
        Verb::Invalidate(args) => block_on(ask::invalidate(cli, args)),
        Verb::Cache(verb) => block_on(cache::run(cli, verb)),
        Verb::Doctor => block_on(doctor::run(cli)),
        Verb::Trust(args) => trust::trust(cli, args),
        Verb::Untrust(args) => trust::untrust(cli, args),
        Verb::Curl(args) => block_on(stand::curl(cli, args)),
        Verb::Dig(args) => block_on(stand::dig(cli, args)),
        Verb::Proxy => block_on(stand::proxy(cli)),
        Verb::In(args) => block_on(stand::inside(cli, args)),
        Verb::Browse(args) => block_on(browse::browse(cli, args)),
        Verb::Load(args) => block_on(load::run(cli, args)),
        Verb::Kill(args) => block_on(break_it::stop_nodes(cli, "kill", &args.targets, args.span)),
        Verb::Pause(args) => block_on(break_it::stop_nodes(cli, "pause", &args.targets, args.span)),
        Verb::Start(args) => block_on(break_it::stop_nodes(cli, "start", &args.targets, None)),
        Verb::Resume(args) => block_on(break_it::stop_nodes(cli, "resume", &args.targets, None)),
        Verb::Fault(args) => block_on(break_it::fault(cli, args)),
        Verb::Link(args) => block_on(break_it::link(cli, args)),
        Verb::Heal(args) => block_on(break_it::heal(cli, args)),
        Verb::Drain(args) => block_on(break_it::drain(cli, "drain", &args.pops)),
        Verb::Undrain(args) => block_on(break_it::drain(cli, "undrain", &args.pops)),
    }
}

fn block_on<T>(verb: impl Future<Output = Result<T, VerbError>>) -> Result<T, VerbError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(verb)
}

/// The world that `--world` names.
fn api(cli: &Cli) -> Result<Api, VerbError> {
    Api::of_world(&cli.world)
}

/// Prints a document as JSON, or what `text` makes of it.
pub(crate) fn print<T: Serialize>(cli: &Cli, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), VerbError> {
    let text = if cli.json { serde_json::to_string_pretty(document)? } else { text(document) };
    say(text.trim_end_matches('\n'))
}

/// Prints a line of results.
pub(crate) fn say(text: &str) -> Result<(), VerbError> {
    unless_nobody_reads(writeln!(std::io::stdout().lock(), "{text}"))
}

/// Prints a line of results of which there may be ever more; breaks once nobody reads them.
fn say_on(text: &str) -> Result<ControlFlow<()>, VerbError> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) => unless_nobody_reads(Err(error)).map(ControlFlow::Break),
    }
}

/// Writes results as they are.
fn write_out(bytes: &[u8]) -> Result<(), VerbError> {
    let mut out = std::io::stdout().lock();
    unless_nobody_reads(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Nobody reading any more, as in `iso ... | head`, is no failure.
fn unless_nobody_reads(written: std::io::Result<()>) -> Result<(), VerbError> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
