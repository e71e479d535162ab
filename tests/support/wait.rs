//! Waiting for something observable, with an end to the patience.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything that must happen may take, on a busy machine too. Nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long compiling may take, where components of tens of MiB are many and the machine is busy. The host gives up sooner.
pub const COMPILING: Duration = Duration::from_secs(900);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Waits until the condition holds; panics when patience ends.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

/// Waits until the condition holds; panics after so long.
#[track_caller]
pub fn eventually_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some_within(patience, what, || condition().then_some(()));
}

/// Waits until there is a value; panics when patience ends.
#[track_caller]
pub fn eventually_some<T>(what: &str, value: impl FnMut() -> Option<T>) -> T {
    eventually_some_within(PATIENCE, what, value)
}

/// Waits until there is a value; panics after so long.
#[track_caller]
pub fn eventually_some_within<T>(patience: Duration, what: &str, value: impl FnMut() -> Option<T>) -> T {
    match some_within(patience, value) {
        Some(value) => value,
        None => panic!("gave up after {patience:?} waiting for this: {what}"),
    }
}

/// Waits until there is a value, so long at most: for who has more to say than a panic here would.
pub fn some_within<T>(patience: Duration, mut value: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = value();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        pause(POLL);
    }
}

/// Lets time pass between two looks at a condition, or between two pieces of slow input. Never a way to synchronise.
pub fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a thread of a test has nothing else to do")]
    thread::sleep(time);
}
