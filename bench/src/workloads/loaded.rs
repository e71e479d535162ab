//! Commands that are loaded and run nothing: the memory that each takes.

use std::fs;

use super::drop::with_section;
use crate::Result;
use crate::load::Exchange;
use crate::peers::{Bounds, Kind, start};
use crate::proc::private_memory;
use crate::report::{Metric, Report};
use crate::run::Bench;
use crate::server::Server;

const COMMANDS: usize = 1000;
const QUICK: usize = 100;
/// Memory hardly differs from one start to the next.
const ROUNDS: usize = 3;

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let count = bench.either(COMMANDS, QUICK);
    let echo = bench.files.commands().join("echo.wasm");
    let echo = fs::read(&echo).map_err(|error| format!("cannot read {}: {error}", echo.display()))?;
    for number in 0..count {
        // Code of their own, or the host would have them share it.
        let path = bench.files.many_commands().join(format!("{}.wasm", name(number)));
        let bytes = with_section(&echo, &(number as u128).to_le_bytes());
        fs::write(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    // Compiles what is not in the cache yet.
    serving(bench, count)?;
    let rows = super::rounds(
        bench.rounds().min(ROUNDS),
        &mut [()],
        |()| "wasmline, loaded".to_owned(),
        |()| {
            let few = start(bench, Kind::Host, Bounds::LINES)?;
            Exchange::open(few.address)?.expect("echo hello\n", "hello\n")?;
            let (few, many) = (private_memory(few.pid())?, private_memory(serving(bench, count)?.pid())?);
            Ok(vec![many.saturating_sub(few) as f64 / 1024.0 / count as f64])
        },
    )?;
    Ok(vec![Report {
        id: "loaded".to_owned(),
        title: format!("{count} small commands loaded, their code in the cache"),
        metrics: vec![Metric { name: "KiB each", digits: 1 }],
        references: Vec::new(),
        rows,
        charted: false,
        notes: vec![
            "Less is better. Memory in use (RssAnon and RssShmem) above a host without them; their code is mapped from the \
             cache, and no other process has a part in that figure."
                .to_owned(),
        ],
    }])
}

/// A host that has loaded them all: the first and the last reply.
fn serving(bench: &Bench, count: usize) -> Result<Server> {
    let host = start(bench, Kind::HostWithManyCommands, Bounds::LINES)?;
    let mut exchange = Exchange::open(host.address)?;
    for number in [0, count - 1] {
        exchange.expect(&format!("{} hello\n", name(number)), "hello\n")?;
    }
    Ok(host)
}

fn name(number: usize) -> String {
    format!("m{number}")
}
