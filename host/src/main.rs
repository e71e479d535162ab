//! wasmline: a line from a client runs as a sandboxed WebAssembly command.

// They panic where nobody reads, and a panic has a status of its own.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod audit;
mod bare;
#[cfg(test)]
mod built;
mod capabilities;
mod check;
mod cli;
mod config;
mod descendants;
mod dispatch;
mod engine;
mod error;
mod escape;
mod explain;
mod identity;
mod inherited;
mod inspect;
mod line;
mod lock;
mod logging;
mod loops;
mod machine;
mod new;
mod policy;
mod registry;
mod run;
mod sandbox;
mod server;
mod session;
mod suggest;
mod task;
mod tenants;
mod token;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Action, Cli, Serve};
use config::Config;
use machine::Machine;
use registry::Form;

fn main() -> ExitCode {
    let action = Cli::parse().action;
    // A compiler was started by a host, which knows from the signal that ends it what its file has done.
    if !matches!(action, Action::Compile { .. })
        && let Err(error) = inherited::let_go()
    {
        return report(Err(error));
    }
    match action {
        Action::Serve(serve) => report(run_server(&serve)),
        Action::Run(run) => run::run(&run).unwrap_or_else(|error| report(Err(error))),
        Action::Bare(bare) => report(bare::run(&bare)),
        Action::Inspect(inspect) => report(inspect::run(&inspect)),
        Action::Check(check) => report(check::run(&check)),
        Action::Explain(explain) => explain::run(&explain),
        Action::New(new) => report(new::run(&new)),
        Action::Token(token) => report(token::run(&token)),
        Action::Suggest(suggest) => report(suggest::run(&suggest)),
        Action::Compile { cpu_seconds, as_written, output } => {
            let form = if as_written { Form::AsWritten } else { Form::Usual };
            registry::run_compiler(&output, form, cpu_seconds)
        }
    }
}

fn run_server(arguments: &Serve) -> Result<(), String> {
    let file = arguments.config.clone();
    let overrides = arguments.overrides();
    let load = move || Config::load(file.as_deref(), &overrides).map_err(|error| error.to_string());
    let config = load()?;
    // Before the first of them is started, that of the log.
    machine::threads(&config, &Machine::look())?;
    machine::try_own_threads()?;
    let log = logging::start(arguments.log_format, "info")?;
    capabilities::self_test()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // These have what computes for long. One more than there are turns for guests, so that there always is one for
        // everything else; whoever has been busy least goes first, by the operating system's own rule.
        .worker_threads(config::cores() + 1)
        .event_interval(loops::EVENT_INTERVAL)
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let result = runtime.block_on(async {
        descendants::adopt_orphans();
        server::serve(config, load).await
    });
    // What still runs there was cancelled; it is not waited for.
    runtime.shutdown_background();
    log.report_losses();
    result
}

fn report(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(error);
            ExitCode::FAILURE
        }
    }
}
