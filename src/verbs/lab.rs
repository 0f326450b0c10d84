//! `iso lab`: exercises with a score. A student's router is played against scenarios in virtual time, beside routers of ours.

mod bundle;
mod course;
mod play;
mod watch;

use std::{collections::BTreeMap, fs, io::Write as _, path::Path, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use self::{
    bundle::{Bundle, Seal},
    course::{Course, LABS, Lab},
    play::{Baselines, Marks, Stage},
};
use crate::{
    args::{Cli, LabGradeArgs, LabStartArgs, LabSubmitArgs, LabTestArgs, LabVerb},
    diagnose::nearest_or_all,
    policy_program::Rations,
    talk::VerbError,
    verbs::{
        paint::{Paint, table},
        print, say,
        study::each,
    },
};

/// The exit code where an expectation was missed.
const MISSED: u8 = 10;

/// How long all answers of a student's router may take in one scenario, where nobody says.
const TIME_MAX: Duration = Duration::from_secs(20);

/// What a router may use while it is graded: enough for a thoughtful one, and no more.
fn rations(time_max: Duration) -> Rations {
    Rations { cpu: Some(time_max * 2), memory_bytes: Some(1 << 30), is_quiet: true, ..Rations::default() }
}

pub(super) fn run(cli: &Cli, verb: &LabVerb) -> Result<(), VerbError> {
    match verb {
        LabVerb::List => list(cli),
        LabVerb::Start(args) => start(args),
        LabVerb::Test(args) => test(cli, args),
        LabVerb::Submit(args) => submit(args),
        LabVerb::Grade(args) => grade(cli, args),
    }
}

fn list(cli: &Cli) -> Result<(), VerbError> {
    print(cli, &LABS, |labs| {
        table(&["LAB", "WHAT"], labs.iter().map(|lab| vec![lab.name.to_owned(), lab.title.to_owned()]))
    })
}

fn start(args: &LabStartArgs) -> Result<(), VerbError> {
    let Some(lab) = LABS.iter().find(|lab| lab.name == args.name) else {
        let hint = nearest_or_all(&args.name, LABS.iter().map(|lab| lab.name)).unwrap_or_default();
        return Err(VerbError::Usage(format!("no lab {:?}; {hint}", args.name)));
    };
    let Lab { files, .. } = lab;
    // Nobody's work is written over.
    if let Some((name, _)) = files.iter().find(|(name, _)| args.dir.join(name).exists()) {
        return Err(VerbError::Usage(format!("{} is there already", args.dir.join(name).display())));
    }
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    for (name, text) in *files {
        let path = args.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("  {}", path.display()))?;
    }
    say("next: iso lab test")
}

/// What `iso lab test` prints.
#[derive(Debug, Serialize)]
struct Tested {
    lab: String,
    seed: u64,
    #[serde(flatten)]
    marks: Marks,
    baselines: Baselines,
}

/// Plays the public scenarios.
fn tested(dir: &Path, router: Option<&str>, seed: Option<u64>) -> Result<Tested, VerbError> {
    let course = Course::read(dir)?;
    let seed = seed.unwrap_or(course.seed);
    let stages: Vec<Stage> = course.scenarios.iter().map(|scenario| Stage::new(scenario, seed)).collect();
    let line = router.unwrap_or(&course.router);
    // Its words on stderr are for whoever writes it.
    let rations = Rations { is_quiet: false, ..rations(TIME_MAX) };
    let marks = Marks::of(&stages, line, dir, &rations, TIME_MAX);
    Ok(Tested { lab: course.lab, seed, marks, baselines: Baselines::of(&stages) })
}

fn test(cli: &Cli, args: &LabTestArgs) -> Result<(), VerbError> {
    let tested = tested(&args.dir, args.router.as_deref(), args.seed)?;
    print(cli, &tested, |tested| {
        let paint = Paint::of(cli);
        let mut text = String::new();
        for check in &tested.marks.checks {
            let mark = if check.held { paint.good("✓") } else { paint.bad("✗") };
            let why = check.why.as_deref().unwrap_or_default();
            text.push_str(format!("  {mark} {:<44}{why}", check.what).trim_end());
            text.push('\n');
        }
        let Baselines { origin_only, random, geo, reference } = tested.baselines;
        text.push_str(&format!(
            "  score {:.0}/100   origin-only {origin_only:.0} · random {random:.0} · geo {geo:.0} · reference {reference:.0}\n",
            tested.marks.score
        ));
        text
    })?;
    if tested.marks.checks.iter().all(|check| check.held) { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}

fn submit(args: &LabSubmitArgs) -> Result<(), VerbError> {
    let seal = Seal::of(args.key.as_deref())?;
    let course = Course::read(&args.dir)?;
    let mut files = BTreeMap::new();
    for name in &course.files {
        bundle::plain_name(name).map_err(VerbError::Usage)?;
        let path = args.dir.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.clone(), text);
    }
    let student = args.student.clone();
    bundle::plain_name(&student).map_err(VerbError::Usage)?;
    let out = args.out.clone().unwrap_or_else(|| format!("{student}.bundle").into());
    // What cannot be written is found out before the work; what stands there stays until there is something better.
    let cannot = |error| VerbError::Usage(format!("cannot write {}: {error}", out.display()));
    fs::OpenOptions::new().append(true).create(true).open(&out).map_err(cannot)?;
    let Tested { lab, seed, marks, .. } = tested(&args.dir, None, None)?;
    let score = marks.score;
    let bundle =
        Bundle { lab, version: env!("CARGO_PKG_VERSION").into(), student, seed, router: course.router, files, marks };
    let text = bundle.sealed(&seal)?;
    fs::write(&out, text).with_context(|| format!("cannot write {}", out.display()))?;
    say(&format!("  {}   score {score:.0}/100 here; it is graded with other scenarios", out.display()))
}

/// What became of one bundle.
#[derive(Debug, Serialize)]
struct Graded {
    student: String,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_picks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overload_s: Option<u64>,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn grade(cli: &Cli, args: &LabGradeArgs) -> Result<(), VerbError> {
    let seal = Seal::of(args.key.as_deref())?;
    // A name that was mistyped is nobody's score.
    for path in &args.bundles {
        let cannot = |error| VerbError::Usage(format!("cannot read {}: {error}", path.display()));
        fs::File::open(path).map_err(cannot)?;
    }
    let stages: Vec<Stage> = course::drawn(args.seed).iter().map(|scenario| Stage::new(scenario, args.seed)).collect();
    let graded = each(args.threads, &args.bundles, |path| {
        let name =
            path.file_stem().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        match graded(&stages, path, &seal, args.time_max.0) {
            Ok(graded) => graded,
            Err(why) => {
                Graded { student: name, score: 0.0, p95_ms: None, dead_picks: None, overload_s: None, note: Some(why) }
            }
        }
    });
    for Graded { student, note, .. } in &graded {
        if let Some(note) = note {
            let _ = writeln!(std::io::stderr(), "{student}: {note}");
        }
    }
    if cli.json {
        return print(cli, &graded, |_| String::new());
    }
    let head = ["student", "score", "p95_ms", "dead_picks", "overload_s"];
    let rows = graded.iter().map(|row| {
        let or_empty = |value: Option<String>| value.unwrap_or_default();
        vec![
            row.student.clone(),
            format!("{:.1}", row.score),
            or_empty(row.p95_ms.map(|ms| format!("{ms:.1}"))),
            or_empty(row.dead_picks.map(|picks| picks.to_string())),
            or_empty(row.overload_s.map(|seconds| seconds.to_string())),
        ]
    });
    if !args.csv {
        return say(table(&head.map(str::to_uppercase).each_ref().map(String::as_str), rows).trim_end());
    }
    let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
    let written =
        writer.write_record(head).and_then(|()| rows.into_iter().try_for_each(|row| writer.write_record(row)));
    written.map_err(|error| VerbError::Failed(error.into()))?;
    Ok(writer.flush()?)
}

/// Plays what a bundle holds; why it cannot be, if it cannot.
fn graded(stages: &[Stage], path: &Path, seal: &Seal, time_max: Duration) -> Result<Graded, String> {
    let bundle = Bundle::read(path, seal)?;
    let dir = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    for (name, text) in &bundle.files {
        fs::write(dir.path().join(name), text).map_err(|error| format!("cannot unpack {name}: {error}"))?;
    }
    let marks = Marks::of(stages, &bundle.router, dir.path(), &rations(time_max), time_max);
    let note = (!marks.outcomes.is_good()).then(|| marks.outcomes.text("router"));
    Ok(Graded {
        student: bundle.student,
        score: marks.score,
        p95_ms: Some(marks.p95_ms),
        dead_picks: Some(marks.dead_picks),
        overload_s: Some(marks.overload_s),
        note,
    })
}
