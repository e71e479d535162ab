//! Commands that are asleep at once: whether all wake, and what each takes meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Connections, Exchange};
use crate::peers::{Bounds, Kind, SLEEPER, start};
use crate::proc::private_memory;
use crate::report::{Metric, Report};
use crate::run::Bench;
use crate::script::Template;
use crate::server::pause;

const SLEEPERS: usize = 5000;
const QUICK: usize = 500;
/// The rounds are long, and memory hardly differs from one to the next.
const ROUNDS: usize = 3;
/// The longest that it may take until all are asleep.
const FALLING_ASLEEP: Duration = Duration::from_secs(60);
/// Beyond the sleep itself.
const WAKING: Duration = Duration::from_secs(60);
/// Descriptors of a host besides its connections.
const SPARE_DESCRIPTORS: usize = 400;
/// Mappings for a command that runs, for commands that are loaded, and the part of all that the host plans with: machine.rs.
const MAPPINGS_EACH: usize = 6;
const MAPPINGS_LOADED: usize = 15_000;
/// Places that it plans beside those: the fewest of large commands, and in both pools that of the one instance to be kept.
const PLACES_BESIDE: usize = 64 + 2;

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let wanted = bench.either(SLEEPERS, QUICK);
    let count = wanted.min(bench.descriptors.saturating_sub(SPARE_DESCRIPTORS)).min(room_for_mappings());
    let asleep = bench.either(Duration::from_secs(12), Duration::from_secs(3));
    let rows = super::rounds(
        bench.rounds().min(ROUNDS),
        &mut [()],
        |()| "wasmline, sleeping".to_owned(),
        |()| sample(bench, count, asleep),
    )?;
    let mut notes = vec![format!(
        "{count} lines slept at once, as `ps` counted; each woke, and gave its reply. Memory is what is in use (RssAnon and \
         RssShmem of the host) above the idle host; the first figure has the connection in it."
    )];
    if count < wanted {
        notes.push(format!(
            "This machine's bounds (`ulimit -n`, vm.max_map_count) allow no more, of {wanted} that were wanted."
        ));
    }
    Ok(vec![Report {
        id: "sleepers".to_owned(),
        title: format!("{count} commands asleep at once"),
        metrics: vec![
            Metric { name: "KiB each", digits: 1 },
            Metric { name: "KiB without the connection", digits: 1 },
            Metric { name: "s to fall asleep", digits: 2 },
            Metric { name: "replies", digits: 0 },
        ],
        references: Vec::new(),
        rows,
        charted: false,
        notes,
    }])
}

fn sample(bench: &Bench, count: usize, asleep: Duration) -> Result<Vec<f64>> {
    let host = start(bench, Kind::Host, Bounds { connections: count + 10, concurrency: count + 1 })?;
    let mut watcher = Exchange::open(host.address)?;
    // What the first of all lines needs is not the sleepers'.
    watcher.expect(&format!("{SLEEPER} 1\n"), "slept\n")?;
    running(&mut watcher)?;
    let idle = private_memory(host.pid())?;

    let template = Template::new(&format!("{SLEEPER} {}", asleep.as_millis()), "slept\n");
    let mut connections = Connections::open_unused(host.address, count, 1, &template)?;
    // Accepted in their order: when the last has been, all have.
    Exchange::open(host.address)?.expect("none\n", "Command not found.\n")?;
    let connected = private_memory(host.pid())?;

    let began = Instant::now();
    connections.send_on_each()?;
    loop {
        let running = running(&mut watcher)?;
        if running == count {
            break;
        }
        if began.elapsed() > FALLING_ASLEEP.min(asleep) {
            return Err(format!("{running} of {count} were asleep when the first had to wake"));
        }
        pause(Duration::from_millis(50));
    }
    let fell_asleep = began.elapsed();
    let sleeping = private_memory(host.pid())?;
    let replies = connections.drain(asleep + WAKING)?;
    if replies != count {
        return Err(format!("{replies} of {count} woke"));
    }
    let each = |bytes: u64| bytes as f64 / 1024.0 / count as f64;
    Ok(vec![
        each(sleeping.saturating_sub(idle)),
        each(sleeping.saturating_sub(connected)),
        fell_asleep.as_secs_f64(),
        replies as f64,
    ])
}

/// Sleepers that `ps` lists. The line after it marks the end of its reply.
fn running(watcher: &mut Exchange) -> Result<usize> {
    let reply = watcher.ask("ps\nnone\n", &["Command not found.\n"])?;
    Ok(reply.lines().filter(|line| line.contains(SLEEPER)).count())
}

/// Commands that may run at once by the host's own reckoning, one of them `ps`.
fn room_for_mappings() -> usize {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    let mappings = text.trim().parse::<usize>().unwrap_or(65_530) / 4 * 3;
    (mappings.saturating_sub(MAPPINGS_LOADED) / MAPPINGS_EACH).saturating_sub(PLACES_BESIDE + 1)
}
