//! `iso up -d`: the world in the background.

use std::time::{Duration, Instant};

use control_plane::wire::Status;

use crate::{
    args::{Cli, UpArgs},
    state::WorldDir,
    talk::{VerbError, tell, world_flag},
    up::{Plan, background::Background, screen, take, wait_ready},
    verbs::{paint::Paint, say},
};

/// Starts the world in the background.
///
/// # Errors
/// What the background process said before it ended.
pub(crate) fn detach(cli: &Cli, args: &UpArgs, plan: &Plan) -> Result<(), VerbError> {
    let began = Instant::now();
    let dir = WorldDir::new(&cli.world).map_err(|error| VerbError::Usage(format!("{error:#}")))?;
    // The background process takes it again; what there is to say, nobody would hear from there.
    drop(take(&dir, tell)?);
    for warning in &plan.warnings {
        tell(&format!("warning: {warning}"));
    }
    let mut background = Background::start(&dir, |command| {
        let base_port = plan.cluster.ports.base().to_string();
        command.args(std::env::args_os().skip(1)).args(["--daemon", "--base-port", &base_port]);
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let is_known = |line: &str| plan.warnings.iter().any(|warning| line.ends_with(warning.as_str()));
        let api = background.api(&dir, is_known).await?;
        if !args.wait {
            if cli.json {
                let status: Status = api.read("/v1/status", &()).await?;
                return say(&serde_json::to_string_pretty(&status)?);
            }
            let world = world_flag(&cli.world);
            let next = format!("`iso wait{world}` waits until it is healthy, `iso down{world}` stops it");
            return say(&format!("started in the background; {next}"));
        }
        let timeout = args.timeout.map_or(Duration::from_secs(60), |span| span.0);
        let status = wait_ready(&api, began + timeout).await?;
        if cli.json {
            return say(&serde_json::to_string_pretty(&status)?);
        }
        // What could not be measured stands in the log of the background process.
        say(&screen::first_screen(Paint::of(cli), &plan.cluster, &status, &[], began.elapsed()))
    })
}
