//! Colour and tables on the terminal. No meaning is carried by colour alone.

use std::io::IsTerminal as _;

use control_plane::wire::Health;

use crate::args::{Cli, Color};

/// Whether and how to colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// As the command line and the environment (`NO_COLOR`, `CLICOLOR_FORCE`) ask.
    pub(crate) fn of(cli: &Cli) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let on = match cli.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_set("CLICOLOR_FORCE") || (std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            }
        };
        Self { on }
    }

    /// Without colour.
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Something good.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something bad.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Something to look at.
    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Something less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// A health, in its colour.
pub(crate) fn health_word(paint: Paint, health: Health) -> String {
    match health {
        Health::Up => paint.good("up"),
        Health::Suspect => paint.warn("suspect"),
        Health::Draining => paint.warn("draining"),
        Health::Down => paint.bad("down"),
        Health::Stopped => paint.bad("stopped"),
    }
}

/// A plain table, indented, two spaces between columns; ends with a newline. Colour takes no room.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width_of = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (cell, wide) in line.iter().zip(&widths) {
            row.push_str("  ");
            row.push_str(cell);
            row.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(cell))));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Columns that a text takes on a terminal: its characters without escape sequences.
fn width(text: &str) -> usize {
    let mut count = 0;
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '\x1b' => escaped = true,
            'm' if escaped => escaped = false,
            _ if escaped => {}
            _ => count += 1,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_takes_no_room_in_a_table() {
        let colour = Paint { on: true };
        let rows = |paint: Paint| vec![vec![paint.good("up"), "1".into()], vec![paint.bad("stopped"), "2".into()]];
        let plain = table(&["HEALTH", "N"], rows(Paint { on: false }));
        let painted = table(&["HEALTH", "N"], rows(colour));
        assert_eq!(plain, "  HEALTH   N\n  up       1\n  stopped  2\n");
        let stripped: String = painted.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(stripped, plain);
    }
}
