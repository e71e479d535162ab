//! wasmline-bench: wasmline and its peers, side by side on one machine.
//!
//! `cargo xtask bench` builds everything and calls `run`; `echo` and `load` are its parts, for use by hand. How it measures, and
//! how its figures are to be read: docs/performance.md.

mod cli;
mod cores;
mod echo;
mod load;
mod machine;
mod peers;
mod proc;
mod report;
mod run;
mod script;
mod server;
mod stats;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use cli::{Action, Cli};

/// What everything here ends with. The text is for the person at the terminal.
type Result<T = ()> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let result = match Cli::parse().action {
        Action::Echo(arguments) => echo::serve(arguments.listen),
        Action::Load(arguments) => run::load(&arguments),
        Action::Run(arguments) => run::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasmline-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
