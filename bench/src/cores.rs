//! One core for the server, another for the client, so that neither takes time from the other.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Which core is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    pub server: usize,
    pub client: usize,
}

impl Cores {
    /// Chooses among those that this process may use: the last for the server, because the first takes most interrupts.
    ///
    /// # Errors
    /// When there are fewer than two: client and server would then take turns, and the figures would be of both.
    pub fn choose() -> Result<Cores> {
        let allowed = sched_getaffinity(None).map_err(|error| format!("cannot ask which cores there are: {error}"))?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        match cores.as_slice() {
            [client, .., server] => Ok(Cores { server: *server, client: *client }),
            _ => Err("the bench needs two cores, one for the server and one for the client".to_owned()),
        }
    }
}

/// Keeps this thread, and every process that it starts from now on, on these cores.
pub fn pin(cores: &[usize]) -> Result {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).map_err(|error| format!("cannot stay on cores {cores:?}: {error}"))
}

/// Does something on other cores, on a thread of its own.
pub fn on<T: Send>(cores: &[usize], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            pin(cores)?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err("a thread of the bench panicked".to_owned()))
    })
}
