//! The command line.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{AN_ADDRESS, Config, Name, Overrides};
use crate::logging::LogFormat;
use crate::new::Language;

/// A TCP host where a line from a client runs as a sandboxed WebAssembly command.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    pub action: Action,
}

/// What the program is asked to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve commands over TCP, until SIGTERM; SIGHUP re-reads the configuration.
    Serve(Serve),
    /// Check the configuration and every command of every tenant, without serving.
    Check(Check),
    /// Run one command here, under the same linker, grants and limits as the server.
    Run(Run),
    /// Say what a .wasm file is, what it imports, and which grants it needs.
    Inspect(Inspect),
    /// Say which rule of which file allows or denies what a command wants.
    Explain(Explain),
    /// Write a small project for a new command, ready to be built.
    New(New),
    /// Make a token for a client, and the line that makes a tenant accept it.
    Token(Token),
    /// Print the grants that recorded lines needed, from the audit file.
    Suggest(Suggest),
    /// Call a command again and again without a host around it, and print the CPU time of each call: what the host is
    /// measured against.
    #[command(hide = true)]
    Bare(Bare),
    /// The compiling process that the server starts for itself.
    #[command(name = crate::registry::COMPILER, hide = true)]
    Compile {
        /// CPU time that it may take.
        #[arg(long)]
        cpu_seconds: u64,
        /// Compile the component as its author wrote it.
        #[arg(long)]
        as_written: bool,
        /// Where the code goes.
        output: PathBuf,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Standard input is the connection's following lines; standard output gets what a client would \
                        read. Denials and what the command logs go to standard error.\n\n\
                        Exit status: 0 when the command succeeded, its own when it is a program that exits with another, \
                        else 1.")]
pub struct Run {
    /// Configuration file with the tenant. Without it `wasmline.toml` here, if there is one; else nothing is granted
    #[arg(long, value_name = "FILE", env = "WASMLINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The tenant whose grants, limits and settings the command gets [default: the only one, or `default`]
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Private directory for compiled commands [default: wasmline in the user's cache directory]
    #[arg(long, value_name = "DIR", env = "WASMLINE_CACHE")]
    pub cache: Option<PathBuf>,
    /// The command, NAME.wasm; its sidecar NAME.toml is read with it
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Its words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Arguments of `bare`: those of `run`, whose configuration sizes the pool.
#[derive(Debug, Args)]
pub struct Bare {
    /// Calls that are measured
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub calls: u32,
    /// Compile the command as its author wrote it, to measure what the host gains by instantiating less
    #[arg(long)]
    pub as_written: bool,
    #[command(flatten)]
    pub run: Run,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "What a command wants is one of\n  \
                        process PROGRAM [ARG]…   to run a program\n  \
                        digest FILE              to hash a file\n  \
                        directory PATH [write]   to find a directory open; PATH is what a program calls it\n  \
                        tasks list|stop          to see or stop the tenant's running commands\n  \
                        variable NAME            to find an environment variable\n\n\
                        Exit status: 0 when it is allowed, 1 when it is denied, 2 when that cannot be said.")]
pub struct Explain {
    /// Configuration file. Without it `wasmline.toml` here
    #[arg(long, value_name = "FILE", env = "WASMLINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The tenant [default: the only one, or `default`]
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The command
    pub command: String,
    /// What kind of thing it wants
    #[arg(value_name = "KIND", value_parser = ["process", "digest", "directory", "tasks", "variable"])]
    pub kind: String,
    /// What exactly
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Arguments of `new`.
#[derive(Debug, Args)]
pub struct New {
    /// What clients will type
    #[arg(value_parser = |text: &str| Name::try_from(text.to_owned()))]
    pub name: Name,
    /// The language to write it in
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Language,
    /// Directory for the project; it must be empty, where it is there already [default: NAME]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// Arguments of `suggest`.
#[derive(Debug, Args)]
pub struct Suggest {
    /// The tenant [default: all of them]
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Audit files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The file. The sidecar beside it is read too
    pub file: PathBuf,
    /// The tenant that the grants are written out for
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub tenant: String,
    /// How the answer looks.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
#[command(
    after_help = "Prints the token, which is shown nowhere else, and below it what goes into the tenant's table in \
                        the configuration. The client's first line is `auth` and the token."
)]
pub struct Token {
    /// What the log calls it
    #[arg(default_value = "client", value_parser = |text: &str| Name::try_from(text.to_owned()))]
    pub name: Name,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| AN_ADDRESS)
}

/// Reads the configuration for whoever serves nobody, with this directory for compiled commands in place of the file's.
///
/// # Errors
/// When it cannot be used; the text is for whoever wrote it.
pub fn config(file: Option<&Path>, cache: Option<&Path>) -> Result<Config, String> {
    let overrides = Overrides { cache: cache.map(Path::to_owned), ..Overrides::default() };
    Config::load(file, &overrides).map_err(|error| error.to_string())
}

/// Prints an answer on standard output.
///
/// # Errors
/// When nobody takes it.
pub fn print(answer: &str) -> Result<(), String> {
    io::stdout().write_all(answer.as_bytes()).map_err(|error| format!("cannot write: {error}"))
}

/// Says on standard error why there is no answer, or not the one that was wanted. Where nobody takes it the exit status tells.
pub fn complain(words: impl Display) {
    let _ = writeln!(io::stderr(), "wasmline: {words}");
}

/// How an answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// A JSON object.
    Json,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 when everything would serve, 1 with the reasons when not, 2 for bad usage.")]
pub struct Check {
    /// Configuration file. Without it `wasmline.toml` here
    #[arg(long, value_name = "FILE", env = "WASMLINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Private directory for compiled commands [default: wasmline in the user's cache directory]
    #[arg(long, value_name = "DIR", env = "WASMLINE_CACHE")]
    pub cache: Option<PathBuf>,
}

/// Arguments of `serve`. Flags override the environment, which overrides the file.
#[derive(Debug, Args)]
#[command(after_help = "Prints `listening on ADDR` on standard output for each listener once it accepts; logs go to \
                        standard error, filtered by RUST_LOG (default: info).\n\n\
                        Exit status: 0 after SIGTERM or SIGINT, 1 when it could not serve, 2 for bad usage.")]
pub struct Serve {
    /// Configuration file. Without it `wasmline.toml` here, if there is one; else nothing is granted
    #[arg(long, value_name = "FILE", env = "WASMLINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address to listen on instead of the file's listeners; IP:PORT, may be given several times [default: 127.0.0.1:9999]
    #[arg(long, value_name = "ADDR", env = "WASMLINE_LISTEN", value_delimiter = ',', value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// Directory of commands, instead of those of the tenant `default`, or of the only one [default: commands]
    #[arg(long, value_name = "DIR", env = "WASMLINE_COMMANDS")]
    pub commands: Option<PathBuf>,
    /// Connections at once; the next is told so and closed [default: 1024]
    #[arg(long, value_name = "N", env = "WASMLINE_MAX_CONNECTIONS")]
    pub max_connections: Option<usize>,
    /// Private directory for compiled commands [default: wasmline in the user's cache directory]
    #[arg(long, value_name = "DIR", env = "WASMLINE_CACHE")]
    pub cache: Option<PathBuf>,
    /// How log records look
    #[arg(long, value_name = "FORMAT", env = "WASMLINE_LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,
    /// Make instances as the engine does by default, without the pool, to measure what the pool is worth
    #[arg(long, hide = true)]
    pub engine_defaults: bool,
}

impl Serve {
    /// What the flags and the environment say about the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            commands: self.commands.clone(),
            max_connections: self.max_connections,
            cache: self.cache.clone(),
            engine_defaults: self.engine_defaults,
        }
    }
}
