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

/// A plain table, two spaces between columns; ends with a newline.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head.iter().map(ToString::to_string).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str("  ");
        text.push_str(line.trim_end().strip_prefix(' ').unwrap_or_else(|| line.trim_end()));
        text.push('\n');
    }
    text
}
