//! What was typed about pictures of rows.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(super) const PLOT_EXAMPLES: &str = "\
Rows that agree in x and in --by are repetitions: their mean is drawn, and the 95 % interval of the mean around it.

Examples:
  iso study plot rows.csv --x ttl_s --y stale_s --by policy --out stale.svg
  iso study plot rows.parquet --x size --y edge_misses/requests --by policy --log x --where exponent=0.8 --out misses.png
  iso study plot plan.toml --rows rows.csv --out picture.svg     as its [plot] says: x, y, by, log, where, title";

#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// Rows as CSV or Parquet; or a plan whose [plot] says what to draw of --rows.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The rows that a plan is drawn from.
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: Option<PathBuf>,
    /// The column along the bottom: numbers, or names.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) x: Option<String>,
    /// The column upwards, or several of them, comma separated; A/B is one over another.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) y: Vec<String>,
    /// Draw a curve for each value of a column, or of several.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    /// Which axes have logarithms.
    #[arg(long, value_name = "AXES", value_delimiter = ',')]
    pub(crate) log: Vec<AxisName>,
    /// Draw only rows that have a value, or one of several, in a column; may be given more than once.
    #[arg(long = "where", value_name = "COLUMN=VALUES")]
    pub(crate) filters: Vec<String>,
    /// The title.
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Where the picture goes: .svg or .png.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AxisName {
    X,
    Y,
}
