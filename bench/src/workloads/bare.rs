//! What a line costs the host beside what it costs the engine alone: a loop that makes an instance, calls it and drops it.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::load::Connections;
use crate::peers::{Bounds, Fleet, Kind, Peer, Running};
use crate::report::{Metric, Report};
use crate::run::Bench;
use crate::{Result, cores};

const CONNECTIONS: usize = 50;
/// So many lines share their system calls that what is left is the line's own.
const IN_FLIGHT: usize = 64;
const CALLS: u32 = 100_000;
const LOOP: &str = "instantiate, call, drop";
const LOOP_AS_WRITTEN: &str = "instantiate, call, drop, as written";
const PEERS: &[Peer] = &[Peer::Echo, Peer::Fresh, Peer::Kept, Peer::Unknown];

enum Measured {
    Loop { as_written: bool },
    Server(Running, Connections),
}

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let fleet = Fleet::start(bench, PEERS, Bounds::LINES)?;
    let mut measured = vec![Measured::Loop { as_written: false }, Measured::Loop { as_written: true }];
    for peer in fleet.of(PEERS) {
        let connections = Connections::open(peer.address, CONNECTIONS, IN_FLIGHT, &peer.peer.template())?;
        measured.push(Measured::Server(peer, connections));
    }
    let closed = bench.closed(IN_FLIGHT);
    let rows = super::rounds(bench.rounds(), &mut measured, Measured::name, |measured| match measured {
        Measured::Loop { as_written } => Ok(vec![cores::on(&[bench.cores.server], || call_bare(bench, *as_written))?]),
        Measured::Server(peer, connections) => {
            let found = closed.run(connections, Some(peer.pid))?;
            Ok(vec![found.cpu_per_line().unwrap_or(f64::NAN)])
        }
    })?;
    Ok(vec![Report {
        id: "bare".to_owned(),
        title: format!("CPU time of a line, {CONNECTIONS} connections with {IN_FLIGHT} in flight"),
        metrics: vec![Metric { name: "CPU µs/line", digits: 2 }],
        references: vec![LOOP, LOOP_AS_WRITTEN],
        rows,
        charted: false,
        notes: vec![format!(
            "Less is better. The loop is `wasmline bare`: `echo` called {} times in the host's own engine, with no connection, \
             account or limit; as written with `--as-written`, which compiles the file as it is.",
            calls(bench)
        )],
    }])
}

impl Measured {
    fn name(&self) -> String {
        match self {
            Measured::Loop { as_written: false } => LOOP.to_owned(),
            Measured::Loop { as_written: true } => LOOP_AS_WRITTEN.to_owned(),
            Measured::Server(peer, _) => peer.peer.name().to_owned(),
        }
    }
}

fn calls(bench: &Bench) -> u32 {
    bench.either(CALLS, CALLS / 10)
}

/// Microseconds of CPU time for a call.
fn call_bare(bench: &Bench, as_written: bool) -> Result<f64> {
    let mut command = Command::new(&bench.arguments.host);
    command.args(["bare", "--calls", &calls(bench).to_string()]).args(as_written.then_some("--as-written"));
    // The configuration of the host beside it, which sizes the pool.
    command
        .arg("--config")
        .arg(bench.files.configuration(Kind::Host))
        .arg(bench.files.commands().join("echo.wasm"))
        .arg("00000000");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let parsed: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let each = parsed.and_then(|found| found["cpu_us_per_call"].as_f64());
    each.ok_or_else(|| format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)))
}
