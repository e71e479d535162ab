//! What a look at a directory does about the files of one command: decided from how they look, before they are read.

use std::time::Instant;

use super::table::Refused;

/// Bytes of one tenant's files that are read at a look which nobody has asked for.
const MOST_READ: u64 = 512 * 1024 * 1024;

/// When files are taken as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once: somebody asked for it.
    Now,
    /// At once, as a second look at what was looked at just now: what the machine could not load then waits for its time.
    Again,
    /// When nobody is writing them any more: something seems to have changed.
    Settled,
}

/// How a command's files look, and what is known of files that looked the same.
pub struct Look<'a> {
    /// What the look is for.
    pub pace: Pace,
    /// When it is.
    pub now: Instant,
    /// Nobody seems to be writing them.
    pub are_settled: bool,
    /// The version that serves was made from them.
    pub serve: bool,
    /// They were refused.
    pub refused: Option<&'a Refused>,
    /// The code that is being compiled from them.
    pub compiling: Option<blake3::Hash>,
    /// Bytes that are to be read of them.
    pub size: u64,
    /// Bytes of the tenant's other files that this look has read.
    pub read: u64,
}

/// What is done about a command's files. Whatever it is, the version that serves stays where no other takes its place.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// There is nothing new in them.
    Keep,
    /// They are left to the next look, which is soon.
    Later,
    /// They are refused still.
    Refuse(&'a Refused),
    /// Their code is waited for.
    Await(blake3::Hash),
    /// They are read.
    Read,
}

impl<'a> Look<'a> {
    /// What to do about them.
    pub fn decide(&self) -> Decision<'a> {
        let nobody_asked = self.pace == Pace::Settled;
        if nobody_asked && !self.are_settled {
            return Decision::Later;
        }
        if self.serve {
            return Decision::Keep;
        }
        if let Some(refused) = self.refused.filter(|refused| self.is_left_alone(refused)) {
            return Decision::Refuse(refused);
        }
        if let Some(hash) = self.compiling {
            return Decision::Await(hash);
        }
        // Others have commands too. What is left of these comes with the next look. Whoever has asked for a look waits for all.
        if nobody_asked && self.read > 0 && self.read + self.size > MOST_READ {
            return Decision::Later;
        }
        Decision::Read
    }

    /// Whether it is too soon to try again what was refused, or of no use.
    fn is_left_alone(&self, refused: &Refused) -> bool {
        refused.retry.is_none_or(|retry| self.pace != Pace::Now && self.now < retry.at)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::registry::Problem;
    use crate::registry::scan::Found;
    use crate::registry::table::Retry;

    const ALL: [Pace; 3] = [Pace::Now, Pace::Again, Pace::Settled];

    /// Files that are whole and that nothing is known of.
    fn new(pace: Pace) -> Look<'static> {
        Look {
            pace,
            now: Instant::now(),
            are_settled: true,
            serve: false,
            refused: None,
            compiling: None,
            size: 1,
            read: 0,
        }
    }

    fn refused(retry: Option<Instant>) -> Refused {
        let nothing = Found { name: String::new(), path: PathBuf::new(), sidecar: None };
        let retry = retry.map(|at| Retry { at, pause: Duration::ZERO });
        Refused { stamps: nothing.stamps(), problem: Problem::new("", ""), retry }
    }

    #[test]
    fn new_files_are_read_as_soon_as_they_are_whole() {
        for pace in ALL {
            assert_eq!(new(pace).decide(), Decision::Read, "{pace:?}");
            let written = Look { are_settled: false, ..new(pace) };
            let expected = if pace == Pace::Settled { Decision::Later } else { Decision::Read };
            assert_eq!(written.decide(), expected, "{pace:?}");
        }
    }

    #[test]
    fn files_that_serve_are_not_read_again() {
        for pace in ALL {
            assert_eq!(Look { serve: true, ..new(pace) }.decide(), Decision::Keep, "{pace:?}");
        }
        // A sidecar that is gone may be on its way back, so nobody relies on that yet.
        assert_eq!(Look { serve: true, are_settled: false, ..new(Pace::Settled) }.decide(), Decision::Later);
    }

    #[test]
    fn what_was_refused_is_tried_again_where_that_may_help() {
        let now = Instant::now();
        let (never, later, due) = (refused(None), refused(Some(now + Duration::from_secs(1))), refused(Some(now)));
        for (refused, pace, is_read) in [
            (&never, Pace::Now, false),
            (&never, Pace::Again, false),
            (&never, Pace::Settled, false),
            (&later, Pace::Now, true),
            (&later, Pace::Again, false),
            (&later, Pace::Settled, false),
            (&due, Pace::Now, true),
            (&due, Pace::Again, true),
            (&due, Pace::Settled, true),
        ] {
            let look = Look { now, refused: Some(refused), ..new(pace) };
            let expected = if is_read { Decision::Read } else { Decision::Refuse(refused) };
            assert_eq!(look.decide(), expected, "{pace:?}");
        }
    }

    #[test]
    fn what_is_being_compiled_is_waited_for() {
        let (hash, now) = (blake3::hash(b""), Instant::now());
        let (never, due) = (refused(None), refused(Some(now)));
        for pace in ALL {
            let compiling = || Look { now, compiling: Some(hash), read: MOST_READ, ..new(pace) };
            assert_eq!(compiling().decide(), Decision::Await(hash), "{pace:?}");
            // It was tried again, and how that ends is not known yet.
            assert_eq!(Look { refused: Some(&due), ..compiling() }.decide(), Decision::Await(hash), "{pace:?}");
            assert_eq!(Look { refused: Some(&never), ..compiling() }.decide(), Decision::Refuse(&never), "{pace:?}");
        }
    }

    #[test]
    fn a_look_that_nobody_asked_for_reads_so_much_but_one_file_at_least() {
        for (pace, read, size, expected) in [
            (Pace::Settled, 0, MOST_READ + 1, Decision::Read),
            (Pace::Settled, 1, MOST_READ - 1, Decision::Read),
            (Pace::Settled, 1, MOST_READ, Decision::Later),
            (Pace::Again, 1, MOST_READ, Decision::Read),
            (Pace::Now, 1, MOST_READ, Decision::Read),
        ] {
            assert_eq!(Look { read, size, ..new(pace) }.decide(), expected, "{pace:?}, {read}, {size}");
        }
    }
}
