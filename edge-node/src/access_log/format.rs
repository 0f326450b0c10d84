//! How log lines look: as `tracing_subscriber` writes them, those of the access log by a shorter way.
//!
//! The default formatter takes each line through `core::fmt` field by field, which costs as much as the rest of a hit. An
//! access line has one shape, so it is put together here; the tests hold the two against each other, and what is rare
//! (text that must be escaped, a span around the request, another level) is left to the default itself.

use std::fmt::{self, Write as _};

use cdn_core::{Civil, WallTime};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Writer},
    },
    registry::LookupSpan,
};

use super::{REALTIME, REALTIME_LINE, STANDARD, STANDARD_LINE, TARGET};
use crate::clock::machine_date;

/// What stands between the time and the fields.
const LEVEL_AND_TARGET: &str = "  INFO access:";

/// A line with a long path and query, so that most are put together without growing.
const LINE_BYTES: usize = 512;

/// For `tracing_subscriber::fmt::layer().event_format(…)`: the lines of [`Format::default`], at less cost for those of the
/// access log.
#[derive(Clone, Debug, Default)]
pub struct LogFormat {
    others: Format,
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let plain = metadata.target() == TARGET && *metadata.level() == Level::INFO && !writer.has_ansi_escapes();
        if !plain || ctx.event_scope().is_some() {
            return self.others.format_event(ctx, writer, event);
        }
        let mut line = Line(String::with_capacity(LINE_BYTES));
        line.push_time(machine_date());
        line.0.push_str(LEVEL_AND_TARGET);
        event.record(&mut line);
        line.0.push('\n');
        // A line of a standard log stands alone, and so does a record of a real-time log.
        match line.0.find([STANDARD_LINE, REALTIME_LINE]) {
            Some(at) => writer.write_str(line.0.get(at..).unwrap_or_default()),
            None => writer.write_str(&line.0),
        }
    }
}

/// A line as far as it is written.
struct Line(String);

impl Line {
    fn begin(&mut self, field: &Field) {
        self.0.push(' ');
        self.0.push_str(field.name());
        self.0.push('=');
    }

    /// RFC 3339 with microseconds, in UTC: `2026-11-26T12:00:00.000001Z`.
    fn push_time(&mut self, time: WallTime) {
        let Civil { year, month, day, hour, minute, second, micros } = time.civil();
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (field, mut number) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, hour),
            (14..16, minute),
            (17..19, second),
            (20..26, micros),
        ] {
            for digit in text.get_mut(field).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        self.0.push_str(std::str::from_utf8(&text).unwrap_or_default());
    }

    /// At least `width` digits.
    fn push_number(&mut self, mut number: u64, width: usize) {
        // The largest has 20.
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            if number == 0 {
                break;
            }
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            first = place;
        }
        let from = first.min(digits.len().saturating_sub(width.max(1)));
        let digits = digits.get(from..).unwrap_or_default();
        self.0.push_str(std::str::from_utf8(digits).unwrap_or_default());
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        let alone = match field.name() {
            STANDARD => Some(STANDARD_LINE),
            REALTIME => Some(REALTIME_LINE),
            _ => None,
        };
        if let Some(mark) = alone {
            self.0.push(mark);
            self.0.push_str(value);
            return;
        }
        self.begin(field);
        // `Debug` changes quotes, backslashes, and whatever is not printable. Reading on after the first of them is what
        // lets many bytes be looked at together.
        let plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
        if value.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.0.push('"');
            self.0.push_str(value);
            self.0.push('"');
        } else {
            // A string takes all there is.
            let _ = write!(self.0, "{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.begin(field);
        self.push_number(value, 1);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.begin(field);
        let thousandths = value * 1e3;
        // Decimals of at most 15 digits are floats of their own, so that what gives this float is its shortest text.
        if value.is_sign_positive() && thousandths < 1e15 && thousandths.round() / 1e3 == value {
            let thousandths = thousandths.round() as u64;
            self.push_number(thousandths / 1_000, 1);
            self.0.push('.');
            match thousandths % 1_000 {
                tenths if tenths % 100 == 0 => self.push_number(tenths / 100, 1),
                hundredths if hundredths % 10 == 0 => self.push_number(hundredths / 10, 2),
                fraction => self.push_number(fraction, 3),
            }
        } else {
            let _ = write!(self.0, "{value:?}");
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.begin(field);
        let _ = write!(self.0, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{HeaderValue, Method, StatusCode};
    use proptest::prelude::*;
    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;
    use crate::access_log::Entry;
    use crate::clock::Clock;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Sink {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is written while `act` runs, without the time before each event.
    fn lines(short: bool, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(sink.clone()).with_ansi(false);
        if short {
            let layer = layer.event_format(LogFormat::default());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        } else {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        }
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let rest = |line: &str| line.split_once(' ').unwrap().1.to_owned();
        text.split_inclusive('\n').map(rest).collect()
    }

    fn entry(host: &[u8], target: &str) -> Entry {
        Entry {
            node: "edge.iad".into(),
            clock: Clock::new(),
            began: cdn_core::Instant::ZERO,
            method: Method::GET,
            host: HeaderValue::from_bytes(host).unwrap(),
            uri: target.parse().unwrap(),
            client: "192.0.2.1".parse().unwrap(),
            status: Some(StatusCode::OK),
            x_cache: "Hit from cloudfront",
            reason: "hit",
            request_id: HeaderValue::from_static("abc=="),
            standard: None,
        }
    }

    #[test]
    fn a_line_of_a_standard_log_stands_alone() {
        let sink = Sink::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(sink.clone()).with_ansi(false);
        let layer = layer.event_format(LogFormat::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "access", standard = "2026-11-26\t12:00:00");
            tracing::info!(target: "access", realtime = "demo\t200");
        });
        assert_eq!(*sink.0.lock().unwrap(), b"\x1e2026-11-26\t12:00:00\n\x1ddemo\t200\n");
    }

    #[test]
    fn a_line_has_every_field_in_its_place() {
        let took = std::time::Duration::from_micros(12_340);
        assert_eq!(
            lines(true, || entry(b"www.demo.test", "/a/b?c=d").write_after(took, 1_024)),
            " INFO access: node=\"edge.iad\" client=192.0.2.1 method=GET host=\"www.demo.test\" path=\"/a/b\" \
             query=\"c=d\" status=200 x_cache=\"Hit from cloudfront\" reason=\"hit\" duration_ms=12.34 bytes=1024 \
             id=\"abc==\"\n"
        );
        let without_query = lines(true, || entry(b"a", "/").write_after(took, 0));
        assert!(without_query.contains("path=\"/\" status=200"), "{without_query}");
    }

    #[test]
    fn nothing_that_is_asked_for_begins_a_line_or_ends_a_field() {
        for host in [&b"a\" id=\"forged"[..], b"a\\", b"a\tb", b"\xff\xfe", "\u{9b}31m\u{202e}".as_bytes()] {
            let act = || entry(host, "/a{b}?c=%22d").write_after(std::time::Duration::ZERO, 0);
            let line = lines(true, act);
            assert_eq!(line, lines(false, act));
            assert!(line.chars().all(|char| char == '\n' || !char.is_control()), "{line:?}");
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert_eq!(line.matches(" id=\"").count(), 1, "{line:?}");
        }
        let raw = lines(true, || tracing::info!(target: "access", path = "/\r\n2026 INFO access: forged\x1b[2J\0\x7f"));
        assert_eq!(raw, " INFO access: path=\"/\\r\\n2026 INFO access: forged\\u{1b}[2J\\0\\u{7f}\"\n");
    }

    #[test]
    fn other_lines_are_the_defaults() {
        let act = || {
            tracing::info!(count = 1, path = "/a", "a message");
            tracing::warn!(target: "access", value = 1.5, "no line of a request");
            tracing::info_span!("outer", a = 1).in_scope(|| tracing::info!(target: "access", b = 2_u64));
            tracing::error!(error = ?std::io::Error::other("x"));
        };
        let all = lines(true, act);
        assert_eq!(all, lines(false, act));
        assert_eq!(all.lines().count(), 4);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_default_formatter(
            text in ".{0,40}", number: u64, signed: i64, float: f64, micros in 0..10_u64.pow(16), flag: bool,
        ) {
            let act = || {
                let rounded = (std::time::Duration::from_micros(micros).as_secs_f64() * 1e6).round() / 1e3;
                tracing::info!(
                    target: "access", text, number, signed, float, rounded, flag, missing = None::<u64>, shown = %flag,
                    debug = ?text, error = &std::io::Error::other("x") as &(dyn std::error::Error + 'static),
                );
            };
            prop_assert_eq!(lines(true, act), lines(false, act));
        }

        /// The date is the one that HTTP dates say.
        #[test]
        fn times_are_dates(nanos in 0..253_402_300_800_000_000_000_i128) {
            let time = WallTime::from_unix_nanos(nanos);
            let mut line = Line(String::new());
            line.push_time(time);
            let (date, clock) = line.0.split_once('T').unwrap();
            let parts: Vec<&str> = date.split('-').collect();
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
                [parts[1].parse::<usize>().unwrap() - 1];
            let (clock, micros) = clock.split_once('.').unwrap();
            let said = format!("{} {month} {} {clock} GMT", parts[2], parts[0]);
            let expected = time.http_date();
            prop_assert_eq!(expected.to_str().unwrap().split_once(", ").unwrap().1, said);
            prop_assert_eq!(micros, format!("{:06}Z", nanos % 1_000_000_000 / 1_000));
        }
    }
}
