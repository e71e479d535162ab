//! Who has shown wrong tokens lately, and how long the next one from there has to wait.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::Source;
use crate::lock::lock;

/// The wait after a source's first mistake. Each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Doublings that are counted: enough for the longest wait, and few enough that nothing overflows.
const MOST_DOUBLINGS: u32 = 16;
/// When a source's mistakes are forgotten, counted from the last one.
const MEMORY: Duration = Duration::from_secs(10 * 60);
/// Sources that are remembered. Where there are more, the one whose last mistake is oldest is forgotten.
const MOST_SOURCES: usize = 4096;

/// The mistakes of all sources.
#[derive(Debug, Default)]
pub struct Failures {
    by_source: Mutex<HashMap<Source, Mistakes>>,
}

#[derive(Debug)]
struct Mistakes {
    count: u32,
    last: Instant,
}

impl Mistakes {
    /// When the next attempt may be made.
    fn next_attempt(&self) -> Instant {
        let doublings = self.count.saturating_sub(1).min(MOST_DOUBLINGS);
        self.last + (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT)
    }
}

impl Failures {
    /// Makes an attempt from `source` at the time `now`: `check` has the result, and `None` is a mistake. While the source
    /// has to wait nothing is checked, so that of many attempts at once only one tells anything.
    ///
    /// # Errors
    /// How long the source has to wait.
    pub fn attempt<T>(
        &self,
        source: Source,
        now: Instant,
        check: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Duration> {
        let mut by_source = lock(&self.by_source);
        let known = by_source.get(&source).filter(|mistakes| now.duration_since(mistakes.last) < MEMORY);
        let before = known.map_or(0, |mistakes| mistakes.count);
        if let Some(mistakes) = known
            && mistakes.next_attempt() > now
        {
            return Err(mistakes.next_attempt() - now);
        }
        let result = check();
        if result.is_none() {
            if by_source.len() >= MOST_SOURCES && !by_source.contains_key(&source) {
                forget(&mut by_source, now);
            }
            by_source.insert(source, Mistakes { count: before.saturating_add(1), last: now });
        }
        Ok(result)
    }
}

/// Makes room for one more source.
fn forget(by_source: &mut HashMap<Source, Mistakes>, now: Instant) {
    by_source.retain(|_, mistakes| now.duration_since(mistakes.last) < MEMORY);
    if by_source.len() >= MOST_SOURCES
        && let Some((&oldest, _)) = by_source.iter().min_by_key(|(_, mistakes)| mistakes.last)
    {
        by_source.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: fn() -> Option<()> = || None;
    const RIGHT: fn() -> Option<()> = || Some(());

    fn source(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn each_mistake_doubles_the_wait_up_to_the_longest() {
        let failures = Failures::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(failures.attempt(source(1), now, WRONG), Ok(None));
            let wait = failures.attempt(source(1), now, RIGHT).unwrap_err();
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(failures.attempt(source(1), now, RIGHT), Ok(Some(())));
    }

    #[test]
    fn another_source_does_not_wait() {
        let failures = Failures::default();
        let now = Instant::now();
        assert_eq!(failures.attempt(source(1), now, WRONG), Ok(None));
        assert!(failures.attempt(source(1), now, WRONG).is_err());
        assert_eq!(failures.attempt(source(2), now, RIGHT), Ok(Some(())));
    }

    #[test]
    fn nothing_is_checked_while_a_source_waits() {
        let failures = Failures::default();
        let now = Instant::now();
        let mut checked = 0;
        for _ in 0..100 {
            let _ = failures.attempt(source(1), now, || {
                checked += 1;
                None::<()>
            });
        }
        assert_eq!(checked, 1);
    }

    #[test]
    fn mistakes_are_forgotten() {
        let failures = Failures::default();
        let now = Instant::now();
        for minute in 0..5 {
            let _ = failures.attempt(source(1), now + Duration::from_mins(minute), WRONG);
        }
        let later = now + Duration::from_mins(4) + MEMORY;
        assert_eq!(failures.attempt(source(1), later, WRONG), Ok(None));
        assert_eq!(failures.attempt(source(1), later, WRONG), Err(FIRST_WAIT));
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let failures = Failures::default();
        let now = Instant::now();
        let most = u32::try_from(MOST_SOURCES).unwrap();
        for number in 0..most + 10 {
            let _ = failures.attempt(source(number), now + Duration::from_micros(number.into()), WRONG);
        }
        assert_eq!(failures.by_source.lock().unwrap().len(), MOST_SOURCES);
        let later = now + Duration::from_millis(100);
        assert_eq!(failures.attempt(source(9), later, RIGHT), Ok(Some(())));
        assert!(failures.attempt(source(10), later, RIGHT).is_err());
    }
}
