//! What a load asks for, as it is typed: `zipf:1.1:500`, `trace:FILE`, or a path.

use std::path::Path;

use world::scenario::{Paths, TraceRequest};

use crate::trace_file;

/// Requests that a trace may have.
const TRACE_MAX: usize = 4_000_000;

/// Reads what was typed; a trace's file is looked for from `base` on.
///
/// # Errors
/// It is none of the three, or the trace cannot be read. In words.
pub(crate) fn parse(text: &str, base: &Path) -> Result<Paths, String> {
    if text.starts_with('/') {
        return match text.parse::<http::Uri>() {
            Ok(_) => Ok(Paths::One(text.to_owned())),
            Err(error) => Err(format!("{text:?} is no path: {error}")),
        };
    }
    match text.split_once(':') {
        Some(("zipf", rest)) => zipf(rest).ok_or_else(|| {
            format!("{text:?}: expected zipf:S:N, an exponent from 0 to 20 and the number of objects, as zipf:1.1:500")
        }),
        Some(("trace", file)) if !file.is_empty() => trace(&base.join(file)),
        _ => Err(format!("{text:?} is no load: expected zipf:S:N, trace:FILE or a path that begins with /")),
    }
}

fn zipf(text: &str) -> Option<Paths> {
    let (s, n) = text.split_once(':')?;
    let (s, n): (f64, u64) = (s.parse().ok()?, n.parse().ok()?);
    ((0.0..=20.0).contains(&s) && (1..=1 << 52).contains(&n)).then_some(Paths::Zipf { s, n })
}

fn trace(path: &Path) -> Result<Paths, String> {
    let mut records = trace_file::read(path, TRACE_MAX)?;
    // Some traces are merged from several and not quite in order.
    records.sort_by_key(|record| record.at);
    let first = records.first().map(|record| record.at).unwrap_or_default();
    let requests = records.iter().map(|record| TraceRequest {
        at: record.at.saturating_sub(first),
        object: record.id,
        bytes: record.bytes,
    });
    Ok(Paths::Trace(requests.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Paths, String> {
        parse(text, Path::new("."))
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(parsed("zipf:1.1:500"), Ok(Paths::Zipf { s: 1.1, n: 500 }));
        assert_eq!(parsed("/a?b=c"), Ok(Paths::One("/a?b=c".into())));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.csv"), "100,7,10\n101,8,20\n").unwrap();
        let Paths::Trace(requests) = parse("trace:t.csv", dir.path()).unwrap() else { panic!("no trace") };
        assert_eq!(requests.iter().map(|r| (r.at.as_secs(), r.bytes)).collect::<Vec<_>>(), [(0, 10), (1, 20)]);
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_what_could_be() {
        for wrong in ["zipf", "zipf:1", "zipf:-1:5", "zipf:1:0", "zipf:x:5", "nothing", "trace:", "/ a"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert!(parsed("zipf:1").unwrap_err().contains("zipf:1.1:500"));
        assert!(parsed("trace:gone.csv").unwrap_err().contains("gone.csv"));
        assert!(parsed("trace:what").unwrap_err().contains("format"));
    }
}
