//! Connect, one command, close.

use std::time::Duration;

use crate::Result;
use crate::load::connect_and_ask;
use crate::peers::{Bounds, Fleet, Peer};
use crate::proc::Cpu;
use crate::report::{Metric, Report};
use crate::run::Bench;

/// Connections in a round; each leaves a port behind that cannot be used for a minute.
const MOST: usize = 2000;
const LONGEST: Duration = Duration::from_secs(1);
/// Those of them that come before the measurement.
const WARM_UP: usize = 50;

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let fleet = Fleet::start(bench, Peer::CONNECTIONS, Bounds::LINES)?;
    let most = bench.either(MOST, MOST / 20);
    let rows = super::rounds(
        bench.rounds(),
        &mut fleet.of(Peer::CONNECTIONS),
        |peer| peer.peer.name().to_owned(),
        |peer| {
            let template = peer.peer.template();
            let line = |index| template.line(0, index);
            connect_and_ask(peer.address, WARM_UP, LONGEST, line)?;
            let before = Cpu::of(peer.pid)?;
            let (count, elapsed) = connect_and_ask(peer.address, most, LONGEST, line)?;
            let cpu = Cpu::of(peer.pid)?.since(&before);
            let each = |time: Duration| time.as_secs_f64() * 1e6 / count.max(1) as f64;
            Ok(vec![each(elapsed), each(cpu)])
        },
    )?;
    Ok(vec![Report {
        id: "connect".to_owned(),
        title: "Connect, one command, close, one after another".to_owned(),
        metrics: vec![Metric { name: "µs", digits: 0 }, Metric { name: "CPU µs", digits: 0 }],
        references: vec![Peer::Echo.name()],
        rows,
        charted: false,
        notes: vec![
            "Less is better. socat and tcpserver run `head -n 1`, whose CPU time is counted once it is reaped."
                .to_owned(),
        ],
    }])
}
