//! Connections that have had a line each and say nothing more: the memory that each takes.

use crate::Result;
use crate::load::Connections;
use crate::peers::{Bounds, Fleet, Peer, Running};
use crate::proc::private_memory;
use crate::report::{Metric, Report};
use crate::run::Bench;

const IDLE: usize = 8000;
const QUICK: usize = 1000;
/// Descriptors of a server besides its connections.
const SPARE_DESCRIPTORS: usize = 400;
/// Each needs servers that are new, and memory hardly differs from one to the next.
const ROUNDS: usize = 3;
/// Connections before the measured ones, after which a server has what all of them share.
const FIRST: usize = 50;
const PEERS: &[Peer] = &[Peer::Echo, Peer::Fresh, Peer::Unknown, Peer::Twisted, Peer::RedisPing];

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let wanted = bench.either(IDLE, QUICK);
    let count = wanted.min(bench.descriptors.saturating_sub(SPARE_DESCRIPTORS));
    let bounds = Bounds { connections: count + FIRST + 10, concurrency: Bounds::LINES.concurrency };
    let mut measured: Vec<Peer> = PEERS.iter().copied().filter(|peer| bench.has(peer.kind())).collect();
    let rows = super::rounds(
        bench.rounds().min(ROUNDS),
        &mut measured,
        |peer| peer.name().to_owned(),
        |peer| {
            // A server that has had connections before has memory left from them.
            let fleet = Fleet::start(bench, &[*peer], bounds)?;
            let running = fleet.of(&[*peer]);
            let server = running.first().ok_or("the server was not started")?;
            Ok(vec![sample(server, count)?])
        },
    )?;
    let mut notes = vec![
        "Less is better. Memory in use (RssAnon and RssShmem) above the server with its first connections; what the kernel has \
         for a socket comes on top, and is the same for all."
            .to_owned(),
    ];
    if count < wanted {
        notes.push(format!("`ulimit -n` allows no more, of {wanted} that were wanted."));
    }
    Ok(vec![Report {
        id: "idle".to_owned(),
        title: format!("{count} idle connections, each after one line"),
        metrics: vec![Metric { name: "KiB each", digits: 2 }],
        references: vec![Peer::Echo.name()],
        rows,
        charted: false,
        notes,
    }])
}

fn sample(server: &Running, count: usize) -> Result<f64> {
    let template = server.peer.template();
    let _first = Connections::open(server.address, FIRST, 1, &template)?;
    let before = private_memory(server.pid)?;
    let _idle = Connections::open(server.address, count, 1, &template)?;
    let after = private_memory(server.pid)?;
    Ok(after.saturating_sub(before) as f64 / 1024.0 / count as f64)
}
