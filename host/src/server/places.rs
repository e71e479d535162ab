//! Places that bound how many connections there are at once: of everyone, of one source, of one tenant.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::identity::Source;
use crate::lock::lock;

/// Who has a place. Only those are kept who have one, so there are never more of them than places.
#[derive(Debug, Default)]
pub struct ConnectionPlaces {
    taken: Mutex<HashMap<Arc<Holder>, Taken>>,
}

/// On whose account a place goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Everyone together.
    Everyone,
    /// Whoever comes from there.
    Source(Source),
    /// The clients of a tenant.
    Tenant(Arc<str>),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Everyone => f.write_str("everyone"),
            Holder::Source(source) => write!(f, "source {source}"),
            Holder::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// The last one who asked was refused, and that has been said.
    refused: bool,
}

/// A place, on several accounts at once. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<ConnectionPlaces>,
    /// Shared with all others that have a place on the same account.
    holders: Box<[Arc<Holder>]>,
}

/// There is no place left on this account.
#[derive(Debug, PartialEq, Eq)]
pub struct Full {
    /// Whose account.
    pub holder: Holder,
    /// Nobody has been refused on it since somebody last got a place, so it is worth a warning.
    pub first: bool,
}

impl ConnectionPlaces {
    /// Takes a place on all of these accounts, each with the most that it may have, or on none.
    ///
    /// # Errors
    /// When one of the accounts has no place left.
    pub fn take<const N: usize>(self: &Arc<Self>, wanted: [(Holder, usize); N]) -> Result<Place, Full> {
        let mut taken = self.lock();
        for (holder, most) in &wanted {
            if let Some(account) = taken.get_mut(holder).filter(|account| account.count >= *most) {
                let first = !std::mem::replace(&mut account.refused, true);
                return Err(Full { holder: holder.clone(), first });
            }
        }
        let holders = wanted.map(|(holder, _)| {
            let holder = taken.get_key_value(&holder).map_or_else(|| Arc::new(holder), |(known, _)| Arc::clone(known));
            let account = taken.entry(Arc::clone(&holder)).or_default();
            account.count += 1;
            account.refused = false;
            holder
        });
        Ok(Place { places: Arc::clone(self), holders: Box::new(holders) })
    }

    /// How many places are taken on an account.
    pub fn count(&self, holder: &Holder) -> usize {
        self.lock().get(holder).map_or(0, |account| account.count)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Holder>, Taken>> {
        lock(&self.taken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        for holder in std::mem::take(&mut self.holders) {
            if let Entry::Occupied(mut account) = taken.entry(holder) {
                account.get_mut().count -= 1;
                if account.get().count == 0 {
                    account.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 100;

    fn source(last: u8) -> Holder {
        Holder::Source(Source::of([192, 0, 2, last].into()))
    }

    #[test]
    fn a_place_is_taken_on_all_accounts_or_on_none() {
        let places = Arc::new(ConnectionPlaces::default());
        let first = places.take([(source(1), 1), (Holder::Everyone, MANY)]).unwrap();
        assert_eq!(places.take([(source(1), 1), (Holder::Everyone, MANY)]).unwrap_err().holder, source(1));
        assert_eq!(places.take([(source(2), 1), (Holder::Everyone, 1)]).unwrap_err().holder, Holder::Everyone);
        assert_eq!(places.count(&Holder::Everyone), 1);
        assert_eq!(places.count(&source(2)), 0);
        drop(first);
        let _second = places.take([(source(1), 1), (Holder::Everyone, 1)]).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let places = Arc::new(ConnectionPlaces::default());
        let held: Vec<Place> = (0..50).map(|last| places.take([(source(last), 1)]).unwrap()).collect();
        assert_eq!(places.lock().len(), 50);
        drop(held);
        assert!(places.lock().is_empty());
    }

    #[test]
    fn refusals_are_worth_one_warning_until_somebody_gets_in() {
        let places = Arc::new(ConnectionPlaces::default());
        let ask = || places.take([(Holder::Tenant("a".into()), 1)]);
        let place = ask().unwrap();
        assert!(ask().unwrap_err().first);
        assert!(!ask().unwrap_err().first);
        drop(place);
        let _place = ask().unwrap();
        assert!(ask().unwrap_err().first);
    }
}
