//! A bound on a rate: what is taken now is missing until time has put it back.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// Time that a bucket holds: who was quiet for that long may take as much at once.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket. It may go into debt by what was taken before anybody could tell how much it would be.
#[derive(Debug)]
pub struct Bucket {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Units put back in a second.
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket, into which `rate` units come in a second.
    pub fn new(rate: f64, now: Instant) -> Bucket {
        Bucket { state: Mutex::new(State { rate, level: rate * BURST.as_secs_f64(), at: now }) }
    }

    /// Has so many units come in each second from now on. What is there or missing stays so.
    pub fn set_rate(&self, rate: f64, now: Instant) {
        self.at(now).rate = rate;
    }

    /// Takes units if they are all there.
    pub fn try_take(&self, units: f64, now: Instant) -> bool {
        let mut state = self.at(now);
        let is_enough = state.level >= units;
        if is_enough {
            state.level -= units;
        }
        is_enough
    }

    /// Takes units whether they are there or not.
    pub fn charge(&self, units: f64, now: Instant) {
        self.at(now).level -= units;
    }

    /// How long it takes until the bucket is out of debt; `None` when it is in none.
    pub fn debt(&self, now: Instant) -> Option<Duration> {
        let state = self.at(now);
        (state.level < 0.0).then(|| Duration::from_secs_f64(-state.level / state.rate))
    }

    /// The state with what has come in meanwhile.
    fn at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        let came = now.saturating_duration_since(state.at).as_secs_f64() * state.rate;
        state.level = (state.level + came).min(state.rate * BURST.as_secs_f64());
        state.at = state.at.max(now);
        state
    }
}

/// Goes on with the bucket of a bound that this one follows, at this one's rate: who is held by either takes from the same.
pub fn follow(own: &mut Option<Arc<Bucket>>, known: Option<&Arc<Bucket>>) {
    if let (Some(own), Some(known)) = (own, known) {
        let rate = lock(&own.state).rate;
        known.set_rate(rate, Instant::now());
        *own = Arc::clone(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_a_burst_is_forgiven() {
        let began = Instant::now();
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        let bucket = Bucket::new(10.0, began);
        let taken = (0..20).filter(|_| bucket.try_take(1.0, began)).count();
        assert_eq!(taken, 10);
        assert!(!bucket.try_take(1.0, at(90)));
        assert!(bucket.try_take(1.0, at(110)));
        let taken = (0..100).filter(|_| bucket.try_take(1.0, at(60_000))).count();
        assert_eq!(taken, 10, "it holds no more than a second's worth");
    }

    #[test]
    fn debt_is_paid_in_time() {
        let began = Instant::now();
        let bucket = Bucket::new(0.5, began);
        bucket.charge(0.5, began);
        assert_eq!(bucket.debt(began), None);
        bucket.charge(0.25, began);
        assert_eq!(bucket.debt(began), Some(Duration::from_millis(500)));
        assert_eq!(bucket.debt(began + Duration::from_millis(501)), None);
    }

    #[test]
    fn another_rate_leaves_what_is_there_and_what_is_missing() {
        let began = Instant::now();
        let bucket = Bucket::new(1.0, began);
        bucket.set_rate(10.0, began);
        assert!(bucket.try_take(1.0, began) && !bucket.try_take(1.0, began), "it was filled up");
        bucket.charge(5.0, began);
        bucket.set_rate(2.0, began);
        assert_eq!(bucket.debt(began), Some(Duration::from_millis(2500)));
        // It holds a second's worth of the new rate.
        let later = began + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.try_take(1.0, later)).count(), 2);
    }
}
