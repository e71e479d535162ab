//! Where a command's next line is to begin: whether it is worth a try as a plain call (`sandbox/attempt.rs`), and whether it
//! may begin on an event loop at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Lines that are not tried between two tries in vain, at most. It is a power of two.
const MOST_UNTRIED: u32 = 1 << 10;

/// How long a guest may keep its thread at a time before its command is taken for one that holds up others. It yields after
/// a tick, unless it is in an instruction that works on much memory: none of these is interrupted. Some time of others may be
/// in a measure (`sandbox/cpu.rs`), but not as much.
const HELD_UP: Duration = Duration::from_millis(25);
/// After how many times that are shorter it is not taken for one any more.
const FORGIVEN: u32 = 256;

/// How tries of a command have ended lately. Lines at once may be counted as one: nothing but time depends on it.
#[derive(Debug, Default)]
pub struct Tries {
    /// Tries in vain since the last that was not, as far as they are of interest.
    in_vain: AtomicU32,
    /// Lines that are still not to be tried.
    untried: AtomicU32,
    /// Times that are still to be shorter.
    holds_up: AtomicU32,
}

impl Tries {
    /// Counts a line that begins. Returns whether it is worth a try.
    pub fn begin_line(&self) -> bool {
        let untried = self.untried.load(Ordering::Relaxed);
        if untried > 0 {
            self.untried.store(untried - 1, Ordering::Relaxed);
        }
        untried == 0
    }

    /// Takes note of how long a line has kept its thread at a time.
    pub fn took(&self, time: Duration) {
        let left = self.holds_up.load(Ordering::Relaxed);
        if time > HELD_UP {
            self.holds_up.store(FORGIVEN, Ordering::Relaxed);
        } else if left > 0 {
            self.holds_up.store(left - 1, Ordering::Relaxed);
        }
    }

    /// Whether a line has lately kept its thread for so long that others are better off where it does not.
    pub fn holds_up(&self) -> bool {
        self.holds_up.load(Ordering::Relaxed) > 0
    }

    /// Tries in vain since the last that was not.
    #[cfg(test)]
    pub fn in_vain(&self) -> u32 {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// Takes note of how a try has ended. Commands that wait for something mostly do so with each line, and are tried less
    /// and less; one that was only interrupted by the machine is tried with its next line.
    pub fn ended(&self, in_vain: bool) {
        let before = self.in_vain.load(Ordering::Relaxed);
        if in_vain {
            self.in_vain.store((before + 1).min(MOST_UNTRIED.ilog2()), Ordering::Relaxed);
            self.untried.store((1 << before) - 1, Ordering::Relaxed);
        } else if before > 0 {
            self.in_vain.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_waits_is_tried_less_and_less() {
        let tries = Tries::default();
        let lines_to_the_next = || (1..).find(|_| tries.begin_line()).expect("there is another");
        let pauses: Vec<u32> =
            std::iter::repeat_with(lines_to_the_next).inspect(|_| tries.ended(true)).take(13).collect();
        assert_eq!(pauses[..5], [1, 1, 2, 4, 8]);
        assert_eq!(pauses[11..], [MOST_UNTRIED, MOST_UNTRIED]);
        assert_eq!(lines_to_the_next(), MOST_UNTRIED);
        tries.ended(false);
        assert_eq!(lines_to_the_next(), 1);
    }

    #[test]
    fn a_command_that_holds_up_others_is_known_by_it() {
        let tries = Tries::default();
        tries.took(HELD_UP);
        assert!(!tries.holds_up());
        tries.took(2 * HELD_UP);
        for _ in 0..FORGIVEN {
            assert!(tries.holds_up());
            tries.took(HELD_UP);
        }
        assert!(!tries.holds_up());
    }
}
