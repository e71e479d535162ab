//! A command that traps again and again is put aside for a while: whoever calls it is told so at once, and the host does not
//! build it up only to see it fall.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Traps in a row, with no other end among them, after which a command is put aside.
const TRAPS: u32 = 8;
/// How long it is put aside, the first time and at most. The pause doubles with each trap that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Tries in vain, one after another, from which on there are no longer pauses between them: then two to this power lines are
/// not tried (`sandbox/attempt.rs`).
const LONGEST_UNTRIED: u32 = 10;

/// How a command of one tenant has ended lately.
#[derive(Debug, Default)]
pub struct Health {
    /// Tries in vain since the last that was not.
    in_vain: AtomicU32,
    /// Lines that are still not to be tried.
    untried: AtomicU32,
    traps: AtomicU32,
    aside_until: Mutex<Option<Instant>>,
}

impl Health {
    /// How long the command is put aside for, if it is.
    pub fn put_aside(&self, now: Instant) -> Option<Duration> {
        if self.traps.load(Ordering::Relaxed) < TRAPS {
            return None;
        }
        let until = *self.aside_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whether a line is worth a try now. Lines at once may be counted as one, here and below: nothing but time depends on it.
    pub fn is_worth_a_try(&self) -> bool {
        let untried = self.untried.load(Ordering::Relaxed);
        if untried > 0 {
            self.untried.store(untried - 1, Ordering::Relaxed);
        }
        untried == 0
    }

    /// Tries in vain since the last that was not.
    #[cfg(test)]
    pub fn tries_in_vain(&self) -> u32 {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// Takes note of how a try has ended. Commands that wait for something mostly do so with each line, and are tried less
    /// and less; one that was only interrupted by the machine is tried with its next line.
    pub fn was_tried(&self, in_vain: bool) {
        let before = self.in_vain.load(Ordering::Relaxed);
        if in_vain {
            self.in_vain.store((before + 1).min(LONGEST_UNTRIED), Ordering::Relaxed);
            self.untried.store((1 << before) - 1, Ordering::Relaxed);
        } else if before > 0 {
            self.in_vain.store(0, Ordering::Relaxed);
        }
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
        if self.put_aside(now).is_some() {
            return None;
        }
        let traps = self.traps.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let beyond = traps.checked_sub(TRAPS)?;
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_PAUSE);
        *self.aside_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + pause);
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
        assert_eq!(health.put_aside(began), None);
        assert_eq!(health.trapped(began), Some(FIRST_PAUSE));
        assert_eq!(health.put_aside(began), Some(FIRST_PAUSE));
        let later = began + FIRST_PAUSE;
        assert_eq!(health.put_aside(later), None, "it gets another chance");
        assert_eq!(health.trapped(later), Some(2 * FIRST_PAUSE));
        assert_eq!(health.trapped(later), None, "it is of the same burst");
        assert_eq!(health.put_aside(later), Some(2 * FIRST_PAUSE));
        let mut now = later;
        for _ in 0..40 {
            now += LONGEST_PAUSE;
            health.trapped(now);
        }
        assert_eq!(health.put_aside(now), Some(LONGEST_PAUSE));
        health.ended_well();
        assert_eq!(health.put_aside(now), None);
    }

    #[test]
    fn a_command_that_waits_is_tried_less_and_less() {
        let health = Health::default();
        let lines_to_the_next_try = || (1..).find(|_| health.is_worth_a_try()).expect("there is another try");
        let pauses: Vec<u32> =
            std::iter::repeat_with(lines_to_the_next_try).inspect(|_| health.was_tried(true)).take(13).collect();
        assert_eq!(pauses[..5], [1, 1, 2, 4, 8]);
        assert_eq!(pauses[11..], [1024, 1024]);
        assert_eq!(lines_to_the_next_try(), 1024);
        health.was_tried(false);
        assert_eq!(lines_to_the_next_try(), 1);
    }
}
