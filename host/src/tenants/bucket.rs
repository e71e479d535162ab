//! A bound on a rate: what is taken now is missing until time has put it back.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// Time that a bucket holds: who was quiet for that long may take as much at once.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket. It may go into debt by what was taken before anybody could tell how much it would be.
#[derive(Debug)]
pub struct Bucket {
    /// Units put back in a second.
    rate: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket, into which `rate` units come in a second.
    pub fn new(rate: f64, now: Instant) -> Bucket {
        Bucket { rate, state: Mutex::new(State { level: rate * BURST.as_secs_f64(), at: now }) }
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
        let level = self.at(now).level;
        (level < 0.0).then(|| Duration::from_secs_f64(-level / self.rate))
    }

    /// The state with what has come in meanwhile.
    fn at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        let came = now.saturating_duration_since(state.at).as_secs_f64() * self.rate;
        state.level = (state.level + came).min(self.rate * BURST.as_secs_f64());
        state.at = state.at.max(now);
        state
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
}
