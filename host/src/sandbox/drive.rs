//! Drives an invocation: while the guest waits, its output goes out, and the clock and the client are watched.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

use super::cpu::Meter;
use crate::wire::{Gone, Wire};

/// Why an invocation was cut off from outside.
#[derive(Debug)]
pub enum Cut {
    /// The wall-clock bound passed.
    Timeout,
    /// The CPU budget went into host calls.
    Cpu,
    /// The client is gone.
    Gone(Gone),
}

/// Polls `run` until it ends or has to be cut off. Dropping `run` then cancels everything that it had under way.
///
/// An invocation that never waits makes no timer and watches no socket.
pub async fn drive<F: Future>(run: F, wire: &Wire, meter: &mut Meter, deadline: Instant) -> Result<F::Output, Cut> {
    let mut run = pin!(run);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    let mut failure = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = meter.measure(|| run.as_mut().poll(cx)) {
            return Poll::Ready(Ok(output));
        }
        if meter.is_spent() {
            return Poll::Ready(Err(Cut::Cpu));
        }
        if let Poll::Ready(Err(gone)) = wire.poll_drain(cx, 0) {
            return Poll::Ready(Err(Cut::Gone(gone)));
        }
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Cut::Timeout));
        }
        let failure = failure.get_or_insert_with(|| Box::pin(wire.failed()));
        failure.as_mut().poll(cx).map(|gone| Err(Cut::Gone(gone)))
    })
    .await
}
