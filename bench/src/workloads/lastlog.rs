//! `lastlog` against its `tail` alone: spawn, read, wait.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::Exchange;
use crate::peers::{Bounds, Fleet, Kind, LASTLOG_LINES, Peer};
use crate::report::{Metric, Report};
use crate::run::Bench;
use crate::{Result, cores};

const BARE: &str = "`tail` spawned bare";
/// Runs in a round.
const TIMES: u32 = 200;

enum Runner {
    Server { name: &'static str, exchange: Exchange, line: String, reply: String },
    Bare,
}

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let log = bench.files.log();
    let lines = std::fs::read_to_string(&log).map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    let tail: String = lines.lines().skip(LASTLOG_LINES - 10).map(|line| format!("{line}\n")).collect();
    let reply = format!("Begin lastlog\n{tail}End lastlog\n");

    let fleet = Fleet::start(bench, &[Peer::Echo, Peer::Fresh, Peer::Twisted], Bounds::LINES)?;
    let mut runners = vec![Runner::Bare];
    let lastlog = ("lastlog\n".to_owned(), reply);
    // As many bytes there and back, and no child.
    let echo = "e".repeat(lastlog.1.len() - 1) + "\n";
    for (kind, name, (line, reply)) in [
        (Kind::Host, "wasmline, `lastlog`", lastlog.clone()),
        (Kind::Twisted, "Twisted, `lastlog`", lastlog),
        (Kind::Echo, "raw echo of the reply", (echo.clone(), echo)),
    ] {
        if let Some(server) = fleet.get(kind) {
            runners.push(Runner::Server { name, exchange: Exchange::open(server.address)?, line, reply });
        }
    }
    let times = bench.either(TIMES, TIMES / 20);
    let rows = super::rounds(bench.rounds(), &mut runners, name, |runner| {
        let elapsed = match runner {
            Runner::Server { exchange, line, reply, .. } => {
                let began = Instant::now();
                for _ in 0..times {
                    exchange.expect(line, reply)?;
                }
                began.elapsed()
            }
            Runner::Bare => cores::on(&[bench.cores.server], || spawn_bare(&log, &tail, times))?,
        };
        Ok(vec![elapsed.as_secs_f64() * 1e6 / f64::from(times)])
    })?;
    Ok(vec![Report {
        id: "lastlog".to_owned(),
        title: "`lastlog`, one after another".to_owned(),
        metrics: vec![Metric { name: "µs", digits: 0 }],
        references: vec![BARE],
        rows,
        charted: false,
        notes: vec![
            "Less is better. The bare one has no client: a loop on the server's core spawns, reads and waits. What a client \
             costs is the echo's row, which has no child."
                .to_owned(),
        ],
    }])
}

fn name(runner: &Runner) -> String {
    match runner {
        Runner::Server { name, .. } => (*name).to_owned(),
        Runner::Bare => BARE.to_owned(),
    }
}

fn spawn_bare(log: &std::path::Path, tail: &str, times: u32) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..times {
        let mut command = Command::new("/usr/bin/tail");
        command.args(["-n", "10"]).arg(log).env_clear().stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("cannot run tail: {error}"))?;
        if !output.status.success() || output.stdout != tail.as_bytes() {
            return Err(format!("tail printed {:?}, {}", output.stdout.escape_ascii().to_string(), output.status));
        }
    }
    Ok(began.elapsed())
}
