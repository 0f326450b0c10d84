//! `iso study plot`: rows as a picture.
//!
//! Rows that agree in x and in what tells curves apart are repetitions under several seeds; where they differ in more than
//! the seed, a mean would mix what is different, and that is refused.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use csv::StringRecord;
use serde::{Deserialize, Serialize};

use super::{
    ground::{Figure, repetitions},
    rows::Rows,
    sweep::PlanFile,
};
use crate::{
    args::{AxisName, Cli, PlotArgs},
    diagnose::{KeyError, nearest_or_all, read_source, refused},
    picture::{Axis, Picture, Point, SERIES_MAX, Series, png},
    talk::VerbError,
    verbs::print,
};

/// Values of a column that a refusal names.
const NAMED_MAX: usize = 16;

/// `[plot]` of a plan.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlotTable {
    x: String,
    y: OneOrMore,
    #[serde(default)]
    by: OneOrMore,
    #[serde(default)]
    log: OneOrMore,
    title: Option<String>,
    #[serde(default, rename = "where")]
    filter: toml::Table,
}

/// A word, or a list of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Words")]
struct OneOrMore(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    More(Vec<String>),
}

impl From<Words> for OneOrMore {
    fn from(words: Words) -> Self {
        match words {
            Words::One(word) => Self(vec![word]),
            Words::More(words) => Self(words),
        }
    }
}

/// What is to be drawn.
#[derive(Clone, Debug, Default)]
struct Wish {
    x: String,
    y: Vec<String>,
    by: Vec<String>,
    log_x: bool,
    log_y: bool,
    /// Columns, and the values that a row may have there.
    filters: Vec<(String, Vec<String>)>,
    title: Option<String>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    out: String,
    rows: usize,
    curves: Vec<Curve>,
}

#[derive(Debug, Serialize)]
struct Curve {
    name: String,
    points: usize,
}

pub(super) fn run(cli: &Cli, args: &PlotArgs) -> Result<(), VerbError> {
    let is_png = match args.out.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => false,
        Some("png") => true,
        _ => return Err(VerbError::Usage(format!("--out {}: name a .svg or a .png", args.out.display()))),
    };
    let (rows, wish) = wish_of(args)?;
    let refuse = |why: String| VerbError::Usage(format!("{}: {why}", rows.display()));
    let (picture, count) = Rows::open(&rows).and_then(|table| drawn(&wish, table)).map_err(refuse)?;
    let svg = picture.document();
    let bytes = if is_png { png(&svg).map_err(VerbError::Failed)? } else { svg.into_bytes() };
    fs::write(&args.out, bytes)
        .map_err(|error| VerbError::Usage(format!("cannot write {}: {error}", args.out.display())))?;
    let curves = picture.series.into_iter().map(|series| Curve { name: series.name, points: series.points.len() });
    let report = Report { out: args.out.display().to_string(), rows: count, curves: curves.collect() };
    print(cli, &report, |report| {
        let points: usize = report.curves.iter().map(|curve| curve.points).sum();
        format!("{} rows, {} curves of {points} points to {}", report.rows, report.curves.len(), report.out)
    })
}

/// The rows and what to draw of them: what a plan says, and what was typed instead.
fn wish_of(args: &PlotArgs) -> Result<(PathBuf, Wish), VerbError> {
    let is_plan = args.file.extension().is_some_and(|extension| extension == "toml");
    let (rows, mut wish) = if is_plan {
        let rows = args.rows.clone().ok_or_else(|| {
            VerbError::Usage(format!("{} is a plan; say which rows to draw with --rows", args.file.display()))
        })?;
        (rows, planned(&args.file)?)
    } else if args.rows.is_some() {
        return Err(VerbError::Usage("--rows goes with a plan; name the rows or the plan".into()));
    } else {
        (args.file.clone(), Wish::default())
    };
    if let Some(x) = &args.x {
        wish.x.clone_from(x);
    }
    for (typed, planned) in [(&args.y, &mut wish.y), (&args.by, &mut wish.by)] {
        if !typed.is_empty() {
            planned.clone_from(typed);
        }
    }
    if !args.log.is_empty() {
        (wish.log_x, wish.log_y) = (args.log.contains(&AxisName::X), args.log.contains(&AxisName::Y));
    }
    for filter in &args.filters {
        let (column, values) = filter.split_once('=').ok_or_else(|| {
            VerbError::Usage(format!("--where {filter:?}: write a column and a value, as policy=lru"))
        })?;
        wish.filters.retain(|(planned, _)| planned != column);
        wish.filters.push((column.to_owned(), values.split(',').map(str::to_owned).collect()));
    }
    wish.title = args.title.clone().or(wish.title);
    if wish.x.is_empty() || wish.y.is_empty() {
        return Err(VerbError::Usage("say which columns with --x and --y".into()));
    }
    Ok((rows, wish))
}

/// What a plan's `[plot]` says.
fn planned(path: &Path) -> Result<Wish, VerbError> {
    let source = read_source(path).map_err(|complaint| VerbError::Config(Box::new(complaint)))?;
    let file: PlanFile =
        toml::from_str(&source.text).map_err(|error| VerbError::Config(Box::new(refused(&source, &error))))?;
    let complain = |error: KeyError| VerbError::Config(Box::new(source.complaint(error)));
    let plot = file.plot.ok_or_else(|| {
        complain(KeyError::new("study", "the plan has no [plot]").hint("[plot] with x = \"COLUMN\" and y = \"COLUMN\""))
    })?;
    plot.wish().map_err(complain)
}

impl PlotTable {
    /// Whether it can be drawn of rows with these columns.
    ///
    /// # Errors
    /// The key that names what is not there.
    pub(super) fn check(&self, head: &StringRecord) -> Result<(), KeyError> {
        let Wish { x, y, by, filters, .. } = self.clone().wish()?;
        let refuse = |key: String, NoColumn { message, hint }: NoColumn| KeyError::new(&key, message).hint(hint);
        column_of(head, &x).map_err(|no| refuse("plot.x".into(), no))?;
        for (nth, name) in y.iter().enumerate() {
            Value::of(head, name).map_err(|no| refuse(format!("plot.y.{nth}"), no))?;
        }
        for (nth, name) in by.iter().enumerate() {
            column_of(head, name).map_err(|no| refuse(format!("plot.by.{nth}"), no))?;
        }
        for (name, _) in &filters {
            let unknown = |no| KeyError { is_unknown: true, ..refuse(format!("plot.where.{name}"), no) };
            column_of(head, name).map_err(unknown)?;
        }
        Ok(())
    }

    fn wish(self) -> Result<Wish, KeyError> {
        let mut wish = Wish { x: self.x, y: self.y.0, by: self.by.0, title: self.title, ..Wish::default() };
        for (nth, axis) in self.log.0.iter().enumerate() {
            match axis.as_str() {
                "x" => wish.log_x = true,
                "y" => wish.log_y = true,
                other => {
                    let key = format!("plot.log.{nth}");
                    return Err(KeyError::new(&key, format!("no axis {other:?}")).hint("there are x, y"));
                }
            }
        }
        for (column, value) in self.filter {
            let word = |value: toml::Value| match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            let values = match value {
                toml::Value::Array(values) => values.into_iter().map(word).collect(),
                value => vec![word(value)],
            };
            wish.filters.push((column, values));
        }
        Ok(wish)
    }
}

/// A column, or one over another.
#[derive(Clone, Copy, Debug)]
struct Value {
    column: usize,
    over: Option<usize>,
}

impl Value {
    fn of(head: &StringRecord, name: &str) -> Result<Self, NoColumn> {
        // A column may have such a name itself.
        if let Some(column) = head.iter().position(|column| column == name) {
            return Ok(Self { column, over: None });
        }
        match name.split_once('/') {
            Some((column, over)) => Ok(Self { column: column_of(head, column)?, over: Some(column_of(head, over)?) }),
            None => Ok(Self { column: column_of(head, name)?, over: None }),
        }
    }

    /// None where a cell is empty.
    fn read(self, record: &StringRecord, name: &str) -> Result<Option<f64>, String> {
        let cell = |at: usize| match record.get(at).unwrap_or_default() {
            "" => Ok(None),
            text => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Some(value)),
                _ => Err(format!("{text:?} in {name} is no number")),
            },
        };
        let (value, over) = (cell(self.column)?, self.over.map(cell).transpose()?);
        Ok(match (value, over) {
            (Some(value), None) => Some(value),
            (Some(value), Some(Some(over))) if over != 0.0 => Some(value / over),
            _ => None,
        })
    }
}

/// That rows have no such column, and which they have.
struct NoColumn {
    message: String,
    hint: String,
}

impl From<NoColumn> for String {
    fn from(NoColumn { message, hint }: NoColumn) -> Self {
        format!("{message}; {hint}")
    }
}

fn column_of(head: &StringRecord, name: &str) -> Result<usize, NoColumn> {
    head.iter().position(|column| column == name).ok_or_else(|| NoColumn {
        message: format!("no column {name:?}"),
        hint: nearest_or_all(name, head.iter()).unwrap_or_else(|| format!("there are {}", list(head.iter()))),
    })
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// `20` and `20.0` are one.
fn is_same(cell: &str, value: &str) -> bool {
    cell == value || matches!((cell.parse::<f64>(), value.parse::<f64>()), (Ok(cell), Ok(value)) if cell == value)
}

/// What was seen at one x of one curve.
#[derive(Debug, Default)]
struct Samples {
    values: Vec<f64>,
    seeds: BTreeSet<String>,
    first: StringRecord,
}

/// One curve while rows are read: its points by what is in the column of x.
#[derive(Debug, Default)]
struct Group {
    name: String,
    style: usize,
    is_expected: bool,
    points: BTreeMap<String, Samples>,
}

/// The picture of rows, and how many rows there were.
fn drawn(wish: &Wish, rows: Rows) -> Result<(Picture, usize), String> {
    let head = rows.head.clone();
    let x_at = column_of(&head, &wish.x)?;
    let ys = wish.y.iter().map(|name| Ok((name, Value::of(&head, name)?))).collect::<Result<Vec<_>, String>>()?;
    let by = wish.by.iter().map(|name| column_of(&head, name)).collect::<Result<Vec<usize>, NoColumn>>()?;
    let seed_at = head.iter().position(|column| column == "seed");
    let mut filters = Vec::new();
    for (column, values) in &wish.filters {
        filters.push((column_of(&head, column)?, values, BTreeSet::new()));
    }
    // In the order in which rows name them, which is that of the plan.
    let (mut groups, mut keys) = (Vec::<Group>::new(), BTreeMap::new());
    let (mut styles, mut x_names, mut count) = (BTreeMap::new(), Vec::new(), 0);
    for record in rows {
        let record = record?;
        let mut is_wanted = true;
        for (at, values, seen) in &mut filters {
            let cell = record.get(*at).unwrap_or_default();
            is_wanted &= values.iter().any(|value| is_same(cell, value));
            if seen.len() <= NAMED_MAX && !seen.contains(cell) {
                seen.insert(cell.to_owned());
            }
        }
        let x = record.get(x_at).unwrap_or_default();
        if !is_wanted || x.is_empty() {
            continue;
        }
        count += 1;
        let key: Vec<String> = by.iter().map(|&at| record.get(at).unwrap_or_default().to_owned()).collect();
        for (nth, &(name, value)) in ys.iter().enumerate() {
            let Some(y) = value.read(&record, name)? else { continue };
            let at = *keys.entry((key.clone(), nth)).or_insert_with(|| {
                let is_expected = name.starts_with("expected_");
                let style = (key.clone(), if is_expected { measured(&wish.y, name) } else { nth });
                let next = styles.len();
                let style = *styles.entry(style).or_insert(next);
                let name = name_of(&wish.by, &key, (ys.len() > 1).then_some(name.as_str()));
                groups.push(Group { name, style, is_expected, points: BTreeMap::new() });
                groups.len() - 1
            });
            let Some(group) = groups.get_mut(at) else { continue };
            if !x_names.iter().any(|known| known == x) {
                x_names.push(x.to_owned());
            }
            let samples = group.points.entry(x.to_owned()).or_default();
            if let Some(seed) = seed_at.and_then(|at| record.get(at))
                && !samples.seeds.insert(seed.to_owned())
            {
                let reserved = [Some(x_at), seed_at, Some(value.column)];
                return Err(several(
                    &head,
                    &samples.first,
                    &record,
                    &reserved,
                    format!("{} at {x}", group.name).trim_start(),
                    seed,
                ));
            }
            if samples.values.is_empty() {
                samples.first = record.clone();
            }
            samples.values.push(y);
        }
    }
    if groups.is_empty() {
        let values =
            filters.iter().find(|(_, values, seen)| !seen.iter().any(|cell| values.iter().any(|v| is_same(cell, v))));
        return Err(match values {
            Some((at, values, seen)) => format!(
                "no row has {}={}; there are {}",
                head.get(*at).unwrap_or_default(),
                values.join(","),
                list(seen.iter().take(NAMED_MAX).map(String::as_str))
            ),
            None => "no row has what is to be drawn".into(),
        });
    }
    if groups.len() > SERIES_MAX {
        let more = groups.len();
        return Err(format!(
            "{more} curves, and {SERIES_MAX} can be told apart; take some with --where, or fewer with --by"
        ));
    }
    Ok((picture(wish, groups, x_names, seed_at.is_some())?, count))
}

/// Which column it is that something is expected of: what is expected looks like what was measured.
fn measured(ys: &[String], expected: &str) -> usize {
    let is_measured = |name: &String| !name.starts_with("expected_");
    let of = ys.iter().position(|name| is_measured(name) && expected.ends_with(name.as_str()));
    of.or_else(|| ys.iter().position(is_measured)).unwrap_or(0)
}

/// Why rows with the same seed are no repetitions.
fn several(
    head: &StringRecord,
    first: &StringRecord,
    record: &StringRecord,
    reserved: &[Option<usize>],
    what: &str,
    seed: &str,
) -> String {
    let differ = head.iter().zip(first.iter().zip(record)).enumerate().filter(|&(at, (name, (a, b)))| {
        a != b && !reserved.contains(&Some(at)) && !matches!(name, "run" | "runs" | "plan" | "commit")
    });
    let names: Vec<&str> = differ.map(|(_, (name, _))| name).take(3).collect();
    let hint = match names.as_slice() {
        [] => "take some with --where".to_owned(),
        [one, ..] => {
            format!("they differ in {}; tell them apart with --by {one}, or take some with --where", names.join(", "))
        }
    };
    format!("several rows of seed {seed} for {what}: {hint}")
}

/// A curve's name: what tells it apart.
fn name_of(by: &[String], key: &[String], y: Option<&str>) -> String {
    let words = by.iter().zip(key).map(|(column, value)| {
        match value.as_str() {
            "" | "false" => format!("no {}", words(column)),
            "true" => words(column),
            // Words say what they are, numbers do not.
            number if number.parse::<f64>().is_ok() => format!("{} {number}", words(column)),
            word => word.to_owned(),
        }
    });
    words.chain(y.map(words_of)).collect::<Vec<_>>().join(", ")
}

fn words_of(name: &str) -> String {
    words(name)
}

/// A column's name as a label: `p50_ms` is `p50 (ms)`.
fn words(column: &str) -> String {
    const UNITS: [(&str, &str); 5] =
        [("_ms", "ms"), ("_us", "µs"), ("_s", "s"), ("_bytes", "bytes"), ("_per_s", "1/s")];
    let unit = UNITS.iter().rev().find_map(|(ending, unit)| Some((column.strip_suffix(ending)?, unit)));
    match unit {
        Some((name, unit)) if !column.contains('/') => format!("{} ({unit})", name.replace('_', " ")),
        _ => column.replace('_', " ").replace('/', " / "),
    }
}

fn picture(wish: &Wish, groups: Vec<Group>, x_names: Vec<String>, has_seeds: bool) -> Result<Picture, String> {
    let is_number = x_names.iter().all(|name| name.parse::<f64>().is_ok_and(f64::is_finite));
    if wish.log_x && !is_number {
        let first = x_names.iter().find(|name| name.parse::<f64>().is_err()).map(String::as_str);
        return Err(format!("{:?} in {} is no number, and has no logarithm", first.unwrap_or_default(), wish.x));
    }
    let position = |name: &str| match name.parse::<f64>() {
        Ok(number) if is_number => number,
        _ => x_names.iter().position(|known| known == name).unwrap_or(0) as f64,
    };
    let (mut fewest, mut most) = (usize::MAX, 0);
    let series: Vec<Series> = groups
        .into_iter()
        .map(|group| {
            let points = group.points.iter().filter_map(|(name, samples)| {
                (fewest, most) = (fewest.min(samples.values.len()), most.max(samples.values.len()));
                let figure = Figure::of(samples.values.iter().copied())?;
                Some(figure.at(position(name)))
            });
            let mut points: Vec<Point> = points.collect();
            points.sort_by(|a, b| a.x.partial_cmp(&b.x).unwrap_or(Ordering::Equal));
            Series { name: group.name, is_expected: group.is_expected, style: group.style, points }
        })
        .collect();
    for (is_log, column, value) in [
        (wish.log_x, &wish.x, series.iter().flat_map(|s| &s.points).map(|point| point.x).fold(f64::INFINITY, f64::min)),
        (
            wish.log_y,
            &wish.y.join(", "),
            series.iter().flat_map(|s| &s.points).map(|p| p.y).fold(f64::INFINITY, f64::min),
        ),
    ] {
        if is_log && value <= 0.0 {
            return Err(format!("{value} in {column} has no logarithm"));
        }
    }
    let what = if has_seeds { "seeds" } else { "rows" };
    let description = match (fewest, most) {
        (fewest, most) if has_seeds && fewest == most => repetitions(most),
        (_, 0 | 1) => String::new(),
        (fewest, most) => format!("Means of {fewest} to {most} {what} and their 95 % intervals."),
    };
    let ys: Vec<String> = wish.y.iter().map(|name| words(name)).collect();
    let taken = wish.filters.iter().map(|(column, values)| format!("{} {}", words(column), values.join(", ")));
    let taken: String = taken.map(|taken| format!(", {taken}")).collect();
    let title = wish.title.clone().unwrap_or_else(|| format!("{} by {}{taken}", ys.join(", "), words(&wish.x)));
    // One axis for all: what they have in common is its label.
    let label = ys.iter().find(|name| !name.starts_with("expected ")).cloned().unwrap_or_default();
    let shared = wish.y.iter().filter(|name| !name.starts_with("expected_")).count() > 1;
    let y = Axis { is_log: wish.log_y, ..Axis::of(if shared { ys.join(", ") } else { label }) };
    let names = if is_number { Vec::new() } else { x_names };
    let x = Axis { is_log: wish.log_x, names, ..Axis::of(words(&wish.x)) };
    Ok(Picture { title, description, x, y, series })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "run,seed,policy,size,misses,requests,ratio\n\
                        0,1,lru,10,5,10,0.5\n0,2,lru,10,7,10,0.7\n1,1,lru,100,1,10,0.1\n1,2,lru,100,3,10,0.3\n\
                        2,1,fifo,10,9,10,\n2,2,fifo,10,9,10,\n";

    fn draw(text: &str, wish: &Wish) -> Result<Picture, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Rows::open(file.path()).and_then(|rows| drawn(wish, rows)).map(|(picture, _)| picture)
    }

    fn wish(x: &str, y: &[&str], by: &[&str]) -> Wish {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Wish { x: x.into(), y: words(y), by: words(by), ..Wish::default() }
    }

    #[test]
    fn a_point_is_the_mean_over_seeds_with_its_interval() {
        let picture = draw(ROWS, &wish("size", &["misses"], &["policy"])).unwrap();
        let [lru, fifo] = picture.series.as_slice() else { panic!("{picture:?}") };
        // Standard deviation 1.414, by the root of two, t(1) = 12.706.
        assert_eq!((lru.points[0].x, lru.points[0].y, lru.name.as_str()), (10.0, 6.0, "lru"));
        assert!((lru.points[0].half.unwrap() - 12.706).abs() < 1e-9);
        assert_eq!((fifo.points.len(), fifo.points[0].half), (1, Some(0.0)));
        assert_eq!(picture.description, "Means of 2 seeds and their 95 % intervals.");
    }

    #[test]
    fn a_curve_is_named_by_what_tells_it_apart() {
        let by = ["budget", "shed", "collapse", "policy"].map(str::to_owned);
        let of = |key: [&str; 4]| name_of(&by, &key.map(str::to_owned), None);
        assert_eq!(of(["", "150", "true", "lru"]), "no budget, shed 150, collapse, lru");
        assert_eq!(of(["0.1", "", "false", "lru"]), "budget 0.1, no shed, no collapse, lru");
    }

    #[test]
    fn one_column_over_another_is_drawn_and_empty_cells_are_left_out() {
        let of = |y: &str| draw(ROWS, &wish("size", &[y], &["policy"])).unwrap().series;
        assert!((of("misses/requests")[0].points[0].y - 0.6).abs() < 1e-12);
        assert_eq!(of("ratio").len(), 1);
    }

    #[test]
    fn names_along_the_bottom_are_in_the_order_of_rows() {
        let mut wish = wish("policy", &["misses"], &[]);
        wish.filters = vec![("size".into(), vec!["10.0".into()])];
        let picture = draw(ROWS, &wish).unwrap();
        assert_eq!((picture.x.names, picture.series[0].points.len()), (vec!["lru".to_owned(), "fifo".to_owned()], 2));
    }

    #[test]
    fn what_is_expected_looks_like_what_it_is_expected_of() {
        let rows = "seed,policy,size,ratio,expected_ratio\n1,lru,1,0.5,0.4\n1,fifo,1,0.6,0.5\n";
        let series = draw(rows, &wish("size", &["ratio", "expected_ratio"], &["policy"])).unwrap().series;
        let looks: Vec<(usize, bool)> = series.iter().map(|series| (series.style, series.is_expected)).collect();
        assert_eq!(looks, [(0, false), (0, true), (1, false), (1, true)]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_with_what_there_is() {
        let where_size = |value: &str| {
            let filters = vec![("size".to_owned(), vec![value.to_owned()])];
            Wish { filters, ..wish("policy", &["misses"], &[]) }
        };
        for (wish, says) in [
            (wish("sizes", &["misses"], &[]), "did you mean `size`?"),
            (wish("size", &["misses/request"], &[]), "did you mean `requests`?"),
            (wish("size", &["qqq"], &[]), "there are run, seed, policy"),
            (wish("size", &["misses"], &[]), "they differ in policy"),
            (wish("size", &["policy"], &[]), "\"lru\" in policy is no number"),
            (Wish { log_x: true, ..wish("policy", &["misses"], &["size"]) }, "\"lru\" in policy is no number"),
            (where_size("20"), "no row has size=20; there are 10, 100"),
            (Wish { log_y: true, ..wish("size", &["run"], &["policy"]) }, "0 in run has no logarithm"),
        ] {
            let why = draw(ROWS, &wish).map(|_| ()).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_column_s_name_is_a_label_with_its_unit() {
        for (column, label) in [
            ("p50_ms", "p50 (ms)"),
            ("ttl_s", "ttl (s)"),
            ("dns_per_s", "dns (1/s)"),
            ("a_b/c", "a b / c"),
            ("misses", "misses"),
        ] {
            assert_eq!(words(column), label);
        }
    }
}
