//! Work on files that is done for a line elsewhere: on a thread that may block, with a place of its tenant's, and on the line's
//! account.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot::{Receiver, channel};
use tokio::task::spawn;
use tokio_util::task::AbortOnDropHandle;

use super::Call;
use crate::sandbox::{Stop, cpu};
use crate::tenants::{Place, Quota, Threads};

/// A piece of work under way. Dropping it gives up what has not begun; what has begun comes to its end, and has its place
/// until then.
pub struct Job<T> {
    done: Receiver<T>,
    _work: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Job<T> {
    /// Begins a file operation as soon as there is a place for it.
    pub fn begin(call: &Call, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let task = Arc::clone(&call.task);
        let part = task.tenant().part();
        Job::in_place(part.file_jobs.clone(), &part.threads, move || {
            let (done, used) = cpu::measure_aside(work);
            task.charge(used);
            done
        })
    }

    /// Begins, as soon as one of the places is free, work that looks after its account itself.
    pub fn in_place(places: Quota, threads: &Arc<Threads>, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let (result, done) = channel();
        let work = move |place: Place| {
            // What nobody wants any more is dropped here, which may block as long as the work itself: it closes files.
            drop(result.send(work()));
            drop(place);
        };
        let work = match places.try_acquire() {
            Some(place) => threads.post(move || work(place)),
            // A task of its own waits: a line may stand still for a while, and a place that it got meanwhile would be idle.
            None => {
                let threads = Arc::clone(threads);
                spawn(async move {
                    let place = places.acquire().await;
                    let _ = AbortOnDropHandle::new(threads.post(move || work(place))).await;
                })
            }
        };
        Job { done, _work: AbortOnDropHandle::new(work) }
    }
}

/// `None` when the work was broken off, as it is when the host goes down.
impl<T> Future for Job<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.done).poll(cx).map(Result::ok)
    }
}

/// Does a piece of work, and waits for what comes of it: `None` when it was broken off.
///
/// # Errors
/// When the line's CPU budget is used up.
pub async fn run<T: Send + 'static>(call: &Call, work: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>, Stop> {
    let done = Job::begin(call, work).await;
    call.check_cpu()?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;

    use super::*;
    use crate::tenants::Tenant;

    /// Closes only when it is let, like a file on a file system that hangs.
    struct Hanging {
        closing: mpsc::Sender<()>,
        closes: mpsc::Receiver<()>,
    }

    impl Drop for Hanging {
        fn drop(&mut self) {
            self.closing.send(()).unwrap();
            let _ = self.closes.recv();
        }
    }

    /// A thread that hangs is as good as none, so there must be no job for it.
    #[test]
    fn what_nobody_wants_has_a_place_until_it_is_closed() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let part = Tenant::for_test("", 1 << 30).part();
        let [all, own] = part.file_jobs.free();
        let (closing, is_closing) = mpsc::channel();
        let (close, closes) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        runtime.block_on(async {
            let job = Job::in_place(part.file_jobs.clone(), &part.threads, move || {
                begun.send(()).unwrap();
                let _ = goes.recv();
                Hanging { closing, closes }
            });
            has_begun.recv().unwrap();
            drop(job);
            go.send(()).unwrap();
            is_closing.recv().unwrap();
            assert_eq!(part.file_jobs.free(), [all - 1, own - 1]);
            close.send(()).unwrap();
            let mut places = Vec::new();
            for _ in 0..own {
                places.push(part.file_jobs.clone().acquire().await);
            }
        });
    }

    #[test]
    fn what_a_job_returns_needs_no_place() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let part = Tenant::for_test("", 1 << 30).part();
        runtime.block_on(async {
            let own = part.file_jobs.free()[1];
            let jobs: Vec<_> = (0..2 * own)
                .map(|number| Job::in_place(part.file_jobs.clone(), &part.threads, move || number))
                .collect();
            // The last of them has its turn though nobody has taken what the first has returned.
            for (number, job) in jobs.into_iter().enumerate().rev() {
                assert_eq!(job.await, Some(number));
            }
        });
    }
}
