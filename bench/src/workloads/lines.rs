//! Lines per second, and the CPU time that each takes: a closed loop on connections that stay.

use crate::Result;
use crate::load::Connections;
use crate::peers::{Bounds, Fleet, Peer, Running};
use crate::report::{Metric, Report};
use crate::run::Bench;

/// Connections, and lines under way on each.
type Cell = (usize, usize);

const ECHO: &[Cell] = &[(1, 1), (1, 16), (1, 64), (50, 1), (50, 16), (50, 64), (1000, 1), (1000, 16), (1000, 64)];
const ECHO_QUICK: &[Cell] = &[(1, 1), (50, 1), (50, 64)];
const UNKNOWN: &[Cell] = &[(50, 1), (50, 64)];
/// More would not be read.
const CHARTED: &[Cell] = &[(1, 1), (50, 1), (50, 64)];

pub const METRICS: &[Metric] = &[Metric { name: "lines/s", digits: 0 }, Metric { name: "CPU µs/line", digits: 2 }];

/// A small reply of each peer.
pub fn echo(bench: &Bench) -> Result<Vec<Report>> {
    measure(bench, "echo", "A small reply", Peer::LINES, bench.either(ECHO, ECHO_QUICK))
}

/// Lines that name no command, beside the limit.
pub fn unknown(bench: &Bench) -> Result<Vec<Report>> {
    measure(bench, "unknown", "An unknown command", &[Peer::Echo, Peer::Unknown, Peer::Twisted], UNKNOWN)
}

fn measure(bench: &Bench, id: &str, title: &str, peers: &[Peer], cells: &[Cell]) -> Result<Vec<Report>> {
    let fleet = Fleet::start(bench, peers, Bounds::LINES)?;
    let running = fleet.of(peers);
    cells.iter().map(|cell| cell_report(bench, id, title, &running, *cell)).collect()
}

fn cell_report(bench: &Bench, id: &str, title: &str, running: &[Running], cell: Cell) -> Result<Report> {
    let (count, in_flight) = cell;
    let mut connected = Vec::new();
    for peer in running {
        let connections = Connections::open(peer.address, count, in_flight, &peer.peer.template())
            .map_err(|error| format!("{}: {error}", peer.peer.name()))?;
        connected.push((*peer, connections));
    }
    let closed = bench.closed(in_flight);
    let rows = super::rounds(
        bench.rounds(),
        &mut connected,
        |(peer, _)| peer.peer.name().to_owned(),
        |(peer, connections)| {
            let found = closed.run(connections, Some(peer.pid))?;
            Ok(vec![found.lines_per_second(), found.cpu_per_line().unwrap_or(f64::NAN)])
        },
    )?;
    let plural = if count == 1 { "" } else { "s" };
    Ok(Report {
        id: format!("{id} {count}x{in_flight}"),
        title: format!("{title}: {count} connection{plural}, {in_flight} in flight"),
        metrics: METRICS.to_vec(),
        references: vec![Peer::Echo.name(), Peer::Twisted.name(), Peer::RedisFcall.name()],
        rows,
        charted: CHARTED.contains(&cell),
        notes: Vec::new(),
    })
}
