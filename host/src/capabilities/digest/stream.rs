//! A file's bytes, from its beginning to its end, for somebody who works on them in constant memory.
//!
//! The kernel copies some five times as fast as SHA-1 hashes, so a thread that does both loses a sixth of its time. A long
//! file is therefore read by a second thread, a piece ahead, while there is a place among the jobs that nobody else wants.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::{Error, io_error};
use crate::sandbox::cpu;

/// Bytes of one read: large enough that the system calls do not show beside the work.
const CHUNK: usize = 128 * 1024;
/// Bytes that go from one thread to the other at once. Waking a thread takes as long as hashing tens of KiB.
const PIECE: usize = 2 * 1024 * 1024;
/// Pieces that there are: one is being read, and one worked on.
const PIECES: usize = 2;
/// Bytes that have to be left for a second thread to pay.
const LONG: u64 = 16 * 1024 * 1024;
/// Bytes after which the second thread's place is up for others. That is no longer than any short job holds one.
const STRETCH: u64 = 128 * 1024 * 1024;

/// On whose account a job goes.
pub trait Account: Sync {
    /// A place among the jobs.
    type Place;
    /// Whether there is anybody left who wants the result and may have it.
    fn may_go_on(&self) -> bool;
    /// Adds CPU time that was used.
    fn charge(&self, used: Duration);
    /// A second place, if there is one that nobody waits for.
    fn spare_place(&self) -> Option<Self::Place>;
}

/// Hands all bytes of `file` to `work`, to its end, however it changes meanwhile, but never more than `bound`. `length` is
/// what it had when it was opened.
///
/// # Errors
/// When the file cannot be read or is longer than the bound, and when nobody wants the result any more.
pub fn read_through<A: Account>(
    mut file: impl Read + Send,
    length: u64,
    bound: u64,
    account: &A,
    work: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let mut worker = Worker { account, bound, total: 0, work };
    loop {
        let is_long = length.saturating_sub(worker.total) >= LONG;
        let ended = match is_long.then(|| account.spare_place()).flatten() {
            Some(place) => worker.read_ahead(&mut file, place)?,
            None => worker.read_here(&mut file)?,
        };
        if ended {
            return Ok(());
        }
    }
}

/// The thread that works on the bytes.
struct Worker<'a, A, W> {
    account: &'a A,
    bound: u64,
    /// Bytes worked on so far.
    total: u64,
    work: W,
}

impl<A: Account, W: FnMut(&[u8])> Worker<'_, A, W> {
    /// Reads and works in turns, for a stretch. True at the end of the file.
    fn read_here(&mut self, file: &mut impl Read) -> Result<bool, Error> {
        let mut chunk = vec![0; CHUNK];
        let end = self.total.saturating_add(STRETCH);
        while self.total < end {
            let read = read(file, &mut chunk, self.account)?;
            if read == 0 {
                return Ok(true);
            }
            self.take(&chunk[..read])?;
        }
        Ok(false)
    }

    /// Works on what another thread reads, for as long as nobody else wants the place of that. True at the end of the file.
    fn read_ahead(&mut self, file: &mut (impl Read + Send), place: A::Place) -> Result<bool, Error> {
        let account = self.account;
        // Given back after the thread has ended, whatever ends it.
        let mut place = Some(place);
        let ended = thread::scope(|scope| {
            let (give, empty) = sync_channel(PIECES);
            let (fill, filled) = sync_channel(PIECES);
            let file = &mut *file;
            let reader = thread::Builder::new().name("read-ahead".into());
            let reader = reader.spawn_scoped(scope, move || fill_pieces(file, account, &empty, &fill));
            reader.is_ok().then(|| self.take_pieces(give, &filled, &mut place))
        });
        // Where there is no thread to be had, it goes without.
        ended.unwrap_or_else(|| self.read_here(file))
    }

    /// Works on pieces, and gives them back to be filled again. What ends early closes the channels, which ends the reader.
    fn take_pieces(
        &mut self,
        give: SyncSender<Vec<u8>>,
        filled: &Receiver<Result<Piece, Error>>,
        place: &mut Option<A::Place>,
    ) -> Result<bool, Error> {
        for _ in 0..PIECES {
            // There is room for all of them.
            let _ = give.send(vec![0; PIECE]);
        }
        let mut give = Some(give);
        let mut until = self.total.saturating_add(STRETCH);
        for piece in filled {
            let Piece { bytes, length } = piece?;
            if length == 0 {
                return Ok(true);
            }
            self.take(&bytes[..length])?;
            if self.total >= until {
                until = self.total.saturating_add(STRETCH);
                // Whoever waits gets it.
                *place = None;
                *place = self.account.spare_place();
            }
            // Without a place the reader is given nothing more, and ends; what it has read by then is still to come.
            give = give.filter(|_| place.is_some());
            if let Some(give) = &give {
                // A reader that has ended has left what it read.
                let _ = give.send(bytes);
            }
        }
        Ok(false)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.total = self.total.saturating_add(bytes.len() as u64);
        if self.total > self.bound {
            return Err(Error::TooLarge(self.bound));
        }
        go_on(self.account)?;
        let ((), used) = cpu::measure_aside(|| (self.work)(bytes));
        self.account.charge(used);
        Ok(())
    }
}

/// Bytes of a file, of which the first `length` were read. There are none at its end.
struct Piece {
    bytes: Vec<u8>,
    length: usize,
}

/// The thread that reads ahead: fills what it is given, until the end of the file or an error.
fn fill_pieces(
    file: &mut impl Read,
    account: &impl Account,
    empty: &Receiver<Vec<u8>>,
    fill: &SyncSender<Result<Piece, Error>>,
) {
    for bytes in empty {
        let piece = fill_piece(file, account, bytes);
        let is_last = !matches!(&piece, Ok(piece) if piece.length > 0);
        if fill.send(piece).is_err() || is_last {
            return;
        }
    }
}

fn fill_piece(file: &mut impl Read, account: &impl Account, mut bytes: Vec<u8>) -> Result<Piece, Error> {
    let mut length = 0;
    while length < bytes.len() {
        let end = bytes.len().min(length + CHUNK);
        match read(file, &mut bytes[length..end], account)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(Piece { bytes, length })
}

/// Reads once; 0 bytes at the end of the file.
fn read(file: &mut impl Read, chunk: &mut [u8], account: &impl Account) -> Result<usize, Error> {
    loop {
        go_on(account)?;
        let (read, used) = cpu::measure_aside(|| file.read(chunk));
        account.charge(used);
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.map_err(io_error),
        }
    }
}

fn go_on(account: &impl Account) -> Result<(), Error> {
    if account.may_go_on() { Ok(()) } else { Err(Error::Io("cancelled".to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use super::*;

    /// An account that has so many places to spare, one after another, and how many of them are out.
    #[derive(Default)]
    struct Test {
        stopped: AtomicBool,
        spare: AtomicUsize,
        out: AtomicUsize,
        charged: AtomicU64,
        readers: Mutex<Vec<Option<String>>>,
    }

    struct Borrowed<'a>(&'a AtomicUsize);

    impl Drop for Borrowed<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl<'a> Account for &'a Test {
        type Place = Borrowed<'a>;

        fn may_go_on(&self) -> bool {
            !self.stopped.load(Ordering::SeqCst)
        }

        fn charge(&self, used: Duration) {
            self.charged.fetch_add(used.as_nanos() as u64, Ordering::SeqCst);
        }

        fn spare_place(&self) -> Option<Borrowed<'a>> {
            let taken = |spare: usize| spare.checked_sub(1);
            self.spare.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).ok()?;
            assert_eq!(self.out.fetch_add(1, Ordering::SeqCst), 0, "the place that it had was given back");
            Some(Borrowed(&self.out))
        }
    }

    /// Bytes of a source at once.
    const PORTION: usize = 77_777;

    /// Every byte tells its place, as far as a byte can.
    fn pattern() -> Vec<u8> {
        (0..PORTION + 256).map(|place| place as u8).collect()
    }

    /// Bytes of the pattern, read by whom the account remembers.
    struct Source<'a> {
        account: &'a Test,
        pattern: Vec<u8>,
        at: u64,
        length: u64,
    }

    impl Read for Source<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let name = thread::current().name().map(str::to_owned);
            let mut readers = self.account.readers.lock().unwrap();
            if readers.last() != Some(&name) {
                readers.push(name);
            }
            // Short reads are nothing that a file never does.
            let count = (self.length - self.at).min(buffer.len() as u64).min(PORTION as u64) as usize;
            buffer[..count].copy_from_slice(&self.pattern[(self.at % 256) as usize..][..count]);
            self.at += count as u64;
            Ok(count)
        }
    }

    /// Reads so many bytes, and returns how many came, all of them in their order.
    fn run(account: &Test, length: u64, bound: u64) -> Result<u64, Error> {
        let mut seen = 0_u64;
        let pattern = pattern();
        let source = Source { account, pattern: pattern.clone(), at: 0, length };
        read_through(source, length, bound, &account, |bytes| {
            for portion in bytes.chunks(PORTION) {
                assert!(portion == &pattern[(seen % 256) as usize..][..portion.len()]);
                seen += portion.len() as u64;
            }
        })?;
        assert_eq!(account.out.load(Ordering::SeqCst), 0, "a place was kept");
        Ok(seen)
    }

    fn read_ahead(account: &Test) -> Vec<bool> {
        let names = account.readers.lock().unwrap();
        names.iter().map(|name| name.as_deref() == Some("read-ahead")).collect()
    }

    #[test]
    fn a_short_file_is_read_here() {
        for length in [0, 1, CHUNK as u64, LONG - 1] {
            let account = Test { spare: AtomicUsize::new(9), ..Test::default() };
            assert_eq!(run(&account, length, length).unwrap(), length);
            assert_eq!(read_ahead(&account), [false]);
        }
    }

    #[test]
    fn a_long_file_is_read_ahead_while_there_is_a_place() {
        for length in [LONG, LONG + 1, 11 * PIECE as u64 - 1] {
            let account = Test { spare: AtomicUsize::new(9), ..Test::default() };
            assert_eq!(run(&account, length, length).unwrap(), length);
            assert_eq!(read_ahead(&account), [true]);
            assert!(account.charged.load(Ordering::SeqCst) > 0);
        }
        let account = Test::default();
        assert_eq!(run(&account, LONG, LONG).unwrap(), LONG);
        assert_eq!(read_ahead(&account), [false]);
    }

    #[test]
    fn a_place_that_somebody_wants_is_given_back() {
        let account = Test { spare: AtomicUsize::new(1), ..Test::default() };
        let length = STRETCH + LONG;
        assert_eq!(run(&account, length, length).unwrap(), length);
        assert_eq!(read_ahead(&account), [true, false]);
    }

    #[test]
    fn the_bound_holds_for_both_ways() {
        for spare in [0, 9] {
            let account = Test { spare: AtomicUsize::new(spare), ..Test::default() };
            let too_large = run(&account, 2 * LONG, LONG);
            assert!(matches!(too_large, Err(Error::TooLarge(LONG))), "{too_large:?}");
            assert_eq!(account.out.load(Ordering::SeqCst), 0);
        }
    }

    #[test]
    fn a_cancelled_job_ends_for_both_ways() {
        for spare in [0, 9] {
            let account = Test { spare: AtomicUsize::new(spare), ..Test::default() };
            let mut pieces = 0;
            let ended = read_through(std::io::repeat(0), u64::MAX, u64::MAX, &&account, |_| {
                pieces += 1;
                account.stopped.store(pieces == 3, Ordering::SeqCst);
            });
            assert!(matches!(ended, Err(Error::Io(_))), "{ended:?}");
            assert_eq!((pieces, account.out.load(Ordering::SeqCst)), (3, 0));
        }
    }

    #[test]
    fn a_failure_to_read_is_told_by_both_ways() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(ErrorKind::InvalidData.into())
            }
        }
        for spare in [0, 9] {
            let account = Test { spare: AtomicUsize::new(spare), ..Test::default() };
            let failed = read_through(Failing, LONG, LONG, &&account, |_| {});
            assert!(matches!(failed, Err(Error::Io(_))), "{failed:?}");
        }
    }
}
