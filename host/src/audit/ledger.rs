//! What one invocation was allowed and denied, kept until its record is written.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use super::record;
use crate::lock::lock;
use crate::policy::{Access, Denial, Key};

/// Different accesses of one invocation that its record names.
const MAX_USES: usize = 64;
/// Different denials of one invocation that get a record each.
const MAX_DENIALS: usize = 64;
/// Different failures of the machine during one invocation that the log tells of.
const MAX_FAILURES: usize = 16;
/// Bytes of an access that is named; of a longer one only that it was there.
const MAX_ACCESS: usize = 8 * 1024;
/// Bytes of all accesses that are named: what one line leaves in the file must not push out what others have left.
const MAX_TOTAL: usize = 32 * 1024;

/// The accesses of one invocation. What goes beyond its bounds is counted.
#[derive(Default)]
pub struct Ledger(Mutex<Entries>);

/// What a ledger holds.
#[derive(Default)]
pub struct Entries {
    /// What was allowed.
    pub uses: BTreeSet<Access>,
    /// How many times something was allowed that is not among them.
    pub more_uses: u64,
    /// What was denied, in this order.
    pub denials: Vec<Denied>,
    /// How many times something was denied that is not among them.
    pub more_denials: u64,
    /// Bytes of the accesses in both.
    bytes: usize,
    /// What the machine did not do, and with which error. It is no part of the record, and kept for the log's sake.
    failures: BTreeSet<(&'static str, Option<i32>)>,
}

/// What a denial, or a failure of the machine, is to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The first of its kind.
    New,
    /// One that was there before.
    Again,
    /// The first of those that are only counted.
    FirstBeyond,
    /// Another of those.
    Beyond,
}

impl Entries {
    /// Whether there is room for an access. If there is, it is taken.
    fn has_room(&mut self, access: &Access) -> bool {
        let size = access.size();
        let fits = size <= MAX_ACCESS && self.bytes + size <= MAX_TOTAL;
        if fits {
            self.bytes += size;
        }
        fits
    }
}

/// Something that was denied.
pub struct Denied {
    /// When it was for the first time.
    pub time: SystemTime,
    /// How many times it was.
    pub times: u64,
    /// What the guest was told.
    pub reason: String,
    /// Whose grants lack it; `None` where no grant would help.
    pub key: Option<Key>,
    /// What the command wanted; `None` if that is too long to be kept.
    pub access: Option<Access>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.0)
    }

    /// Remembers that something was allowed. True where it is named now, and was not before.
    pub fn used(&self, access: Access) -> bool {
        let mut entries = self.entries();
        if entries.uses.contains(&access) {
            return false;
        }
        if entries.uses.len() < MAX_USES && entries.has_room(&access) {
            entries.uses.insert(access)
        } else {
            entries.more_uses += 1;
            false
        }
    }

    /// Forgets a use that came to nothing.
    pub fn not_used(&self, access: &Access) {
        let mut entries = self.entries();
        if entries.uses.remove(access) {
            entries.bytes -= access.size();
        }
    }

    /// Remembers that something was denied.
    pub fn denied(&self, denial: &Denial) -> Entry {
        let mut entries = self.entries();
        let same = |known: &&mut Denied| {
            known.reason == denial.guest && known.access.as_ref().is_none_or(|access| *access == denial.access)
        };
        if let Some(known) = entries.denials.iter_mut().find(same) {
            known.times += 1;
            Entry::Again
        } else if entries.denials.len() < MAX_DENIALS {
            let access = Some(&denial.access).filter(|access| entries.has_room(access));
            entries.denials.push(Denied {
                time: record::now(),
                times: 1,
                reason: denial.guest.clone(),
                key: denial.key,
                access: access.cloned(),
            });
            Entry::New
        } else {
            entries.more_denials += 1;
            if entries.more_denials == 1 { Entry::FirstBeyond } else { Entry::Beyond }
        }
    }

    /// Remembers that the machine did not do something.
    pub fn failed(&self, what: &'static str, error: &io::Error) -> Entry {
        let mut entries = self.entries();
        let failure = (what, error.raw_os_error());
        if entries.failures.contains(&failure) {
            return Entry::Again;
        }
        // One beyond the bound is kept, by which it is known that there was one.
        if entries.failures.len() > MAX_FAILURES {
            return Entry::Beyond;
        }
        entries.failures.insert(failure);
        if entries.failures.len() > MAX_FAILURES { Entry::FirstBeyond } else { Entry::New }
    }

    /// Takes everything out.
    pub fn take(&self) -> Entries {
        std::mem::take(&mut *self.entries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(path: &str) -> Access {
        Access::Digest { path: path.to_owned() }
    }

    #[test]
    fn the_same_is_kept_once() {
        let ledger = Ledger::default();
        ledger.used(digest("/a"));
        ledger.used(digest("/a"));
        assert_eq!(ledger.denied(&Denial::link("/b", digest("/b"))), Entry::New);
        for _ in 0..2 {
            assert_eq!(ledger.denied(&Denial::link("/b", digest("/b"))), Entry::Again);
        }
        let entries = ledger.take();
        assert_eq!((entries.uses.len(), entries.more_uses), (1, 0));
        assert_eq!((entries.denials.len(), entries.denials[0].times, entries.more_denials), (1, 3, 0));
        assert!(ledger.take().uses.is_empty());
    }

    #[test]
    fn what_fails_again_and_again_is_told_once() {
        let ledger = Ledger::default();
        let failed = |what, number| ledger.failed(what, &io::Error::from_raw_os_error(number));
        assert_eq!([failed("read", 1), failed("read", 1), failed("write", 1)], [Entry::New, Entry::Again, Entry::New]);
        let told: Vec<_> = (2..40).map(|number| failed("read", number)).collect();
        let count = |kind| told.iter().filter(|entry| **entry == kind).count();
        assert_eq!((count(Entry::New), count(Entry::FirstBeyond)), (MAX_FAILURES - 2, 1));
        assert_eq!(told.last(), Some(&Entry::Beyond));
    }

    #[test]
    fn what_came_to_nothing_is_forgotten() {
        let ledger = Ledger::default();
        assert!(ledger.used(digest("/a")) && !ledger.used(digest("/a")) && ledger.used(digest("/b")));
        ledger.not_used(&digest("/a"));
        ledger.not_used(&digest("/c"));
        let entries = ledger.take();
        assert_eq!((entries.uses, entries.bytes), (BTreeSet::from([digest("/b")]), digest("/b").size()));
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let ledger = Ledger::default();
        for number in 0..100 {
            ledger.used(digest(&format!("/{number}")));
            ledger.denied(&Denial::link("/x", digest(&format!("/{number}"))));
        }
        let long = "x".repeat(10_000);
        ledger.used(digest(&long));
        let entries = ledger.take();
        assert_eq!((entries.uses.len(), entries.more_uses), (MAX_USES, 100 - 64 + 1));
        assert_eq!((entries.denials.len(), entries.more_denials), (MAX_DENIALS, 100 - 64));
        ledger.denied(&Denial::link(&long, digest(&long)));
        let entries = ledger.take();
        assert!(entries.denials[0].access.is_none() && entries.denials[0].reason.len() < 1000);
        for number in 0..60 {
            ledger.used(digest(&format!("/{number}/{}", "x".repeat(1000))));
        }
        let entries = ledger.take();
        assert!(entries.uses.len() < 33 && entries.more_uses > 27, "{} uses", entries.uses.len());
    }
}
