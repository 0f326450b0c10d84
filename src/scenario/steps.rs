//! Steps: from what was typed to what is done, and whether the timeline is possible.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{NodeId, Role, invalidation::InvalidationPattern, routing::PolicyKind};
use clap::Parser as _;
use world::{
    Effect, LinkChange,
    scenario::{Action, ConfigChange, HealTarget, LoadChange, Step},
};

use super::{
    file::{Bps, Figure, Many, StepFile},
    names::Names,
};
use crate::{
    args::{Cli, FaultArgs, LinkArgs, RouteVerb, Verb},
    diagnose::{KeyError, nearest_or_all},
    quantity::Span,
};

/// The longest delay that the control API takes.
const DELAY_MAX: Duration = Duration::from_secs(600);
/// The farthest that a clock may be off: a hundred years.
const CLOCK_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Configurations that steps go over to, found while they are checked: revision 1 and on.
pub(super) type Revisions = Vec<toml::Table>;

/// Checks one step. `line` is where it stands.
pub(super) fn step_of(
    index: usize,
    file: &StepFile,
    line: u32,
    names: &Names<'_>,
    loads: usize,
    revisions: &mut Revisions,
) -> Result<Step, KeyError> {
    let at = |field: &str| format!("at.{index}.{field}");
    let Some(t) = file.t else {
        return Err(KeyError::new(&format!("at.{index}"), "a step needs its time").hint("t = \"20s\""));
    };
    let typed;
    let file = match &file.r#do {
        Some(text) => {
            let said = Checked { index, file, names, spelled: false };
            let more = said.verbs().into_iter().chain(said.flags().into_iter().map(|(flag, _)| flag)).next();
            if let Some(more) = more {
                let key = at(more.split(' ').next().unwrap_or(more));
                return Err(KeyError::new(&key, format!("do says all of a step, this one has {more} too"))
                    .hint("two steps may have the same time"));
            }
            typed = typed_step(&at("do"), text)?;
            &typed
        }
        None => file,
    };
    let checked = Checked { index, file, names, spelled: file.r#do.is_some() };
    let action = checked.action(loads, revisions)?;
    Ok(Step { at: t.0, action, text: checked.text(), line })
}

/// A step, with the names of its world.
struct Checked<'a> {
    index: usize,
    file: &'a StepFile,
    names: &'a Names<'a>,
    spelled: bool,
}

impl Checked<'_> {
    fn key(&self, field: &str) -> String {
        let field = if self.spelled { "do" } else { field };
        format!("at.{}.{field}", self.index)
    }

    fn verbs(&self) -> Vec<&'static str> {
        let file = self.file;
        [
            ("kill", file.kill.is_some()),
            ("start", file.start.is_some()),
            ("pause", file.pause.is_some()),
            ("resume", file.resume.is_some()),
            ("fault", file.fault.is_some()),
            ("link", file.link.is_some()),
            ("heal", file.heal.is_some()),
            ("drain", file.drain.is_some()),
            ("undrain", file.undrain.is_some()),
            ("invalidate", file.invalidate.is_some()),
            ("policy", file.policy.is_some()),
            ("config", file.config.is_some()),
            ("load", file.load.is_some()),
            ("clock", file.clock.is_some()),
        ]
        .into_iter()
        .filter_map(|(verb, is_there)| is_there.then_some(verb))
        .collect()
    }

    /// The flags that are written, and the verbs that they belong to.
    fn flags(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let file = self.file;
        let all: [(&str, &[&str], bool); 23] = [
            ("for", &["kill", "pause", "fault", "link", "load", "clock"], file.r#for.is_some()),
            ("status", &["fault"], file.status.is_some()),
            ("rate", &["fault"], file.rate.is_some()),
            ("latency", &["fault"], file.latency.is_some()),
            ("refuse", &["fault"], file.refuse),
            ("reset", &["fault"], file.reset),
            ("blackhole", &["fault"], file.blackhole),
            ("truncate", &["fault"], file.truncate),
            ("stall", &["fault"], file.stall),
            ("garbage", &["fault"], file.garbage),
            ("logs_full", &["fault"], file.logs_full),
            ("throttle", &["fault", "link"], file.throttle.is_some()),
            ("path", &["fault"], file.path.is_some()),
            ("from", &["fault"], file.from.is_some()),
            ("delay", &["link"], file.delay.is_some()),
            ("loss", &["link"], file.loss.is_some()),
            ("partition", &["link"], file.partition),
            ("one_way", &["link"], file.one_way),
            ("distribution", &["invalidate", "policy"], file.distribution.is_some()),
            ("over", &["load"], file.over.is_some()),
            ("which", &["load"], file.which.is_some()),
            ("on", &["config"], file.on.is_some()),
            ("ahead or behind", &["clock"], file.ahead.is_some() || file.behind.is_some()),
        ];
        all.into_iter().filter_map(|(flag, verbs, is_there)| is_there.then_some((flag, verbs))).collect()
    }

    fn action(&self, loads: usize, revisions: &mut Revisions) -> Result<Action, KeyError> {
        let file = self.file;
        let verb = match self.verbs().as_slice() {
            [verb] => *verb,
            [] => {
                return Err(KeyError::new(&self.key("t"), "this step does nothing")
                    .hint("name one verb: kill, start, pause, resume, fault, link, heal, drain, undrain, invalidate, policy, config, load, clock or do"));
            }
            [first, second, ..] => {
                return Err(KeyError::new(
                    &self.key(second),
                    format!("a step does one thing, this one {first} and {second}"),
                )
                .hint("two steps may have the same time"));
            }
        };
        if let Some((flag, verbs)) = self.flags().into_iter().find(|(_, verbs)| !verbs.contains(&verb)) {
            let key = self.key(flag.split(' ').next().unwrap_or(flag));
            return Err(KeyError::new(&key, format!("{flag} does not go with {verb}"))
                .hint(format!("it goes with {}", verbs.join(", "))));
        }
        let span = file.r#for.map(|span| span.0);
        if span == Some(Duration::ZERO) {
            return Err(KeyError::new(&self.key("for"), "it would end at once"));
        }
        let nodes = |field: &str, written: &Option<Many<String>>, ours: bool| self.nodes(field, written, ours);
        Ok(match verb {
            "kill" => Action::Kill { nodes: nodes("kill", &file.kill, true)?, span },
            "start" => Action::Start { nodes: nodes("start", &file.start, true)? },
            "pause" => Action::Pause { nodes: nodes("pause", &file.pause, true)?, span },
            "resume" => Action::Resume { nodes: nodes("resume", &file.resume, true)? },
            "fault" => self.fault(nodes("fault", &file.fault, false)?, span)?,
            "link" => self.link(span)?,
            "heal" => self.heal()?,
            "drain" => Action::Drain(self.pop("drain", &file.drain)?),
            "undrain" => Action::Undrain(self.pop("undrain", &file.undrain)?),
            "invalidate" => self.invalidate()?,
            "policy" => self.policy()?,
            "config" => {
                let table = file.config.clone().unwrap_or_default();
                let nodes = nodes("on", &file.on, true)?;
                if table.is_empty() {
                    Action::Config(ConfigChange { nodes, revision: 0 })
                } else {
                    revisions.push(table);
                    Action::Config(ConfigChange { nodes, revision: revisions.len() })
                }
            }
            "load" => self.load(loads, span)?,
            _ => self.clock(nodes("clock", &file.clock, true)?, span)?,
        })
    }

    fn nodes(&self, field: &str, written: &Option<Many<String>>, ours: bool) -> Result<Vec<NodeId>, KeyError> {
        let mut all = Vec::new();
        for (at, name) in written.iter().flat_map(|written| &written.0).enumerate() {
            let key = self.item_key(field, written, at);
            let nodes = if ours { self.names.processes(&key, name)? } else { self.names.nodes(&key, name)? };
            all.extend(nodes);
        }
        all.sort();
        all.dedup();
        if all.is_empty() && field != "on" {
            return Err(KeyError::new(&self.key(field), "it names nobody"));
        }
        Ok(all)
    }

    /// The key of one of several names, where they stand in a list.
    fn item_key(&self, field: &str, written: &Option<Many<String>>, at: usize) -> String {
        let is_list = written.as_ref().is_some_and(|written| written.0.len() > 1);
        if is_list && !self.spelled { format!("{}.{at}", self.key(field)) } else { self.key(field) }
    }

    fn pop(&self, field: &str, written: &Option<Many<String>>) -> Result<cdn_core::PopCode, KeyError> {
        match written.as_ref().map(|written| written.0.as_slice()) {
            Some([name]) => self.names.pop(&self.key(field), name),
            _ => Err(KeyError::new(&self.key(field), "one PoP at a time").hint("two steps may have the same time")),
        }
    }

    fn fault(&self, nodes: Vec<NodeId>, span: Option<Duration>) -> Result<Action, KeyError> {
        let file = self.file;
        let mut effects = Vec::new();
        if let Some(status) = file.status {
            if !(200..=599).contains(&status) {
                return Err(KeyError::new(&self.key("status"), format!("{status} is not between 200 and 599")));
            }
            effects.push(Effect::Status(status));
        }
        if let Some(latency) = file.latency {
            effects.push(Effect::Latency(self.delay("latency", latency)?));
        }
        effects.extend(file.throttle.map(|Bps(bps)| Effect::Throttle { bps }));
        let switches = [
            (file.refuse, Effect::Refuse),
            (file.reset, Effect::Reset),
            (file.blackhole, Effect::Blackhole),
            (file.truncate, Effect::Truncate),
            (file.stall, Effect::Stall),
            (file.garbage, Effect::Garbage),
            (file.logs_full, Effect::LogsFull),
        ];
        effects.extend(switches.into_iter().filter_map(|(on, effect)| on.then_some(effect)));
        if effects.iter().filter(|effect| effect.slot() == "connection").count() > 1 {
            return Err(KeyError::new(
                &self.key("fault"),
                "a connection is refused, reset or black-holed: name one of them",
            ));
        }
        if effects.is_empty() {
            return Err(KeyError::new(&self.key("fault"), "the fault does nothing").hint(
                "name status, latency, refuse, reset, blackhole, truncate, stall, garbage, throttle or logs_full",
            ));
        }
        if let Some(node) = nodes.iter().find(|node| node.role() != Role::Origin)
            && (file.status.is_some() || file.path.is_some())
        {
            let field = if file.status.is_some() { "status" } else { "path" };
            return Err(KeyError::new(
                &self.key(field),
                format!("{node} is no origin: status and path are for origins, which see requests"),
            )
            .hint("what is below HTTP (latency, refuse, reset, blackhole, throttle, ...) any node can do"));
        }
        if let Some(node) = nodes.iter().find(|node| self.names.cluster.is_sealed(node))
            && (file.status.is_some() || file.path.is_some())
        {
            let field = if file.status.is_some() { "status" } else { "path" };
            return Err(KeyError::new(
                &self.key(field),
                format!("{node} is spoken to by HTTPS: nobody between can see a path, or answer with a status"),
            )
            .hint("what is below HTTP (latency, refuse, reset, blackhole, throttle, ...) is done"));
        }
        if file.logs_full {
            self.nodes("fault", &file.fault, true)?;
            if file.rate.is_some() || file.path.is_some() || file.from.is_some() {
                return Err(KeyError::new(
                    &self.key("logs_full"),
                    "logs are of a whole node: rate, path and from are for requests",
                ));
            }
        }
        let rate = self.share("rate", &file.rate)?.unwrap_or(1.0);
        let from = file.from.as_ref().map(|name| self.names.site(&self.key("from"), name)).transpose()?;
        Ok(Action::Fault { nodes, effects, rate, path: file.path.clone(), from, span })
    }

    fn link(&self, span: Option<Duration>) -> Result<Action, KeyError> {
        let file = self.file;
        let ends: Vec<&str> = match file.link.as_ref().map(|link| link.0.as_slice()) {
            Some([one]) => one.split_whitespace().collect(),
            Some(all) => all.iter().map(String::as_str).collect(),
            None => Vec::new(),
        };
        let [a, b] = ends.as_slice() else {
            return Err(KeyError::new(&self.key("link"), "a link has two ends").hint("link = [\"fra\", \"iad\"]"));
        };
        let (a, b) = (self.names.site(&self.key("link"), a)?, self.names.site(&self.key("link"), b)?);
        if a == b {
            return Err(KeyError::new(&self.key("link"), format!("both ends are at {a}: no link lies between them")));
        }
        let mut changes = Vec::new();
        if let Some(delay) = file.delay {
            changes.push(LinkChange::Delay(self.delay("delay", delay)?));
        }
        changes.extend(self.share("loss", &file.loss)?.map(LinkChange::Loss));
        changes.extend(file.throttle.map(|Bps(bps)| LinkChange::Throttle(bps)));
        changes.extend(file.partition.then_some(LinkChange::Partition));
        if changes.is_empty() {
            return Err(KeyError::new(&self.key("link"), "nothing about the link is changed")
                .hint("name delay, loss, throttle or partition"));
        }
        Ok(Action::Link { a, b, one_way: file.one_way, changes, span })
    }

    fn heal(&self) -> Result<Action, KeyError> {
        let written = self.file.heal.as_ref().map(|heal| heal.0.as_slice()).unwrap_or_default();
        if let [all] = written
            && all == "all"
        {
            return Ok(Action::Heal(HealTarget::All));
        }
        if let [one] = written
            && let Some((a, b)) = one.split_once("<->").or_else(|| one.split_once("->"))
        {
            let (a, b) = (self.names.site(&self.key("heal"), a)?, self.names.site(&self.key("heal"), b)?);
            return Ok(Action::Heal(HealTarget::Link { a, b }));
        }
        let mut nodes = Vec::new();
        let mut sites = Vec::new();
        for (at, name) in written.iter().enumerate() {
            let key = self.item_key("heal", &self.file.heal, at);
            let site = self.names.site(&key, name).ok().filter(|_| !name.contains('.'));
            match (self.names.nodes(&key, name), site) {
                (Err(unknown), None) => return Err(unknown),
                (found, site) => {
                    nodes.extend(found.unwrap_or_default());
                    sites.extend(site);
                }
            }
        }
        if nodes.is_empty() && sites.is_empty() {
            return Err(KeyError::new(&self.key("heal"), "it names nobody").hint("heal = \"all\""));
        }
        Ok(Action::Heal(HealTarget::At { nodes, sites }))
    }

    fn invalidate(&self) -> Result<Action, KeyError> {
        let file = self.file;
        let patterns = file.invalidate.as_ref().map(|patterns| patterns.0.clone()).unwrap_or_default();
        for (at, pattern) in patterns.iter().enumerate() {
            InvalidationPattern::parse(pattern).map_err(|error| {
                KeyError::new(&self.item_key("invalidate", &file.invalidate, at), error.to_string())
            })?;
        }
        if patterns.is_empty() {
            return Err(
                KeyError::new(&self.key("invalidate"), "there is nothing to invalidate").hint("invalidate = \"/*\"")
            );
        }
        Ok(Action::Invalidate { distribution: self.distribution()?, patterns })
    }

    fn policy(&self) -> Result<Action, KeyError> {
        let name = self.file.policy.clone().unwrap_or_default();
        let policy = name.parse::<PolicyKind>().map_err(|_| {
            let hint = nearest_or_all(&name, PolicyKind::ALL.map(PolicyKind::as_str));
            KeyError { hint, ..KeyError::new(&self.key("policy"), format!("no policy {name:?}")) }
        })?;
        if policy == PolicyKind::Program && self.names.cluster.router.program.is_none() {
            return Err(KeyError::new(&self.key("policy"), "there is no program")
                .hint("[router] program = \"python3 router.py\""));
        }
        Ok(Action::Policy { distribution: self.distribution()?, policy })
    }

    fn distribution(&self) -> Result<Option<String>, KeyError> {
        let written = self.file.distribution.as_ref();
        written.map(|name| self.names.distribution(&self.key("distribution"), name)).transpose()
    }

    fn load(&self, loads: usize, span: Option<Duration>) -> Result<Action, KeyError> {
        let file = self.file;
        let factor = match file.load.as_ref() {
            Some(Figure::Number(factor)) => Some(*factor),
            Some(Figure::Text(text)) => text.trim().trim_start_matches('x').trim_end_matches('x').parse().ok(),
            None => None,
        };
        let Some(factor) = factor.filter(|factor| (0.0..=1e6).contains(factor)) else {
            return Err(
                KeyError::new(&self.key("load"), "load is multiplied by a number").hint("load = 10, or load = \"x10\"")
            );
        };
        if loads == 0 {
            return Err(KeyError::new(&self.key("load"), "there is no load").hint("write [load], with rps = 100"));
        }
        let load = match file.which {
            Some(which) if (1..=loads).contains(&which) => Some(which - 1),
            Some(which) => {
                return Err(KeyError::new(&self.key("which"), format!("there is no load {which}, only {loads}")));
            }
            None => None,
        };
        Ok(Action::Load(LoadChange { load, factor, over: file.over.map_or(Duration::ZERO, |over| over.0), span }))
    }

    fn clock(&self, nodes: Vec<NodeId>, span: Option<Duration>) -> Result<Action, KeyError> {
        let nanos = |field: &str, by: Span| {
            let nanos = i64::try_from(by.0.as_nanos()).ok().filter(|_| !by.0.is_zero() && by.0 <= CLOCK_MAX);
            nanos.ok_or_else(|| {
                let most = Span(CLOCK_MAX);
                KeyError::new(&self.key(field), format!("{by} is not above 0 and at most {most}"))
            })
        };
        let ahead_ns = match (self.file.ahead, self.file.behind) {
            (Some(ahead), None) => nanos("ahead", ahead)?,
            (None, Some(behind)) => -nanos("behind", behind)?,
            (None, None) => {
                return Err(KeyError::new(&self.key("clock"), "it is not said by how much the clock goes wrong")
                    .hint("name ahead or behind; heal, or for, makes it right again"));
            }
            (Some(_), Some(_)) => {
                return Err(KeyError::new(&self.key("behind"), "a clock is ahead or behind, not both"));
            }
        };
        let effects = vec![Effect::Clock { ahead_ns }];
        Ok(Action::Fault { nodes, effects, rate: 1.0, path: None, from: None, span })
    }

    fn delay(&self, field: &str, delay: Span) -> Result<Duration, KeyError> {
        if delay.0.is_zero() || delay.0 > DELAY_MAX {
            let most = Span(DELAY_MAX);
            return Err(KeyError::new(&self.key(field), format!("{delay} is not above 0 and at most {most}")));
        }
        Ok(delay.0)
    }

    fn share(&self, field: &str, written: &Option<Figure>) -> Result<Option<f64>, KeyError> {
        let Some(figure) = written else { return Ok(None) };
        match figure.share() {
            Ok(share) if share > 0.0 => Ok(Some(share)),
            Ok(_) => Err(KeyError::new(&self.key(field), "a share of nothing does nothing")),
            Err(why) => Err(KeyError::new(&self.key(field), why)),
        }
    }

    /// The step in one line, as one would say it.
    fn text(&self) -> String {
        let file = self.file;
        let names = |written: &Option<Many<String>>| written.as_ref().map(|all| all.0.join(" "));
        let verbs = [
            ("kill", &file.kill),
            ("start", &file.start),
            ("pause", &file.pause),
            ("resume", &file.resume),
            ("fault", &file.fault),
            ("link", &file.link),
            ("heal", &file.heal),
            ("drain", &file.drain),
            ("undrain", &file.undrain),
            ("invalidate", &file.invalidate),
            ("clock", &file.clock),
        ];
        let mut words: Vec<String> =
            verbs.into_iter().filter_map(|(verb, written)| Some(format!("{verb} {}", names(written)?))).collect();
        words.extend(file.policy.as_ref().map(|name| format!("policy {name}")));
        words.extend(file.config.as_ref().map(|table| match table.is_empty() {
            true => "config back".to_owned(),
            false => format!("config {}", table.keys().cloned().collect::<Vec<_>>().join(" ")),
        }));
        words.extend(file.on.as_ref().map(|on| format!("on {}", on.0.join(" "))));
        words.extend(file.load.as_ref().map(|factor| match factor {
            Figure::Number(factor) => format!("load x{factor}"),
            Figure::Text(text) => format!("load x{}", text.trim_matches('x')),
        }));
        words.extend(
            file.rate.as_ref().and_then(|rate| Some(format!("{} %", (rate.share().ok()? * 1e4).round() / 1e2))),
        );
        words.extend(file.status.map(|status| status.to_string()));
        words.extend(file.latency.map(|by| format!("+{by}")));
        words.extend(file.delay.map(|by| format!("+{by}")));
        words.extend(
            file.loss.as_ref().and_then(|loss| Some(format!("{} % loss", (loss.share().ok()? * 1e4).round() / 1e2))),
        );
        words.extend(file.throttle.map(|Bps(bps)| format!("{bps} bit/s")));
        let switches = [
            ("refuse", file.refuse),
            ("reset", file.reset),
            ("blackhole", file.blackhole),
            ("truncate", file.truncate),
            ("stall", file.stall),
            ("garbage", file.garbage),
            ("logs full", file.logs_full),
            ("partition", file.partition),
            ("one way", file.one_way),
        ];
        words.extend(switches.into_iter().filter(|(_, on)| *on).map(|(word, _)| word.to_owned()));
        words.extend(file.path.as_ref().map(|path| format!("path {path}")));
        words.extend(file.from.as_ref().map(|from| format!("from {from}")));
        words.extend(file.distribution.as_ref().map(|id| format!("of {id}")));
        words.extend(file.ahead.map(|by| format!("{by} ahead")));
        words.extend(file.behind.map(|by| format!("{by} behind")));
        words.extend(file.over.map(|over| format!("over {over}")));
        words.extend(file.r#for.map(|span| format!("for {span}")));
        words.join(" ")
    }
}

/// Words as a shell tells them apart: by blanks, but for those between quotes. `None` where a quote is not closed.
fn words_of(text: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut is_within) = (None, false);
    for c in text.chars() {
        match quote {
            None if c.is_whitespace() => is_within = false,
            _ if quote == Some(c) => quote = None,
            _ => {
                if !std::mem::replace(&mut is_within, true) {
                    words.push(String::new());
                }
                match (quote, words.last_mut()) {
                    (None, _) if c == '"' || c == '\'' => quote = Some(c),
                    (_, Some(word)) => word.push(c),
                    (_, None) => {}
                }
            }
        }
    }
    quote.is_none().then_some(words)
}

/// What one types after `iso`, as a step.
fn typed_step(key: &str, text: &str) -> Result<StepFile, KeyError> {
    let words = words_of(text).ok_or_else(|| KeyError::new(key, "a quote is not closed"))?;
    if words.is_empty() {
        return Err(KeyError::new(key, "this step does nothing").hint("do = \"link fra iad --loss 5%\""));
    }
    if words.iter().any(|word| word == "--world" || word.starts_with("--world=")) {
        return Err(KeyError::new(key, "a scenario plays in one world: --world is for the command line"));
    }
    let words = ["iso".to_owned()].into_iter().chain(words);
    let cli = Cli::try_parse_from(words).map_err(|error| {
        let said = error.to_string();
        let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        KeyError::new(key, first).hint("what one types after `iso`: do = \"link fra iad --loss 5%\"")
    })?;
    let many = |names: Vec<String>| Some(Many(names));
    let step = StepFile { r#do: Some(text.to_owned()), ..StepFile::default() };
    Ok(match cli.verb {
        Verb::Kill(args) => StepFile { kill: many(args.targets), r#for: args.span, ..step },
        Verb::Pause(args) => StepFile { pause: many(args.targets), r#for: args.span, ..step },
        Verb::Start(args) => StepFile { start: many(args.targets), ..step },
        Verb::Resume(args) => StepFile { resume: many(args.targets), ..step },
        Verb::Fault(args) => fault_typed(args, step),
        Verb::Link(args) => link_typed(args, step),
        Verb::Heal(args) => StepFile { heal: many(vec![args.target]), ..step },
        Verb::Drain(args) => StepFile { drain: many(args.pops), ..step },
        Verb::Undrain(args) => StepFile { undrain: many(args.pops), ..step },
        Verb::Invalidate(args) => StepFile { invalidate: many(args.patterns), distribution: args.distribution, ..step },
        Verb::Route(args) => match args.verb {
            Some(RouteVerb::Policy { name, distribution }) => StepFile { policy: Some(name), distribution, ..step },
            None => return Err(KeyError::new(key, "this changes nothing").hint("route policy anycast")),
        },
        _ => {
            return Err(KeyError::new(key, "this verb breaks and heals nothing")
                .hint("kill, start, pause, resume, fault, link, heal, drain, undrain, invalidate or route policy"));
        }
    })
}

fn fault_typed(args: FaultArgs, step: StepFile) -> StepFile {
    let (ahead, behind) = (args.clock_ahead, args.clock_behind);
    let clock = (ahead.is_some() || behind.is_some()).then(|| Many(vec![args.target.clone()]));
    let is_more = args.status.is_some() || args.latency.is_some() || args.throttle.is_some() || args.logs_full;
    let is_more = is_more || args.refuse || args.reset || args.blackhole || args.truncate || args.stall || args.garbage;
    StepFile {
        fault: (clock.is_none() || is_more).then(|| Many(vec![args.target])),
        clock,
        ahead,
        behind,
        status: args.status,
        rate: args.rate.map(|share| Figure::Number(share.0)),
        latency: args.latency,
        refuse: args.refuse,
        reset: args.reset,
        blackhole: args.blackhole,
        truncate: args.truncate,
        stall: args.stall,
        garbage: args.garbage,
        throttle: args.throttle.map(Bps),
        logs_full: args.logs_full,
        path: args.path,
        from: args.from,
        r#for: args.span,
        ..step
    }
}

fn link_typed(args: LinkArgs, step: StepFile) -> StepFile {
    StepFile {
        link: Some(Many(vec![args.a, args.b])),
        delay: args.delay,
        loss: args.loss.map(|share| Figure::Number(share.0)),
        throttle: args.throttle.map(Bps),
        partition: args.partition,
        one_way: args.one_way,
        r#for: args.span,
        ..step
    }
}

/// Whether each step is possible when its time comes: nobody is killed twice, or made to misbehave who does not run.
///
/// `indexed` are the steps by time, each with its index in the file.
pub(super) fn check_order(indexed: &[(usize, Step)]) -> Result<(), KeyError> {
    let mut stopped: BTreeMap<&NodeId, (&str, Option<Duration>)> = BTreeMap::new();
    let mut connection: Vec<Overlap<'_>> = Vec::new();
    let mut drained = Vec::new();
    for (index, step) in indexed {
        let now = step.at;
        let key = format!("at.{index}");
        let until = |span: Option<Duration>| span.map(|span| now + span);
        stopped.retain(|_, (_, end)| end.is_none_or(|end| end > now));
        connection.retain(|fault| fault.until.is_none_or(|end| end > now));
        match &step.action {
            Action::Kill { nodes, span } | Action::Pause { nodes, span } => {
                let how = if matches!(step.action, Action::Kill { .. }) { "killed" } else { "paused" };
                for node in nodes {
                    if let Some((was, _)) = stopped.get(node)
                        && (*was == "killed" || *was == how)
                    {
                        return Err(KeyError::new(&key, format!("{node} is {was} already at {}", Span(now))));
                    }
                    stopped.insert(node, (how, until(*span)));
                }
            }
            Action::Start { nodes } | Action::Resume { nodes } => {
                let how = if matches!(step.action, Action::Start { .. }) { "killed" } else { "paused" };
                for node in nodes {
                    if stopped.remove(node).is_none_or(|(was, _)| was != how) {
                        return Err(KeyError::new(&key, format!("{node} is not {how} at {}", Span(now))));
                    }
                }
            }
            Action::Fault { nodes, effects, path, from, span, .. } => {
                for node in nodes {
                    if let Some((was, _)) = stopped.get(node) {
                        return Err(KeyError::new(
                            &key,
                            format!("{node} is {was} at {}: it cannot misbehave", Span(now)),
                        ));
                    }
                    let Some(effect) = effects.iter().find(|effect| effect.slot() == "connection") else { continue };
                    let same = |fault: &&Overlap<'_>| {
                        fault.node == node
                            && (fault.path, fault.from) == (path.as_deref(), from.as_ref().map(|site| site.as_str()))
                    };
                    if let Some(other) = connection.iter().find(same)
                        && other.effect != *effect
                    {
                        let (now, was, is) = (Span(now), other.effect.kind(), effect.kind());
                        return Err(KeyError::new(
                            &key,
                            format!("at {now} {node} has a {was} already: both it and a {is} cannot be"),
                        )
                        .hint("heal the first one, or let it end with for"));
                    }
                    let from = from.as_ref().map(|site| site.as_str());
                    connection.push(Overlap {
                        node,
                        effect: *effect,
                        path: path.as_deref(),
                        from,
                        until: until(*span),
                    });
                }
            }
            Action::Heal(HealTarget::All) => {
                stopped.clear();
                connection.clear();
            }
            Action::Heal(HealTarget::At { nodes, .. }) => {
                stopped.retain(|node, _| !nodes.contains(node));
                connection.retain(|fault| !nodes.contains(fault.node));
            }
            Action::Drain(pop) => {
                if drained.contains(pop) {
                    return Err(KeyError::new(&key, format!("{pop} is drained already at {}", Span(now))));
                }
                drained.push(*pop);
            }
            Action::Undrain(pop) => {
                if !drained.contains(pop) {
                    return Err(KeyError::new(&key, format!("{pop} is not drained at {}", Span(now))));
                }
                drained.retain(|drained| drained != pop);
            }
            Action::Heal(HealTarget::Link { .. })
            | Action::Link { .. }
            | Action::Invalidate { .. }
            | Action::Policy { .. }
            | Action::Config(_)
            | Action::Load(_) => {}
        }
    }
    Ok(())
}

/// A fault of connections that is active.
struct Overlap<'a> {
    node: &'a NodeId,
    effect: Effect,
    path: Option<&'a str>,
    from: Option<&'a str>,
    until: Option<Duration>,
}
