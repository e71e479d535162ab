//! Clients that were not let in: the first ones of a second have records of their own, the others are counted. Whoever has no
//! credential may connect as often as he likes, and must not push what others have left out of the file.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::SystemTime;

use super::record;
use crate::lock::lock;

/// Clients of one listener in a second that have records of their own.
const MAX_TOLD: u32 = 8;

/// Those of the last second, by listener.
#[derive(Default)]
pub struct Strangers(Mutex<State>);

#[derive(Default)]
struct State {
    by_listener: HashMap<String, Seen>,
    /// Somebody is going to take out what is here.
    expected: bool,
}

#[derive(Default)]
struct Seen {
    told: u32,
    beyond: Option<Beyond>,
}

/// Clients that have no records of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// When the first of them came.
    pub time: SystemTime,
    /// How many they are.
    pub times: u64,
}

/// What is to be done about a client that was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// It has a record of its own.
    pub is_told: bool,
    /// Nobody is going to take out what is counted yet, and the caller has to see to it.
    pub is_first: bool,
}

impl Strangers {
    /// Counts a client that a listener did not let in.
    pub fn count(&self, listener: &str) -> Turned {
        let mut state = lock(&self.0);
        let is_first = !std::mem::replace(&mut state.expected, true);
        if !state.by_listener.contains_key(listener) {
            state.by_listener.insert(listener.to_owned(), Seen::default());
        }
        let is_told = state.by_listener.get_mut(listener).is_some_and(Seen::count);
        Turned { is_told, is_first }
    }

    /// Takes out what was counted since the last time, by listener. `None` where no client has come since, and nobody is
    /// expected to ask any more.
    pub fn take(&self) -> Option<Vec<(String, Beyond)>> {
        let mut state = lock(&self.0);
        state.expected = !state.by_listener.is_empty();
        let seen = state.expected.then(|| std::mem::take(&mut state.by_listener))?;
        Some(seen.into_iter().filter_map(|(listener, seen)| Some((listener, seen.beyond?))).collect())
    }
}

impl Seen {
    /// Counts one more. Returns whether it has a record of its own.
    fn count(&mut self) -> bool {
        if self.told < MAX_TOLD {
            self.told += 1;
            return true;
        }
        self.beyond.get_or_insert_with(|| Beyond { time: record::now(), times: 0 }).times += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_second_are_told_apart() {
        let strangers = Strangers::default();
        for second in 0..2 {
            let told: Vec<Turned> = (0..20).map(|_| strangers.count("a")).collect();
            assert_eq!(told.iter().filter(|turned| turned.is_told).count(), 8);
            assert_eq!(told[0].is_first, second == 0, "whoever took it looks again");
            assert!(told[1..].iter().all(|turned| !turned.is_first));
            assert!(strangers.count("b").is_told);
            let taken = strangers.take().expect("there is something");
            assert_eq!(taken.iter().map(|(name, beyond)| (&**name, beyond.times)).collect::<Vec<_>>(), [("a", 12)]);
        }
        assert_eq!(strangers.take(), None);
        assert!(strangers.count("a").is_first);
    }
}
