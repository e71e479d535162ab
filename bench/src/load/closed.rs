//! Closed loop: each connection has a fixed number of lines under way, and sends another for each reply.

use std::time::{Duration, Instant};

use super::{Connections, PATIENCE};
use crate::Result;
use crate::proc::Cpu;

/// How to run a closed loop.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    pub in_flight: usize,
    /// Time before the measured one, in which caches fill and what came before comes to rest.
    pub warm_up: Duration,
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
        pass(connections, self.warm_up, u64::MAX)?;
        let cpu = server.map(Cpu::of).transpose()?;
        let began = Instant::now();
        let lines = pass(connections, self.measured, self.most_lines)?;
        let elapsed = began.elapsed();
        let cpu = match (server, cpu) {
            (Some(pid), Some(before)) => Some(Cpu::of(pid)?.since(&before)),
            _ => None,
        };
        connections.drain(PATIENCE)?;
        Ok(Throughput { lines, elapsed, cpu })
    }
}

/// Keeps lines under way for a time, and counts the replies.
fn pass(connections: &mut Connections, time: Duration, most_lines: u64) -> Result<u64> {
    let deadline = Instant::now() + time;
    let mut lines = 0;
    while lines < most_lines {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
        connections.turn(left, |_, connection, replies| {
            lines += replies as u64;
            connection.send(replies)
        })?;
    }
    Ok(lines)
}
