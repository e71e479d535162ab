//! Places whose number may change while some of them are taken.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, TryAcquireError};

use crate::lock::lock;

/// A number of places. When it becomes smaller than what is taken, places go as they are given back.
pub struct Gate {
    free: Semaphore,
    /// Places that go instead of becoming free. Changes under the lock on `size` alone.
    excess: AtomicUsize,
    size: Mutex<usize>,
}

/// A place, taken. Dropping it gives it back.
pub struct Pass {
    gate: Arc<Gate>,
}

impl Gate {
    /// So many places, all of them free.
    pub fn new(places: usize) -> Gate {
        Gate { free: Semaphore::new(places), excess: AtomicUsize::new(0), size: Mutex::new(places) }
    }

    /// Takes a place if one is free.
    pub fn try_acquire_owned(self: Arc<Gate>) -> Result<Pass, TryAcquireError> {
        self.free.try_acquire()?.forget();
        Ok(Pass { gate: self })
    }

    /// Waits for a place, behind those who wait already.
    pub async fn acquire_owned(self: Arc<Gate>) -> Pass {
        match self.free.acquire().await {
            Ok(permit) => permit.forget(),
            // It is never closed.
            Err(_) => pending().await,
        }
        Pass { gate: self }
    }

    /// Has so many places from now on. Nobody loses the one that he has.
    pub fn resize(&self, places: usize) {
        let mut size = lock(&self.size);
        let excess = self.excess.load(Ordering::Relaxed);
        if places >= *size {
            let more = places - *size;
            let stay = excess.min(more);
            self.excess.store(excess - stay, Ordering::Relaxed);
            self.free.add_permits(more - stay);
        } else {
            let fewer = *size - places + excess;
            // Told first: whoever gives a place back from here on waits for what comes of it.
            self.excess.store(fewer, Ordering::Relaxed);
            let gone = self.free.forget_permits(fewer);
            self.excess.store(fewer - gone, Ordering::Relaxed);
        }
        *size = places;
    }

    /// Whether no place is free, so that somebody may wait for one.
    pub fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// How many are free.
    #[cfg(test)]
    pub fn available_permits(&self) -> usize {
        self.free.available_permits()
    }

    fn give_back(&self) {
        if self.excess.load(Ordering::Relaxed) > 0 {
            let _size = lock(&self.size);
            let excess = self.excess.load(Ordering::Relaxed);
            if excess > 0 {
                self.excess.store(excess - 1, Ordering::Relaxed);
                return;
            }
        }
        self.free.add_permits(1);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(gate: &Arc<Gate>, places: usize) -> Vec<Pass> {
        (0..places).map_while(|_| Arc::clone(gate).try_acquire_owned().ok()).collect()
    }

    #[test]
    fn free_places_come_and_go_at_once() {
        let gate = Arc::new(Gate::new(4));
        gate.resize(2);
        assert_eq!(take(&gate, 9).len(), 2);
        gate.resize(5);
        assert_eq!(take(&gate, 9).len(), 5);
        gate.resize(0);
        assert_eq!(take(&gate, 9).len(), 0);
    }

    #[test]
    fn places_that_are_taken_go_as_they_are_given_back() {
        let gate = Arc::new(Gate::new(4));
        let mut taken = take(&gate, 4);
        gate.resize(2);
        taken.truncate(2);
        assert_eq!(take(&gate, 9).len(), 0);
        taken.truncate(1);
        assert_eq!(take(&gate, 9).len(), 1);
        drop(taken);
        assert_eq!(take(&gate, 9).len(), 2);
    }

    #[test]
    fn places_that_were_to_go_stay_where_there_are_more_again() {
        let gate = Arc::new(Gate::new(4));
        let taken = take(&gate, 4);
        gate.resize(1);
        gate.resize(3);
        assert_eq!(take(&gate, 9).len(), 0, "four are taken of three");
        gate.resize(5);
        assert_eq!(take(&gate, 9).len(), 1);
        drop(taken);
        assert_eq!(take(&gate, 9).len(), 5);
    }

    #[tokio::test]
    async fn who_waits_gets_a_place_that_comes() {
        let gate = Arc::new(Gate::new(0));
        let mut waiting = Box::pin(Arc::clone(&gate).acquire_owned());
        assert!(polled_once(&mut waiting).await.is_none());
        gate.resize(1);
        let pass = polled_once(&mut waiting).await.expect("there is a place");
        assert_eq!(gate.available_permits(), 0);
        drop(pass);
        assert_eq!(gate.available_permits(), 1);
    }

    /// What a future has to say now, if anything.
    async fn polled_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
