//! A command that traps again and again is put aside for a while: whoever calls it is told so at once, and the host does not
//! build it up only to see it fall.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// Traps in a row, with no other end among them, after which a command is put aside.
const TRAPS: u32 = 8;
/// How long it is put aside, the first time and at most. The pause doubles with each trap that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How a command of one tenant has ended lately.
#[derive(Debug, Default)]
pub struct Health {
    traps: AtomicU32,
    aside_until: Mutex<Option<Instant>>,
}

impl Health {
    /// How long the command is put aside for, if it is.
    pub fn pause_left(&self, now: Instant) -> Option<Duration> {
        if self.traps.load(Ordering::Relaxed) < TRAPS {
            return None;
        }
        let until = *lock(&self.aside_until);
        until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Takes note of an end that was no trap.
    pub fn ended_well(&self) {
        if self.traps.load(Ordering::Relaxed) > 0 {
            self.traps.store(0, Ordering::Relaxed);
        }
    }

    /// Takes note of a trap. Returns how long the command is put aside for, if it is for that.
    ///
    /// Lines that began before it was put aside, and trap while it is, do not count: they are of the same burst.
    pub fn trapped(&self, now: Instant) -> Option<Duration> {
        if self.pause_left(now).is_some() {
            return None;
        }
        let traps = self.traps.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let beyond = traps.checked_sub(TRAPS)?;
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_PAUSE);
        *lock(&self.aside_until) = Some(now + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_in_a_row_put_a_command_aside_for_longer_and_longer() {
        let health = Health::default();
        let began = Instant::now();
        for _ in 1..TRAPS {
            assert_eq!(health.trapped(began), None);
        }
        health.ended_well();
        for _ in 1..TRAPS {
            assert_eq!(health.trapped(began), None, "they were not in a row");
        }
        assert_eq!(health.pause_left(began), None);
        assert_eq!(health.trapped(began), Some(FIRST_PAUSE));
        assert_eq!(health.pause_left(began), Some(FIRST_PAUSE));
        let later = began + FIRST_PAUSE;
        assert_eq!(health.pause_left(later), None, "it gets another chance");
        assert_eq!(health.trapped(later), Some(2 * FIRST_PAUSE));
        assert_eq!(health.trapped(later), None, "it is of the same burst");
        assert_eq!(health.pause_left(later), Some(2 * FIRST_PAUSE));
        let mut now = later;
        for _ in 0..40 {
            now += LONGEST_PAUSE;
            health.trapped(now);
        }
        assert_eq!(health.pause_left(now), Some(LONGEST_PAUSE));
        health.ended_well();
        assert_eq!(health.pause_left(now), None);
    }
}
