//! The file of a Unix socket: made for those who may connect only, in place of one that a dead host left, and gone with
//! the listener.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// What a lock's name has more than its socket's.
const LOCK: &str = ".lock";
/// How often a lock is tried that vanishes meanwhile.
const ATTEMPTS: usize = 10;

/// A socket's file. Dropping it removes the file, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    made: FileId,
    /// Goes last: once it is gone another host may come.
    _lock: Lock,
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.made.path
    }

    /// Which file it is.
    pub fn id(&self) -> &FileId {
        &self.made
    }
}

/// Listens on a path. A socket that is there already and that nobody listens on is replaced; anything else stays.
///
/// # Errors
/// When the path is taken, or the machine does not let the host have it.
pub fn open(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    let lock = Lock::take(path)?;
    remove_dead(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // The file gets the socket's own mode, so at no time is it open to more users than it is meant to be.
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    let found = fs::symlink_metadata(path)?;
    let file = SocketFile { made: FileId::new(path, &found), _lock: lock };
    if found.mode() & 0o777 != mode {
        // The process's umask took some.
        set_mode(path, mode)?;
    }
    socket.listen(backlog)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Sets who may connect.
///
/// # Errors
/// When the file is not there, or not the host's.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Removes a socket that nobody listens on.
fn remove_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) => Err(in_use()),
        // A listener whose backlog is full would have us wait.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(in_use()),
        Err(error) => Err(error),
    }
}

fn in_use() -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, "somebody listens on it already")
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.made.remove();
    }
}

/// Keeps two hosts that find the same dead socket from removing each other's new one: a file beside it, locked by whoever
/// has the socket, that only his user can open.
#[derive(Debug)]
struct Lock {
    made: FileId,
    /// The lock goes with the descriptor.
    _file: File,
}

impl Lock {
    fn take(socket: &Path) -> io::Result<Lock> {
        let mut path = socket.as_os_str().to_owned();
        path.push(LOCK);
        let path = Path::new(&path);
        for _ in 0..ATTEMPTS {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(in_use()),
                Err(error) => return Err(error.into()),
            }
            let made = FileId::new(path, &file.metadata()?);
            // Its last holder may have removed it between the two calls.
            if made.is_there() {
                return Ok(Lock { made, _file: file });
            }
        }
        Err(in_use())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.made.remove();
    }
}

/// A file that was made at a path, to tell it from another that is there later.
#[derive(Debug, Clone)]
pub struct FileId {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileId {
    fn new(path: &Path, found: &fs::Metadata) -> FileId {
        FileId { path: path.to_owned(), device: found.dev(), inode: found.ino() }
    }

    /// Whether it is what lies at its path.
    pub fn is_there(&self) -> bool {
        let same = |found: fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        fs::symlink_metadata(&self.path).is_ok_and(same)
    }

    fn remove(&self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the file");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use super::*;

    const MODE: u32 = 0o660;

    #[tokio::test]
    async fn the_file_has_its_mode_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        for mode in [0o600, 0o660, 0o666] {
            let listening = open(&path, mode, 1).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
            drop(listening);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(net::UnixListener::bind(&path).unwrap());
        let _listening = open(&path, MODE, 1).unwrap();
        net::UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_live_socket_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let live = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        live.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        live.listen(0).unwrap();
        assert_eq!(open(&path, MODE, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        // Its backlog is full now, and it is no less alive.
        assert_eq!(open(&path, MODE, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(live);
        drop(open(&path, MODE, 1).unwrap());
    }

    #[tokio::test]
    async fn a_host_that_is_about_to_listen_is_let_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(net::UnixListener::bind(&path).unwrap());
        let lock = Lock::take(&path).unwrap();
        assert_eq!(open(&path, MODE, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(lock);
        drop(open(&path, MODE, 1).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something was left behind");
    }

    #[tokio::test]
    async fn of_many_at_once_one_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(net::UnixListener::bind(&path).unwrap());
        let all: Vec<_> = std::thread::scope(|scope| {
            let open_one = || Lock::take(&path).map(|lock| (lock, remove_dead(&path), net::UnixListener::bind(&path)));
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open_one)).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
        });
        assert_eq!(all.len(), 1);
        assert!(all[0].1.is_ok() && all[0].2.is_ok());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert_eq!(open(&path, MODE, 1).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let link = directory.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(open(&link, MODE, 1).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[tokio::test]
    async fn another_hosts_new_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let old = open(&path, MODE, 1).unwrap();
        fs::remove_file(&path).unwrap();
        let new = net::UnixListener::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
    }
}
