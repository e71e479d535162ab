//! How late replies are at half of what a server can do.

use std::time::Duration;

use crate::Result;
use crate::load::{Connections, Open};
use crate::peers::{Bounds, Fleet, Peer};
use crate::report::{Metric, Report};
use crate::run::Bench;

const CONNECTIONS: usize = 50;
/// Lines that a connection may have under way; those beyond wait at the client, on the server's account.
const MOST_IN_FLIGHT: usize = 64;

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let fleet = Fleet::start(bench, Peer::LINES, Bounds::LINES)?;
    let mut connected = Vec::new();
    for peer in fleet.of(Peer::LINES) {
        let connections = Connections::open(peer.address, CONNECTIONS, MOST_IN_FLIGHT, &peer.peer.template())?;
        connected.push((peer, connections));
    }
    let closed = bench.closed(1);
    let rows = super::rounds(
        bench.rounds(),
        &mut connected,
        |(peer, _)| peer.peer.name().to_owned(),
        |(_, connections)| {
            let rate = closed.run(connections, None)?.lines_per_second() / 2.0;
            let open = Open {
                rate,
                warm_up: Duration::from_millis(100),
                measured: bench.either(Duration::from_millis(1500), Duration::from_millis(150)),
            };
            let latencies = open.run(connections)?;
            let at = |part| latencies.quantile(part).unwrap_or(f64::NAN);
            Ok(vec![at(0.5), at(0.99), at(0.999), rate])
        },
    )?;
    Ok(vec![Report {
        id: "open-loop".to_owned(),
        title: format!("Delay of a reply at half of the peer's own capacity, open loop on {CONNECTIONS} connections"),
        metrics: vec![
            Metric { name: "p50 µs", digits: 0 },
            Metric { name: "p99 µs", digits: 0 },
            Metric { name: "p999 µs", digits: 0 },
            Metric { name: "at lines/s", digits: 0 },
        ],
        references: vec![Peer::Echo.name()],
        rows,
        charted: false,
        notes: vec![
            "Capacity is what the peer did just before with one line in flight on each connection. A delay counts from when the \
             line was due."
                .to_owned(),
        ],
    }])
}
