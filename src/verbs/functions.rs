//! A viewer function on its own: one call, and what came of it.

use std::{
    fmt::Write as _,
    io::Read as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use cdn_core::functions::{CODE_BYTES_MAX, Function};
use edge_node::{FunctionLimits, Limits, try_function};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{Cli, FunctionsVerb, TestFunctionArgs},
    cluster::key_values_of,
    diagnose::Source,
    talk::VerbError,
    verbs::print,
};

/// What a test gives; the facts of CloudFront's TestResult.
#[derive(Debug, Serialize)]
struct Tested {
    /// What the function returned; `null` where it failed.
    output: Option<Value>,
    /// Why it failed.
    error: Option<String>,
    /// Processor time as a share of what it may have, in percent.
    compute_utilization: u64,
    /// Processor time.
    took_us: u64,
    /// What it said of the origins for its request, one call each.
    origins: Vec<Value>,
    /// What of that makes no difference here.
    notes: Vec<String>,
    /// What it logged.
    log: Vec<String>,
}

pub(super) fn run(cli: &Cli, verb: &FunctionsVerb) -> Result<(), VerbError> {
    let FunctionsVerb::Test(args) = verb;
    let limits = FunctionLimits {
        time: args.time.0.max(Duration::from_millis(1)),
        memory_bytes: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        origins_bytes: Limits::default().functions.origins_bytes,
    };
    let (function, event) = (function_of(args)?, event_of(&args.event)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64;
    let run = try_function(&function, &event, now, limits);
    let percent = run.took.as_nanos() * 100 / limits.time.as_nanos();
    let mut tested = Tested {
        output: None,
        error: None,
        compute_utilization: u64::try_from(percent).unwrap_or(u64::MAX).min(100),
        took_us: u64::try_from(run.took.as_micros()).unwrap_or(u64::MAX),
        origins: run.origins.said().to_vec(),
        notes: run.origins.notes().to_vec(),
        log: run.log,
    };
    match run.returned {
        Ok(returned) => tested.output = Some(serde_json::from_str(&returned)?),
        Err(error) => tested.error = Some(error.to_string()),
    }
    print(cli, &tested, |tested| {
        let mut text = String::new();
        if let Some(output) = &tested.output {
            let _ = writeln!(text, "{output:#}\n");
        }
        for (method, given) in tested.origins.iter().filter_map(Value::as_object).flatten() {
            let given: Vec<_> = given.as_array().into_iter().flatten().map(Value::to_string).collect();
            let _ = writeln!(text, "origin   cf.{method}({})", given.join(", "));
        }
        for note in &tested.notes {
            let _ = writeln!(text, "note     {}", note.escape_debug());
        }
        for line in &tested.log {
            let _ = writeln!(text, "log      {}", line.escape_debug());
        }
        if let Some(error) = &tested.error {
            let _ = writeln!(text, "error    {error}");
        }
        let share = tested.compute_utilization;
        let _ = writeln!(text, "compute  {share} of 100 ({} us of {})", tested.took_us, args.time);
        text
    })?;
    if tested.error.is_some() { Err(VerbError::Exit(1)) } else { Ok(()) }
}

fn function_of(args: &TestFunctionArgs) -> Result<Function, VerbError> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let code = read(&args.file)?;
    if code.len() > CODE_BYTES_MAX {
        let (path, bytes) = (args.file.display(), code.len());
        return Err(VerbError::Usage(format!("{path} has {bytes} bytes, and CloudFront takes {CODE_BYTES_MAX}")));
    }
    let key_values = match &args.key_values {
        Some(path) => {
            let text = read(path)?;
            let source = Source { name: path.display().to_string(), text: text.clone() };
            let store = key_values_of("data", &text);
            Some(store.map_err(|error| VerbError::Config(Box::new(source.complaint(error))))?.into())
        }
        None => None,
    };
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Function { name: name.unwrap_or_default(), code, key_values })
}

/// The text of an event, which must be JSON.
fn event_of(path: &Path) -> Result<String, VerbError> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).context("cannot read the event from stdin")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let event: Value = serde_json::from_str(&text)
        .map_err(|error| VerbError::Usage(format!("{} is no event: {error}", path.display())))?;
    if event.get("request").is_none() {
        return Err(VerbError::Usage(format!("{} is no event: it has no request", path.display())));
    }
    Ok(text)
}
