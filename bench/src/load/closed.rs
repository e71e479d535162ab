//! Closed loop: each connection has a fixed number of lines under way, and sends another for each reply.

use std::time::{Duration, Instant};

use super::{Connections, PATIENCE};
use crate::Result;
use crate::proc::Cpu;

/// How often what is under way has to have come back, in the time before the measured one and in that itself. Replies come in
/// waves where many lines are under way, and a window that cuts few of them would tell of its edges.
const WAVES: (u64, u64) = (1, 3);
/// In parts of the time that was asked for, the longest that may be waited for these.
const LONGEST: u32 = 10;

/// How to run a closed loop.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    pub in_flight: usize,
    /// Time before the measured one, in which caches fill and what came before comes to rest.
    pub warm_up: Duration,
    /// At least; longer where a server is slow for what is under way.
    pub measured: Duration,
    /// Lines after which the measurement ends early.
    pub most_lines: u64,
}

/// What came out of a closed loop.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    pub lines: u64,
    pub elapsed: Duration,
    /// Of the server, where its process is known.
    pub cpu: Option<Duration>,
}

impl Throughput {
    pub fn lines_per_second(&self) -> f64 {
        self.lines as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of the server's CPU time for a line.
    pub fn cpu_per_line(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.lines.max(1) as f64)
    }
}

impl Closed {
    /// Runs the loop on connections that have nothing under way, and leaves them so.
    pub fn run(&self, connections: &mut Connections, server: Option<u32>) -> Result<Throughput> {
        for connection in &mut connections.all {
            connection.send(self.in_flight)?;
        }
        let wave = connections.outstanding() as u64;
        pass(connections, self.warm_up, WAVES.0 * wave, u64::MAX)?;
        let cpu = server.map(Cpu::of).transpose()?;
        let began = Instant::now();
        let lines = pass(connections, self.measured, WAVES.1 * wave, self.most_lines)?;
        let elapsed = began.elapsed();
        let cpu = match (server, cpu) {
            (Some(pid), Some(before)) => Some(Cpu::of(pid)?.since(&before)),
            _ => None,
        };
        connections.drain(PATIENCE)?;
        Ok(Throughput { lines, elapsed, cpu })
    }
}

/// Keeps lines under way for a time, and until so many replies have come, and counts these.
fn pass(connections: &mut Connections, time: Duration, least: u64, most: u64) -> Result<u64> {
    let began = Instant::now();
    let mut lines = 0;
    while lines < most {
        let time = if lines < least { time * LONGEST } else { time };
        let Some(left) = time.checked_sub(began.elapsed()) else { break };
        connections.turn(left, |_, connection, replies| {
            lines += replies as u64;
            connection.send(replies)
        })?;
    }
    Ok(lines)
}
