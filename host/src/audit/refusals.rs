//! Lines that never began, counted: a flood of them must leave a record, and no flood of records.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use super::record;
use crate::identity::Identity;
use crate::lock::lock;

/// Clients of one tenant that are told apart until the counts are written, for each reason. Others are counted together.
const MAX_CLIENTS: usize = 8;
/// Bytes that are kept of what stood in the place of a command's name.
const MAX_NAME: usize = 64;

/// A line that did not begin.
pub struct Refusal<'a> {
    /// On whose behalf it would have run.
    pub tenant: &'a str,
    /// Who sent it.
    pub identity: &'a Identity,
    /// Its first word.
    pub command: &'a str,
    /// Why it did not begin.
    pub outcome: &'static str,
}

/// Lines of one client, or of those who are not told apart, that did not begin for the same reason.
pub struct Counted {
    /// When the first of them came.
    pub time: SystemTime,
    /// Who sent them; `None` for those who are not told apart.
    pub identity: Option<Identity>,
    /// As much of the first word of the first of them as is kept.
    pub command: String,
    /// Why they did not begin.
    pub outcome: &'static str,
    /// How many they are.
    pub times: u64,
}

/// The counts by tenant. They are taken out when they are written.
#[derive(Default)]
pub struct Refusals(Mutex<State>);

#[derive(Default)]
struct State {
    by_tenant: HashMap<String, Vec<Counted>>,
    /// Somebody is going to write what is counted.
    expected: bool,
}

impl Refusals {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Counts a line. True when nobody is going to write the counts yet, and the caller has to see to it.
    pub fn count(&self, refusal: &Refusal<'_>) -> bool {
        let mut state = self.state();
        match state.by_tenant.get_mut(refusal.tenant) {
            Some(counted) => count(counted, refusal),
            None => {
                state.by_tenant.insert(refusal.tenant.to_owned(), vec![Counted::first(refusal, true)]);
            }
        }
        !std::mem::replace(&mut state.expected, true)
    }

    /// Takes out everything, by tenant. Where there is nothing, nobody is expected to write any more.
    pub fn take(&self) -> HashMap<String, Vec<Counted>> {
        let mut state = self.state();
        state.expected = !state.by_tenant.is_empty();
        std::mem::take(&mut state.by_tenant)
    }
}

fn count(counted: &mut Vec<Counted>, refusal: &Refusal<'_>) {
    let mut clients = 0;
    for known in counted.iter_mut().filter(|known| known.outcome == refusal.outcome) {
        // The last of a full list is of all who are not in it.
        if known.identity.as_ref().is_none_or(|identity| identity == refusal.identity) {
            known.times += 1;
            return;
        }
        clients += 1;
    }
    counted.push(Counted::first(refusal, clients < MAX_CLIENTS));
}

impl Counted {
    fn first(refusal: &Refusal<'_>, is_told_apart: bool) -> Counted {
        Counted {
            time: record::now(),
            identity: is_told_apart.then(|| refusal.identity.clone()),
            command: refusal.command[..refusal.command.floor_char_boundary(MAX_NAME)].to_owned(),
            outcome: refusal.outcome,
            times: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Credential;

    fn client(number: usize) -> Identity {
        Identity { credential: Credential::Listener, listener: "here".into(), peer: number.to_string().into() }
    }

    fn refusal<'a>(identity: &'a Identity, outcome: &'static str) -> Refusal<'a> {
        Refusal { tenant: "t", identity, command: "word", outcome }
    }

    #[test]
    fn the_first_one_has_somebody_write_until_there_is_nothing() {
        let refusals = Refusals::default();
        let client = client(1);
        assert!(refusals.count(&refusal(&client, "overloaded")));
        assert!(!refusals.count(&refusal(&client, "overloaded")));
        let taken = refusals.take();
        assert_eq!((taken["t"].len(), taken["t"][0].times), (1, 2));
        assert!(!refusals.count(&refusal(&client, "overloaded")), "whoever took it looks again");
        assert_eq!(refusals.take()["t"][0].times, 1);
        assert!(refusals.take().is_empty());
        assert!(refusals.count(&refusal(&client, "overloaded")));
    }

    #[test]
    fn so_many_clients_are_told_apart() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            for number in 0..20 {
                refusals.count(&refusal(&client(number), "overloaded"));
            }
        }
        refusals.count(&refusal(&client(19), "unavailable"));
        let mut taken = refusals.take().remove("t").unwrap();
        let other = taken.pop().unwrap();
        assert_eq!((other.identity.unwrap().peer, other.outcome, other.times), ("19".into(), "unavailable", 1));
        assert_eq!(taken.len(), MAX_CLIENTS + 1);
        assert!(taken[..MAX_CLIENTS].iter().all(|known| known.identity.is_some() && known.times == 3));
        assert_eq!((&taken[MAX_CLIENTS].identity, taken[MAX_CLIENTS].times), (&None, 3 * 12));
    }

    #[test]
    fn of_a_long_word_the_beginning_is_kept() {
        let (client, word) = (client(1), "ü".repeat(1000));
        let refusals = Refusals::default();
        refusals.count(&Refusal { command: &word, ..refusal(&client, "unavailable") });
        assert_eq!(refusals.take()["t"][0].command, "ü".repeat(32));
    }
}
