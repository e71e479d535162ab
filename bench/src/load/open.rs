//! Open loop: lines are sent when it is their time, whatever has come back by then, and a reply's delay counts from that time.
//!
//! A server that stalls is so charged for every line that would have been sent meanwhile (no coordinated omission).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Connections, PATIENCE};
use crate::Result;
use crate::stats::quantile;

/// Lines whose delays are remembered at most, which ends the measurement early.
const MOST_SAMPLES: usize = 4_000_000;

/// How to run an open loop.
#[derive(Debug, Clone, Copy)]
pub struct Open {
    /// Lines per second, of all connections together.
    pub rate: f64,
    /// Time before the measured one.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// Delays of replies, from the time that their lines were due.
#[derive(Debug)]
pub struct Latencies {
    /// Nanoseconds, sorted.
    sorted: Vec<u64>,
}

impl Latencies {
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The delay in microseconds that this part of the replies does not exceed.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        quantile(&self.sorted, part).map(|nanoseconds| nanoseconds as f64 / 1e3)
    }
}

/// Lines of one connection that are due or under way, by the time at which they were due.
#[derive(Debug, Default)]
struct Due {
    times: VecDeque<Instant>,
    sent: usize,
}

impl Open {
    /// Runs the loop on connections that have nothing under way, and leaves them so.
    pub fn run(&self, connections: &mut Connections) -> Result<Latencies> {
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(format!("{} is no rate of lines per second", self.rate));
        }
        let count = connections.len();
        let mut due: Vec<Due> = (0..count).map(|_| Due::default()).collect();
        let mut delays = Vec::new();
        let began = Instant::now();
        let (counts_from, end) = (began + self.warm_up, began + self.warm_up + self.measured);
        let mut line: u64 = 0;
        let mut left = 0_usize;
        loop {
            let now = Instant::now();
            // All that is due by now, one connection after another.
            loop {
                let time = began + Duration::from_secs_f64(line as f64 / self.rate);
                if time > now || time >= end || delays.len() + left >= MOST_SAMPLES {
                    break;
                }
                let index = (line % count as u64) as usize;
                due[index].times.push_back(time);
                due[index].send(&mut connections.all[index])?;
                line += 1;
                left += 1;
            }
            if left == 0 && (now >= end || delays.len() >= MOST_SAMPLES) {
                break;
            }
            if now > end + PATIENCE {
                return Err(format!("{left} replies did not come within {} s", PATIENCE.as_secs()));
            }
            // The core is the client's own, so it looks again at once: a timer of the kernel would come too late.
            connections.turn(Duration::ZERO, |index, connection, replies| {
                let now = Instant::now();
                let due = &mut due[index];
                for time in due.times.drain(..replies) {
                    if time >= counts_from {
                        delays.push(now.duration_since(time).as_nanos() as u64);
                    }
                }
                due.sent -= replies;
                left -= replies;
                due.send(connection)
            })?;
        }
        delays.sort_unstable();
        Ok(Latencies { sorted: delays })
    }
}

impl Due {
    /// Sends what is due, as far as there is room for more lines on the connection.
    fn send(&mut self, connection: &mut super::connection::Connection) -> Result {
        let lines = (self.times.len() - self.sent).min(connection.room());
        if lines > 0 {
            connection.send(lines)?;
            self.sent += lines;
        }
        Ok(())
    }
}
