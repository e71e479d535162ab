//! What this process has from whoever started it, beside its arguments: signals that are blocked or ignored, a limit on the
//! size of files, open descriptors. None of it may keep a host from its work, and the programs that it starts get none of it.
//!
//! A handler that does nothing takes the place of ignoring a signal. To this process that is the same, but that the kernel
//! keeps dead children for who waits for them; and whatever it starts gets the default in place of a handler, while a signal
//! that is ignored stays so.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::SigSet;
use rustix::process::Signal;

/// The first descriptor after the standard ones.
const FIRST_INHERITED: i32 = 3;
/// What is left ignored where it is. After a handler a process would make the same mistake again, and try for ever to use the
/// terminal from the background. The standard library ignores the last one itself, and gives programs the default.
const LEFT_ALONE: [Signal; 9] = [
    Signal::ILL,
    Signal::TRAP,
    Signal::BUS,
    Signal::FPE,
    Signal::SEGV,
    Signal::SYS,
    Signal::TTIN,
    Signal::TTOU,
    Signal::PIPE,
];

/// Lets go of all that. Before there is a second thread, for the others have the signal mask of the first.
///
/// # Errors
/// When the machine does not do it.
pub fn let_go() -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot set up signals: {error}");
    SigSet::empty().thread_set_mask().map_err(|error| failed(error.into()))?;
    // Without its own status in /proc a host does not come far, and says so itself.
    for signal in ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        // The C library keeps two for itself, and refuses.
        let _ = handle(signal);
    }
    // Beyond the limit on the size of files a write then fails, as on a full disk, where it would have ended the host.
    handle(Signal::XFSZ.as_raw()).map_err(failed)?;
    // A supervisor's descriptors least of all are its children's business.
    close_fds::set_fds_cloexec(FIRST_INHERITED, &[]);
    Ok(())
}

/// Does nothing when the signal comes.
fn handle(signal: i32) -> io::Result<()> {
    signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map(drop)
}

/// The signals that a process ignores and need not, by its status in `/proc`.
fn ignored(status: &str) -> impl Iterator<Item = i32> {
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let mask = mask.unwrap_or_default();
    (1..=64).filter(move |signal| mask >> (signal - 1) & 1 == 1).filter(|signal| {
        let is_left = |left: &Signal| left.as_raw() == *signal;
        !LEFT_ALONE.iter().any(is_left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_status() {
        let all: Vec<i32> = ignored("Name:\tx\nSigBlk:\t0000000000000004\nSigIgn:\t8000000000011001\n").collect();
        // SIGPIPE is among them, and stays.
        assert_eq!(all, [Signal::HUP.as_raw(), Signal::CHILD.as_raw(), 64]);
        assert_eq!(ignored("").count(), 0);
    }
}
