//! CPU time of one invocation, measured where it is polled and enforced where the guest is interrupted.
//!
//! A guest runs only inside a poll of its invocation, so the time of those polls is its CPU time: guest and host calls
//! together, waiting excluded. A short invocation is measured with the cheap monotonic clock. One that has used more
//! than [`PRECISE_FROM`] is measured with the thread's CPU clock, so that on a busy machine it does not pay for the time
//! in which its thread did not run.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{StoreContextMut, UpdateDeadline};

use super::Stop;
use crate::engine::TICK;

/// CPU time from which on the thread's own clock is asked, which costs a system call.
const PRECISE_FROM: Duration = TICK;

thread_local! {
    /// The poll that this thread is in; the epoch callback has no other way to the invocation's meter.
    static SLICE: Cell<Option<Slice>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Slice {
    began: Mark,
    used: Duration,
    budget: Duration,
}

#[derive(Clone, Copy)]
enum Mark {
    Monotonic(Instant),
    ThreadCpu(Duration),
}

impl Mark {
    fn elapsed(self) -> Duration {
        match self {
            Mark::Monotonic(began) => began.elapsed(),
            Mark::ThreadCpu(began) => thread_cpu().saturating_sub(began),
        }
    }
}

/// Adds up the CPU time of one invocation.
#[derive(Debug)]
pub struct Meter {
    used: Duration,
    budget: Duration,
}

impl Meter {
    /// A meter that has seen nothing yet.
    pub fn new(budget: Duration) -> Meter {
        Meter { used: Duration::ZERO, budget }
    }

    /// Runs one poll of the invocation and counts its time.
    pub fn measure<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        let began =
            if self.used < PRECISE_FROM { Mark::Monotonic(Instant::now()) } else { Mark::ThreadCpu(thread_cpu()) };
        SLICE.set(Some(Slice { began, used: self.used, budget: self.budget }));
        let result = poll();
        SLICE.set(None);
        self.used += began.elapsed();
        result
    }

    /// CPU time used so far.
    pub fn used(&self) -> Duration {
        self.used
    }

    /// Whether the budget is used up. The epoch callback sees this first, unless the time goes into host calls.
    pub fn is_spent(&self) -> bool {
        self.used > self.budget
    }
}

/// The epoch callback of every store: stops a guest whose budget is used up, and makes any other yield its thread.
pub fn on_tick<T>(_: StoreContextMut<'_, T>) -> wasmtime::Result<UpdateDeadline> {
    match SLICE.get() {
        Some(slice) if slice.used + slice.began.elapsed() > slice.budget => Err(Stop::Cpu(slice.budget).into()),
        _ => Ok(UpdateDeadline::Yield(1)),
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(time: Duration) {
        let began = thread_cpu();
        while thread_cpu() - began < time {}
    }

    #[test]
    fn polls_add_up_and_a_long_one_switches_to_the_thread_clock() {
        let mut meter = Meter::new(Duration::from_secs(1));
        meter.measure(|| spin(2 * PRECISE_FROM));
        assert!(meter.used() >= 2 * PRECISE_FROM);
        let before = meter.used();
        // Parking is waiting, not computing: the thread clock stands still meanwhile.
        meter.measure(|| std::thread::park_timeout(Duration::from_millis(50)));
        assert!(meter.used() - before < Duration::from_millis(25), "{:?}", meter.used() - before);
        assert!(!meter.is_spent());
    }

    #[test]
    fn a_spent_budget_shows() {
        let mut meter = Meter::new(Duration::from_millis(1));
        meter.measure(|| spin(Duration::from_millis(2)));
        assert!(meter.is_spent());
    }
}
