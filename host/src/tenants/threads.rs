//! Threads for jobs on files: as many as there are places for such jobs, whatever blocks elsewhere.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// The threads. Dropping this does not wait for what they are doing.
pub struct Threads {
    /// A pool of threads is only to be had with a runtime, of which nothing else is used. There until it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    /// At most so many, each from when it is needed until it has been idle for a while.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn new(most: usize) -> Result<Threads, String> {
        let runtime = Builder::new_current_thread().thread_name("job").max_blocking_threads(most).build();
        Ok(Threads { runtime: Some(runtime.map_err(|error| format!("cannot set up threads for jobs: {error}"))?) })
    }

    /// Runs what blocks. A place goes to another before its thread is idle, so work may wait for a thread that ends another's.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let here = Handle::current();
        let threads = self.runtime.as_ref().map_or(&here, Runtime::handle);
        // What the work leaves to others is for who asked for it.
        let caller = here.clone();
        threads.spawn_blocking(move || {
            let _entered = caller.enter();
            work()
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
