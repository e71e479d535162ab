//! Work on files that is done for a line elsewhere: on a thread that may block, with a place of its tenant's, and on the line's
//! account.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::spawn;
use tokio_util::task::AbortOnDropHandle;

use super::Call;
use crate::sandbox::{Stop, cpu};
use crate::tenants::{Place, Places, Threads};

/// A piece of work under way. Dropping it gives up what has not begun; what has begun comes to its end, and has its place
/// until then.
pub struct Job<T>(AbortOnDropHandle<Option<T>>);

impl<T: Send + 'static> Job<T> {
    /// Begins a file operation as soon as there is a place for it.
    pub fn begin(call: &Call, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let task = Arc::clone(&call.task);
        let part = task.tenant.part();
        Job::in_place(part.file_jobs.clone(), &part.threads, move || {
            let (done, used) = cpu::measure_aside(work);
            task.charge(used);
            done
        })
    }

    /// Begins, as soon as one of the places is free, work that looks after its account itself.
    pub fn in_place(places: Places, threads: &Arc<Threads>, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let work = move |place: Place| {
            let done = work();
            drop(place);
            Some(done)
        };
        let job = match places.try_acquire() {
            Some(place) => threads.run(move || work(place)),
            // A task of its own waits: a line may stand still for a while, and a place that it got meanwhile would be idle.
            None => {
                let threads = Arc::clone(threads);
                spawn(async move {
                    let place = places.acquire().await?;
                    AbortOnDropHandle::new(threads.run(move || work(place))).await.ok()?
                })
            }
        };
        Job(AbortOnDropHandle::new(job))
    }
}

/// `None` when the work was broken off, as it is when the host goes down.
impl<T> Future for Job<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(|done| done.ok().flatten())
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
