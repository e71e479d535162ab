//! The host's event loops: a thread for each core, on which connections are served and short commands run.
//!
//! A connection stays on its loop, so that nothing of a usual line goes from one thread to another: not its socket's
//! readiness, not its timers, not its task. What computes for longer goes to the
//! workers; `sandbox/drive.rs` says when.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::thread;

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::wire::outbox;
use crate::wire::socket::Socket;

/// Tasks that a loop polls before it looks at its sockets again. Each may compute for a tick.
pub const EVENT_INTERVAL: u32 = 16;

/// Where what computes for longer goes on.
#[derive(Clone)]
pub struct Workers {
    /// Their runtime.
    pub runtime: Handle,
    /// What a drain waits for: what went on among the workers, and whatever else is spawned on it.
    pub tasks: TaskTracker,
}

impl Workers {
    /// Those of this runtime, with nothing to do yet.
    pub fn new(runtime: Handle) -> Workers {
        Workers { runtime, tasks: TaskTracker::new() }
    }
}

/// What a loop does beside serving connections.
#[derive(Clone, Copy)]
pub struct Aside {
    /// When it begins.
    pub at_first: fn(),
    /// Each time before it waits, when all replies are out.
    pub before_waiting: fn(),
}

/// All event loops. Dropping them ends their threads.
pub struct Loops {
    loops: Vec<Arc<Loop>>,
    stop: CancellationToken,
}

struct Loop {
    runtime: Handle,
    connections: AtomicUsize,
    /// Whether connections are accepted on it.
    accepts: bool,
}

/// A loop's runtime, which may be dropped wherever that is: also among the workers, where there is no thread for it.
struct Unawaited(Option<Runtime>);

/// A connection's place on a loop.
pub struct Seat {
    on: Arc<Loop>,
}

impl Loops {
    /// Starts so many loops, one at least. What computes for longer, or blocks, goes to the workers; what is to be done aside
    /// may do neither, nor panic.
    ///
    /// # Errors
    /// When the operating system gives no threads, or none of what a loop waits with.
    pub fn start(count: usize, workers: &Workers, aside: Aside) -> io::Result<Loops> {
        let mut loops = Loops { loops: Vec::new(), stop: CancellationToken::new() };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .on_thread_park(move || {
                    outbox::end_round();
                    (aside.before_waiting)();
                })
                .build()?;
            let handle = runtime.handle().clone();
            let runtime = Unawaited(Some(runtime));
            let (stop, workers) = (loops.stop.clone(), workers.clone());
            thread::Builder::new().name(format!("loop-{number}")).spawn(move || {
                WORKERS.set(Some(workers));
                outbox::open();
                (aside.at_first)();
                runtime.block_on(stop.cancelled());
            })?;
            loops.loops.push(Arc::new(Loop {
                runtime: handle,
                connections: AtomicUsize::new(0),
                accepts: number == 0,
            }));
        }
        Ok(loops)
    }

    /// The loop on which connections are accepted.
    pub fn accepting(&self) -> &Handle {
        // There always is a first.
        &self.loops[0].runtime
    }

    /// Has each loop do this soon, between what it does for connections.
    pub fn on_each(&self, work: fn()) {
        for on in &self.loops {
            drop(on.runtime.spawn(async move { work() }));
        }
    }

    /// A place on the loop that has the fewest connections.
    pub fn seat(&self) -> Seat {
        let connections = |on: &&Arc<Loop>| on.connections.load(Ordering::Relaxed);
        let on = self.loops.iter().min_by_key(connections).unwrap_or(&self.loops[0]);
        on.connections.fetch_add(1, Ordering::Relaxed);
        Seat { on: Arc::clone(on) }
    }
}

thread_local! {
    /// Where what leaves this event loop goes on. No other thread has one.
    static WORKERS: RefCell<Option<Workers>> = const { RefCell::new(None) };
    /// Whether what is being polled here is to go on among the workers.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// Has what is polled by [`run`] on an event loop go on among the workers once this poll is over. False on any other thread,
/// where one may compute.
pub fn leave() -> bool {
    let is_loop = WORKERS.with_borrow(Option::is_some);
    LEAVES.set(is_loop);
    is_loop
}

/// Polls a future until it ends: here, and among the workers from when it has asked for that. Dropping the result drops it
/// too, at once or as soon as its worker notices.
///
/// No `async fn`, which would take several times the room, in each idle connection.
pub fn run<F>(future: Pin<Box<F>>) -> impl Future<Output = F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (mut here, mut there) = (Some(future), None);
    poll_fn(move |cx| {
        if let Some(future) = &mut here {
            // Whoever asked in another poll, and then ended or panicked, did not ask for this one.
            LEAVES.set(false);
            match future.as_mut().poll(cx) {
                Poll::Pending if LEAVES.take() => {}
                polled => return polled,
            }
        }
        if let Some(future) = here.take() {
            there = WORKERS.with_borrow(|workers| {
                let Workers { runtime, tasks } = workers.as_ref()?;
                Some(AbortOnDropHandle::new(tasks.spawn_on(future, runtime)))
            });
        }
        let Some(moved) = &mut there else { return Poll::Pending };
        match ready!(Pin::new(moved).poll(cx)) {
            Ok(ended) => Poll::Ready(ended),
            Err(error) => match error.try_into_panic() {
                // It is this connection's panic, wherever it happened.
                Ok(panic) => resume_unwind(panic),
                // The workers are gone, and the process with them.
                Err(_) => Poll::Pending,
            },
        }
    })
}

impl Unawaited {
    fn block_on(&self, future: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(future);
        }
    }
}

impl Drop for Unawaited {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Seat {
    /// The loop.
    pub fn runtime(&self) -> &Handle {
        &self.on.runtime
    }

    /// Has the loop watch a socket that was accepted just now.
    ///
    /// # Errors
    /// When the kernel does not let it.
    pub fn take(&self, socket: Socket) -> io::Result<Socket> {
        if self.on.accepts {
            return Ok(socket);
        }
        let _entered = self.on.runtime.enter();
        Ok(match socket {
            Socket::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket.into_std()?)?),
            Socket::Unix(socket) => Socket::Unix(UnixStream::from_std(socket.into_std()?)?),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.on.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Aside = Aside { at_first: || {}, before_waiting: || {} };

    #[test]
    fn connections_are_spread() {
        let workers = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let loops = Loops::start(3, &Workers::new(workers.handle().clone()), NOTHING).unwrap();
        let counts = || loops.loops.iter().map(|on| on.connections.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let mut seats: Vec<Seat> = (0..6).map(|_| loops.seat()).collect();
        assert_eq!(counts(), [2, 2, 2]);
        seats.truncate(1);
        assert_eq!(counts(), [1, 0, 0]);
        seats.push(loops.seat());
        assert_eq!(counts().iter().max(), Some(&1));
    }

    /// A thread that is not to be had drops what it was to do, and that among the workers: see [`Loops::start`].
    #[test]
    fn a_runtime_without_its_thread_goes_quietly() {
        let runtime = || Builder::new_current_thread().build().unwrap();
        runtime().block_on(async { drop(Unawaited(Some(runtime()))) });
    }

    #[test]
    fn what_leaves_a_loop_ends_among_the_workers() {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let loops = Loops::start(1, &Workers::new(workers.handle().clone()), NOTHING).unwrap();
        let asks = || async {
            let began_on = thread::current().id();
            poll_fn(|_| if leave() { Poll::Pending } else { Poll::Ready(()) }).await;
            began_on == thread::current().id()
        };
        let stayed = loops.accepting().spawn(async move { run(Box::pin(asks())).await });
        assert!(!workers.block_on(stayed).unwrap());
        // On any other thread there is nothing to leave.
        assert!(workers.block_on(run(Box::pin(asks()))));
    }

    #[test]
    fn who_asks_to_leave_and_ends_takes_nobody_along() {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let loops = Loops::start(1, &Workers::new(workers.handle().clone()), NOTHING).unwrap();
        let stayed = loops.accepting().spawn(async {
            run(Box::pin(async { leave() })).await;
            let began_on = thread::current().id();
            run(Box::pin(async move {
                tokio::task::yield_now().await;
                began_on == thread::current().id()
            }))
            .await
        });
        assert!(workers.block_on(stayed).unwrap());
    }

    #[test]
    fn a_socket_moves_to_its_loop() {
        let workers = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let loops = Loops::start(2, &Workers::new(workers.handle().clone()), NOTHING).unwrap();
        let (_first, second) = (loops.seat(), loops.seat());
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let here = {
            let _entered = loops.accepting().enter();
            Socket::Unix(UnixStream::from_std(here).unwrap())
        };
        let here = second.take(here).unwrap();
        let read = second.runtime().spawn(async move {
            let mut buffer = [0; 8];
            std::future::poll_fn(|cx| here.poll_read(cx, &mut buffer)).await
        });
        io::Write::write_all(&mut &there, b"line\n").unwrap();
        assert_eq!(loops.accepting().block_on(read).unwrap().unwrap(), 5);
    }
}
