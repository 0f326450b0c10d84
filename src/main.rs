//! The binary `iso`.

use std::process::ExitCode;

fn main() -> ExitCode {
    isochrone::run()
}
