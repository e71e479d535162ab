//! What every connection has to hear: that the host drains, that the drain is over, that the configuration is another.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

/// How far the host is. One bell rings for all that there is to hear, so that a connection that does nothing waits on one
/// thing for as long as it lasts.
#[derive(Default)]
pub struct Notices {
    bell: Notify,
    is_draining: AtomicBool,
    is_over: AtomicBool,
    draining: CancellationToken,
}

impl Notices {
    /// No more lines.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.draining.cancel();
        self.ring();
    }

    /// No more anything.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.ring();
    }

    /// Has everyone look around again.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Ready when the bell has rung since this was called. Whoever looks around afterwards misses nothing.
    pub fn next(&self) -> Notified<'_> {
        self.bell.notified()
    }

    /// Whether no more lines are to be read.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Whether everything is to end at once.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// For those who wait for nothing but the drain.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }
}
