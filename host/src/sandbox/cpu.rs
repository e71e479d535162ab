//! CPU time of one invocation, measured where it is polled and enforced where the guest is interrupted.
//!
//! A guest runs only inside a poll of its invocation, so the time of those polls is its CPU time: guest and host calls
//! together, waiting excluded. A short invocation is measured with the cheap monotonic clock. One that has used more
//! than [`PRECISE_FROM`] is measured with the thread's CPU clock, so that on a busy machine it does not pay for the time
//! in which its thread did not run. A poll that is longer than that all at once pays for no more than what its thread has
//! computed lately, so that a machine that stands still (a stopped process, a paused virtual machine) ends nobody's line.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{StoreContextMut, UpdateDeadline};

use super::trial::Tried;
use super::{NotAtOnce, State, Stop};
use crate::engine::{Running, TICK};
use crate::task::Task;

/// CPU time from which on the thread's own clock is asked, which costs a system call.
const PRECISE_FROM: Duration = TICK;
/// How long a poll has to be for the guest to yield at a tick. The ticks may go on while a guest waits; one that has just gone on
/// has computed for less than the time between them, and to yield would cost it more than it takes from others.
pub const YIELD_FROM: Duration = Duration::from_micros(500);
/// How old what is known of the thread's clock may be. What others computed in that time may go on an account once, where a
/// poll stood still.
const FRESH: Duration = Duration::from_millis(10);

thread_local! {
    /// The poll that this thread is in; the epoch callback has no other way to the invocation's account.
    static SLICE: Cell<Option<Slice>> = const { Cell::new(None) };
    /// When its last poll ended.
    static LAST_END: Cell<Option<Instant>> = const { Cell::new(None) };
    /// What the thread's clock said, and when.
    static KNOWN: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Slice {
    began: Instant,
    /// The thread's CPU time when the poll began, or a little before.
    cpu: Duration,
    /// Whether it is known exactly.
    is_precise: bool,
    /// What is left of the budget.
    left: Duration,
}

impl Slice {
    fn begin(used: Duration, budget: Duration) -> Slice {
        let (began, is_precise) = (Instant::now(), used >= PRECISE_FROM);
        let cpu = if is_precise { thread_cpu() } else { lately(began) };
        Slice { began, cpu, is_precise, left: budget.saturating_sub(used) }
    }

    /// CPU time from its beginning until `now`.
    fn until(&self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.began);
        let computed = || thread_cpu().saturating_sub(self.cpu);
        if self.is_precise {
            computed()
        } else if elapsed < PRECISE_FROM {
            elapsed
        } else {
            // Neither is too little.
            elapsed.min(computed())
        }
    }
}

/// When this thread last came to the end of a poll of an invocation, unless a line has waited for its turn since.
pub fn last_end() -> Option<Instant> {
    LAST_END.get()
}

/// Has the next line of this thread look at the clock.
pub fn forget_end() {
    LAST_END.set(None);
}

/// Runs one poll of an invocation that has used `used` of `budget` so far, and returns how long it took.
fn measure<T>(used: Duration, budget: Duration, poll: impl FnOnce() -> T) -> (T, Duration) {
    let slice = Slice::begin(used, budget);
    SLICE.set(Some(slice));
    let result = poll();
    SLICE.set(None);
    let now = Instant::now();
    LAST_END.set(Some(now));
    (result, slice.until(now))
}

/// Runs one poll of a task within `budget`, lays its time to the task's account, and returns how long it took. The clock goes
/// meanwhile, or nobody would hold the guest to its budget.
pub fn on_account<T>(_clock: &Running<'_>, task: &Task, budget: Duration, poll: impl FnOnce() -> T) -> (T, Duration) {
    let (result, used) = measure(task.cpu(), budget, poll);
    task.charge_at(last_end().unwrap_or_else(Instant::now), used);
    (result, used)
}

/// Whether a line that has come to its end has used more than its budget, by more than what a measure may have of others.
pub fn is_overspent(task: &Task, budget: Duration) -> bool {
    task.cpu() > budget.saturating_add(FRESH)
}

/// Runs a piece of work that is done for an invocation elsewhere, and returns how much CPU time it took.
pub fn measure_aside<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = thread_cpu();
    let result = work();
    (result, thread_cpu().saturating_sub(began))
}

/// The epoch callback of a store: stops a guest whose budget is used up, and makes any other yield its thread.
pub fn on_tick(store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let now = Instant::now();
    match SLICE.get() {
        Some(slice) if slice.until(now) > slice.left => Err(Stop::Cpu(store.data().call.tenant().limits.cpu).into()),
        Some(slice) if now.duration_since(slice.began) < YIELD_FROM => Ok(UpdateDeadline::Continue(1)),
        _ => Ok(UpdateDeadline::Yield(1)),
    }
}

/// The same for a line that is only tried: it cannot yield, so it ends where it would have to; where there is no line
/// yet, at once.
pub fn on_tick_of_attempt(_store: StoreContextMut<'_, Tried>) -> wasmtime::Result<UpdateDeadline> {
    match SLICE.get() {
        Some(slice) if slice.until(Instant::now()) <= slice.left => Ok(UpdateDeadline::Continue(1)),
        _ => Err(NotAtOnce.into()),
    }
}

/// What this thread's clock said not long ago.
fn lately(now: Instant) -> Duration {
    match KNOWN.get() {
        Some((at, cpu)) if now.duration_since(at) < FRESH => cpu,
        _ => {
            let cpu = thread_cpu();
            KNOWN.set(Some((now, cpu)));
            cpu
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(1);

    fn spin(time: Duration) {
        let began = thread_cpu();
        while thread_cpu() - began < time {}
    }

    #[test]
    fn a_poll_is_measured_and_a_long_one_by_the_thread_clock() {
        let ((), used) = measure(Duration::ZERO, BUDGET, || spin(2 * PRECISE_FROM));
        assert!(used >= 2 * PRECISE_FROM);
        // Parking is waiting, not computing: the thread clock stands still meanwhile.
        let park = || std::thread::park_timeout(Duration::from_millis(50));
        let ((), parked) = measure(used, BUDGET, park);
        assert!(parked < Duration::from_millis(25), "{parked:?}");
        let ((), stood_still) = measure(Duration::ZERO, BUDGET, park);
        assert!(stood_still < Duration::from_millis(25), "{stood_still:?}");
        let ((), aside) = measure_aside(park);
        assert!(aside < Duration::from_millis(25), "{aside:?}");
    }
}
