//! Threads for jobs on files: as many as there are places for such jobs, whatever blocks elsewhere.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use crate::loops;

/// The threads. Dropping this does not wait for what they are doing.
pub struct Threads {
    handle: Handle,
    /// A pool of threads is only to be had with a runtime, of which nothing else is used. There until it is dropped.
    runtime: Option<Runtime>,
    /// Places for threads that a job may have beside its own.
    readers: Semaphore,
}

impl Threads {
    /// At most so many, each from when it is needed until it has been idle for a while, and so many beside them.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn new(most: usize, readers: usize) -> Result<Threads, String> {
        let runtime = Builder::new_current_thread().thread_name("job").max_blocking_threads(most).build();
        let runtime = runtime.map_err(|error| format!("cannot set up threads for jobs: {error}"))?;
        let handle = runtime.handle().clone();
        Ok(Threads { handle, runtime: Some(runtime), readers: Semaphore::new(readers) })
    }

    /// Runs what blocks, for whoever has a place. Its last owner's thread may be busy for a moment after it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        loops::spawn_blocking_on(&self.handle, work)
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
