//! Hashes of files, streamed in constant memory on threads for jobs.

mod chunks;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use sha1::Digest;

use super::bindings::wasmline::command::digest::{Algorithm, Error, Host};
use super::jobs::Job;
use super::paths::{OpenError, open_beneath};
use super::{View, kind};
use crate::policy::{Access, Denial};
use crate::sandbox::cpu;
use crate::task::Task;
use chunks::{Ahead, Chunks, Direct};

/// Size from which on a file is read by a thread of its own while it is hashed, in bytes, where there is one free. Hashing it
/// takes milliseconds, so that what a thread costs does not show.
const AHEAD_FROM: u64 = 8 * 1024 * 1024;

/// Tells the job that nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Hashes the file at `relative` beneath `root`. Dropping the future stops the job at its next chunk; its place is
/// given back when it has really ended.
async fn hash_file(task: &Arc<Task>, root: &Path, relative: &Path, algorithm: Algorithm) -> Result<Vec<u8>, Unhashed> {
    let part = task.tenant().part();
    let threads = Arc::clone(&part.threads);
    let task = Arc::clone(task);
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = CancelOnDrop(Arc::clone(&cancelled));
    let (root, relative, bound) = (root.to_owned(), relative.to_owned(), task.tenant().limits.digest_size);
    let payer = Hashing { task, cancelled };
    let job = Job::in_place(part.hash_jobs.clone(), &part.threads, move || {
        let (opened, used) = cpu::measure_aside(|| open_regular(&root, &relative, bound));
        payer.charge(used);
        let (mut file, size) = opened?;
        let reader = if size >= AHEAD_FROM { threads.reader() } else { None };
        let hash_chunks = |chunks| hash(chunks, Hasher::new(algorithm), bound, &payer);
        let hashed = reader.and_then(|_place| Ahead::scope(&mut file, &payer, hash_chunks));
        hashed.unwrap_or_else(|| hash(Direct::new(&mut file), Hasher::new(algorithm), bound, &payer))
    });
    // The job ends early only when the host is going down.
    job.await.unwrap_or_else(|| Err(Error::Io("the job was stopped".to_owned()).into()))
}

/// The file, and its size.
fn open_regular(root: &Path, relative: &Path, bound: u64) -> Result<(File, u64), Unhashed> {
    let file = File::from(open_beneath(root, relative, OFlags::RDONLY)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Error::NotAFile.into());
    }
    if metadata.len() > bound {
        return Err(Error::TooLarge(bound).into());
    }
    Ok((file, metadata.len()))
}

/// Reads to the end, however the file changes meanwhile, but never beyond the bound.
fn hash(mut chunks: impl Chunks, mut hasher: Hasher, bound: u64, payer: &impl Payer) -> Result<Vec<u8>, Unhashed> {
    let mut total = 0;
    while payer.may_go_on() {
        let (read, used) = cpu::measure_aside(|| {
            let chunk = chunks.next()?;
            hasher.update(chunk);
            io::Result::Ok(chunk.len())
        });
        payer.charge(used);
        match read {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => {
                total += read as u64;
                if total > bound {
                    return Err(Error::TooLarge(bound).into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Io("cancelled".to_owned()).into())
}

/// On whose account a job goes.
trait Payer {
    /// Whether there is anybody left who wants the result and may have it.
    fn may_go_on(&self) -> bool;
    /// Adds CPU time that was used.
    fn charge(&self, used: Duration);
}

/// A job of a task, until it is cancelled or the task has used up its time.
struct Hashing {
    task: Arc<Task>,
    cancelled: Arc<AtomicBool>,
}

impl Payer for Hashing {
    fn may_go_on(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed) && self.task.cpu_left().is_some()
    }

    fn charge(&self, used: Duration) {
        self.task.charge(used);
    }
}

/// One hash under way. An enum of our own, for the libraries do not share a trait.
enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Hasher::Blake3(Box::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Hasher::Sha1(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha512(hasher) => hasher.finalize().to_vec(),
            Hasher::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
        }
    }
}

/// Why there is no hash.
#[derive(Debug)]
enum Unhashed {
    /// The operator has to know: the machine did not do it.
    Failed(io::Error),
    /// The command alone has to, or it is for whoever asked to tell the operator.
    Told(Error),
}

impl From<Error> for Unhashed {
    fn from(error: Error) -> Unhashed {
        Unhashed::Told(error)
    }
}

impl From<io::Error> for Unhashed {
    fn from(error: io::Error) -> Unhashed {
        Unhashed::Failed(error)
    }
}

impl From<OpenError> for Unhashed {
    fn from(error: OpenError) -> Unhashed {
        Unhashed::Told(match error {
            OpenError::Outside => Error::Denied,
            OpenError::NotFound => Error::NotFound,
            OpenError::Permission => Error::Permission,
            OpenError::NoFile => Error::NotAFile,
            OpenError::Other(error) => return Unhashed::Failed(error.into()),
        })
    }
}

impl Host for View<'_> {
    async fn hash_file(&mut self, path: String, algorithm: Algorithm) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        if !path.starts_with('/') || path.contains('\0') {
            return Ok(Err(Error::BadPath));
        }
        let place = match self.call.command.grants.digest(&path) {
            Ok(place) => place,
            Err(denial) => {
                self.call.log_denial(&denial);
                return Ok(Err(Error::Denied));
            }
        };
        let access = Access::Digest { path: path.clone() };
        // Beforehand, for the line may end while it is under way.
        let is_new = self.call.ledger.used(access.clone());
        let hash = hash_file(&self.call.task, &place.root, &place.relative, algorithm).await;
        let hash = hash.map_err(|error| match error {
            Unhashed::Told(error) => error,
            Unhashed::Failed(error) => {
                self.call.log_failure("hash a file", &path, &error);
                Error::Io(kind(&error))
            }
        });
        // Nothing was read. `suggest` grants the directories of what was, and a directory's own would be more than was asked for.
        if is_new && matches!(hash, Err(Error::Denied | Error::NotAFile)) {
            self.call.ledger.not_used(&access);
        }
        if let Err(Error::Denied) = hash {
            self.call.log_denial(&Denial::link(&path, access));
        }
        self.call.check_cpu()?;
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// An account without end, or one that is at its end.
    struct Test(bool);

    impl Payer for Test {
        fn may_go_on(&self) -> bool {
            self.0
        }

        fn charge(&self, _: Duration) {}
    }

    #[test]
    fn known_answers() {
        let answer = |algorithm| hex(&hash(Direct::new(&b"abc"[..]), Hasher::new(algorithm), 3, &Test(true)).unwrap());
        assert_eq!(answer(Algorithm::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(answer(Algorithm::Sha256).starts_with("ba7816bf8f01cfea"));
        assert!(answer(Algorithm::Sha512).starts_with("ddaf35a193617aba"));
        assert!(answer(Algorithm::Blake3).starts_with("6437b3ac38465133"));
    }

    #[test]
    fn a_cancelled_or_endless_job_ends() {
        let hasher = || Hasher::new(Algorithm::Sha1);
        let direct = |bound, payer: &Test| hash(Direct::new(io::repeat(0)), hasher(), bound, payer);
        let ahead = |bound, payer: &Test| {
            Ahead::scope(&mut io::repeat(0), payer, |chunks| hash(chunks, hasher(), bound, payer)).unwrap()
        };
        assert!(direct(u64::MAX, &Test(false)).is_err());
        assert!(ahead(u64::MAX, &Test(false)).is_err());
        for too_large in [direct(1 << 20, &Test(true)), ahead(1 << 20, &Test(true))] {
            assert!(matches!(too_large, Err(Unhashed::Told(Error::TooLarge(bound))) if bound == 1 << 20));
        }
    }

    /// An account that is added up.
    #[derive(Default)]
    struct Sum(AtomicU64);

    impl Payer for Sum {
        fn may_go_on(&self) -> bool {
            true
        }

        fn charge(&self, used: Duration) {
            self.0.fetch_add(u64::try_from(used.as_nanos()).unwrap(), Ordering::Relaxed);
        }
    }

    /// Takes so much CPU time for each of so many reads.
    struct Slow(Duration, u32);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(left) = self.1.checked_sub(1) else { return Ok(0) };
            self.1 = left;
            let mut used = Duration::ZERO;
            while used < self.0 {
                used += cpu::measure_aside(|| (0..1000).map(std::hint::black_box).sum::<u32>()).1;
            }
            buffer[0] = 1;
            Ok(1)
        }
    }

    /// Reads as if by a file that is shorter than it was, or that cannot be read from somewhere on.
    struct Odd {
        left: usize,
        fails: bool,
    }

    impl Read for Odd {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.left.min(buffer.len()).min(1000) {
                0 if self.fails => Err(io::ErrorKind::PermissionDenied.into()),
                read => {
                    buffer[..read].fill(self.left.to_le_bytes()[0]);
                    self.left -= read;
                    Ok(read)
                }
            }
        }
    }

    #[test]
    fn reading_is_charged_whoever_reads() {
        let (each, reads) = (Duration::from_millis(2), 20);
        let slow = || Slow(each, reads);
        let hasher = || Hasher::new(Algorithm::Sha1);
        let (direct, ahead) = (Sum::default(), Sum::default());
        hash(Direct::new(slow()), hasher(), u64::MAX, &direct).unwrap();
        Ahead::scope(&mut slow(), &ahead, |chunks| hash(chunks, hasher(), u64::MAX, &ahead)).unwrap().unwrap();
        for Sum(charged) in [direct, ahead] {
            let charged = Duration::from_nanos(charged.into_inner());
            assert!(charged >= each * reads, "{charged:?}");
        }
    }

    #[test]
    fn what_is_read_ahead_has_the_same_hash() {
        let payer = &Test(true);
        let hasher = || Hasher::new(Algorithm::Sha256);
        for (left, fails) in [(0, false), (1, false), (1_000_007, false), (1_000_007, true)] {
            let odd = || Odd { left, fails };
            let direct = hash(Direct::new(odd()), hasher(), u64::MAX, payer);
            let ahead = Ahead::scope(&mut odd(), payer, |chunks| hash(chunks, hasher(), u64::MAX, payer));
            match (direct, ahead.unwrap()) {
                (Ok(direct), Ok(ahead)) if !fails => assert_eq!(direct, ahead),
                (Err(Unhashed::Failed(direct)), Err(Unhashed::Failed(ahead))) if fails => {
                    assert_eq!(direct.kind(), ahead.kind())
                }
                results => panic!("{results:?}"),
            }
        }
    }
}
