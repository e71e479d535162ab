//! Threads for what blocks: as many as there are places for it, whatever blocks elsewhere.

use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

/// How long a thread without work stays: for good. A pool that has one takes in what comes when the machine gives no other, to
/// be done when it is free; one that has none panics. A thread that waits has a few pages.
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
    /// At most so many, one from now on and the others from when they are needed; and so many beside them that jobs may start
    /// themselves.
    ///
    /// # Errors
    /// When there is not even one.
    pub fn new(name: &str, most: usize, readers: usize) -> Result<Threads, String> {
        let runtime =
            Builder::new_current_thread().thread_name(name).thread_keep_alive(STAYS).max_blocking_threads(most).build();
        let runtime = runtime.map_err(|error| format!("cannot set up threads for what blocks: {error}"))?;
        // Where this one is to be had, so is the pool's first.
        let tried = thread::Builder::new().spawn(|| ()).map(thread::JoinHandle::join);
        tried.map_err(|error| format!("cannot start a thread for what blocks: {error}"))?.ok();
        drop(runtime.spawn_blocking(|| ()));
        let handle = runtime.handle().clone();
        Ok(Threads { handle, runtime: Some(runtime), readers: Semaphore::new(readers) })
    }

    /// Runs what blocks, for whoever has a place. Its last owner's thread may be busy for a moment after it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
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
