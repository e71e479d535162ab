//! Drives an invocation: while the guest waits, its output goes out, and the clock, the client and whoever may stop it are
//! watched.
//!
//! An invocation begins on its connection's event loop, and most end there. A guest that has computed for longer than a
//! tick, or whose command has held up a loop before, goes on among the workers, where it takes turns on the processors with
//! those of other tenants. So do all lines of a tenant that has used much lately, so that many short ones are no way round
//! it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::cpu;
use crate::capabilities::Call;
use crate::engine::{Pulse, TICK};
use crate::loops;
use crate::tenants::Place;
use crate::wire::{Gone, outbox};

/// Why an invocation was cut off from outside.
#[derive(Debug)]
pub enum Cut {
    /// The wall-clock bound passed.
    Timeout,
    /// The CPU budget is used up, by guest, host and children together.
    Cpu,
    /// Somebody stopped it.
    Stopped,
    /// The client is gone.
    Gone(Gone),
}

/// Polls `run` until it ends or has to be cut off; dropping it then cancels everything that it had under way. It is pinned
/// where it was made, for it is large.
///
/// An invocation that never waits makes no timer and watches no socket.
pub async fn drive<F: Future>(
    mut run: Pin<&mut F>,
    pulse: &mut Pulse<'_>,
    call: &Call,
    deadline: Instant,
) -> Result<F::Output, Cut> {
    let (task, wire) = (&call.task, &call.wire);
    // A try has kept this thread too. What of it an instance took that was made ahead is little.
    let mut turn = Turn { computed: task.cpu(), ..Turn::default() };
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    let mut failure = None;
    poll_fn(|cx| {
        let budget = call.tenant().limits.cpu;
        if let Poll::Ready(place) = turn.poll(cx, call) {
            let (polled, used) = cpu::on_account(pulse.go(), task, budget, || run.as_mut().poll(cx));
            drop(place);
            turn.computed += used;
            call.command.tries.took(used);
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Ok(output));
            }
        } else {
            // Whatever this thread did last, it was not for this line.
            cpu::forget_end();
        }
        pulse.rest();
        if task.cpu() > budget {
            return Poll::Ready(Err(Cut::Cpu));
        }
        if task.is_stopped(cx.waker()) {
            return Poll::Ready(Err(Cut::Stopped));
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

/// Whether a guest may run now.
#[derive(Default)]
struct Turn {
    /// How long it has run so far, and was tried. What is done for it elsewhere, by its children above all, keeps no thread of
    /// these.
    computed: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    place: Option<Pin<Box<dyn Future<Output = Place> + Send>>>,
}

impl Turn {
    /// Ready when the guest may run, with the place that it has to hold meanwhile if it needs one.
    fn poll(&mut self, cx: &mut Context<'_>, call: &Call) -> Poll<Option<Place>> {
        let tenant = call.tenant();
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match tenant.cpu.overdrawn() {
                Some(debt) => {
                    // A place that was given meanwhile is for others while this one stands still.
                    self.place = None;
                    self.pause = Some(Box::pin(sleep(debt)));
                }
                None => break,
            }
        }
        if self.place.is_none() {
            let is_long = self.computed >= TICK || call.command.tries.holds_up();
            if !is_long && !tenant.takes_turns() {
                return Poll::Ready(None);
            }
            if loops::leave() {
                // This loop would send the reply before it together with what is being written elsewhere.
                outbox::take_out(&call.wire);
                return Poll::Pending;
            }
            self.place = Some(Box::pin(tenant.part().turns.clone().acquire()));
        }
        match &mut self.place {
            Some(place) => place.as_mut().poll(cx).map(|taken| {
                self.place = None;
                Some(taken)
            }),
            None => Poll::Ready(None),
        }
    }
}
