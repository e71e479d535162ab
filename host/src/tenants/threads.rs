//! Threads for what blocks: as many as there are places for it, whatever blocks elsewhere.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot::{Receiver, channel};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use crate::lock::lock;
use crate::machine;

/// How long a thread that is to stay does: for good.
const STAYS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The threads. Dropping this does not wait for what they are doing.
pub struct Threads {
    handle: Handle,
    /// A pool of threads is only to be had with a runtime, of which nothing else is used. There until it is dropped.
    runtime: Option<Runtime>,
    /// Places for threads that a job may have beside its own.
    readers: Semaphore,
}

impl Threads {
    /// So many, from now on, and so many beside them that jobs may start themselves. So there is one for each place whatever
    /// the machine gives by then: where it gives none, a pool that has none panics.
    ///
    /// # Errors
    /// When the machine does not give them.
    pub fn standing(name: &str, count: usize, readers: usize) -> Result<Threads, String> {
        let threads =
            Threads::new(Builder::new_current_thread().thread_name(name).thread_keep_alive(STAYS), count, readers)?;
        machine::try_threads(count as u64).map_err(|error| format!("cannot start the threads for jobs: {error}"))?;
        // None is free for the next as long as the gate is shut.
        let gate = Arc::new(Mutex::new(()));
        let _shut = lock(&gate);
        for _ in 0..count {
            let gate = Arc::clone(&gate);
            drop(threads.handle.spawn_blocking(move || drop(lock(&gate))));
        }
        Ok(threads)
    }

    /// At most so many, each from when it is needed until it has been idle for a while. One stays as long as the pool has
    /// something to do every few seconds.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn passing(name: &str, most: usize) -> Result<Threads, String> {
        Threads::new(Builder::new_current_thread().thread_name(name), most, 0)
    }

    fn new(builder: &mut Builder, most: usize, readers: usize) -> Result<Threads, String> {
        let runtime = builder.max_blocking_threads(most).build();
        let runtime = runtime.map_err(|error| format!("cannot set up threads for what blocks: {error}"))?;
        let handle = runtime.handle().clone();
        Ok(Threads { handle, runtime: Some(runtime), readers: Semaphore::new(readers) })
    }

    /// Runs what blocks, with the runtime of whoever asks at hand. Dropping the result gives up what has not begun; it is an
    /// error where the work has panicked.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (result, done) = channel();
        drop(self.post(move || {
            if !result.is_closed() {
                // What nobody wants any more is dropped here, where a child finds a runtime that buries it.
                drop(result.send(work()));
            }
        }));
        done
    }

    /// The same for work that hands over its result itself. Its last owner's thread may be busy for a moment after it.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        // What it opens is watched by the loop that asked for it.
        let here = Handle::current();
        self.handle.spawn_blocking(move || {
            let _entered = here.enter();
            work()
        })
    }

    /// A place for a thread that a job starts itself, to read ahead, if there is one free.
    pub fn reader(&self) -> Option<SemaphorePermit<'_>> {
        self.readers.try_acquire().ok()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
