//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures wasmline beside its peers.
#[derive(Debug, Parser)]
#[command(name = "wasmline-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve the limit that the others are measured against: lines are sent back as they came
    Echo(Echo),
    /// Put load on one server, verify every byte of its replies, and print what came out as JSON
    Load(Load),
    /// Run the workloads, and write tables, results and a chart. `cargo xtask bench` calls this
    Run(Run),
}

#[derive(Debug, Args)]
pub struct Echo {
    /// Where to listen; port 0 takes any
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

#[derive(Debug, Args)]
pub struct Load {
    /// The server
    pub address: SocketAddr,
    /// Connections at once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// Lines that each connection has under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub in_flight: u16,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Send so many lines per second whatever comes back, and tell how late replies were
    #[arg(long)]
    pub rate: Option<f64>,
    /// A line, without its end; `{}` is a number of its own for each
    #[arg(long, default_value = "echo {}")]
    pub request: String,
    /// What has to come back, without its line end
    #[arg(long, default_value = "{}")]
    pub reply: String,
    /// The server's process, to tell how much CPU time a line takes
    #[arg(long)]
    pub pid: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The `wasmline` to measure
    #[arg(long)]
    pub host: PathBuf,
    /// Directory with the shipped commands
    #[arg(long)]
    pub commands: PathBuf,
    /// Directory with the commands of the tests
    #[arg(long)]
    pub fixtures: PathBuf,
    /// Directory for results.json, tables.md, chart.svg, and all that is needed meanwhile
    #[arg(long)]
    pub output: PathBuf,
    /// Measure other servers too, those that are installed
    #[arg(long)]
    pub peers: bool,
    /// A Python that has Twisted
    #[arg(long)]
    pub python: Option<PathBuf>,
    /// The Twisted server of the seed's commands
    #[arg(long, requires = "python")]
    pub seed_server: Option<PathBuf>,
    /// How often everything is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    /// Little of everything: whether it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// Only these workloads
    #[arg(long, value_name = "WORKLOAD")]
    pub only: Vec<String>,
    /// Which state of the sources this is, for the results
    #[arg(long, default_value = "unknown")]
    pub revision: String,
    /// The command to write down in the results
    #[arg(long, default_value = "wasmline-bench run")]
    pub shown_as: String,
}
