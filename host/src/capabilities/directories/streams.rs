//! Files as streams: wasmtime's own, which know their place in the file, with each read and write done in a job.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::theirs::now;
use crate::capabilities::Call;
use crate::capabilities::jobs::Job;

/// Bytes that are read for a program which only waits for some.
const AHEAD: usize = 4096;
/// Bytes that are written at once. wasmtime lets a guest make it allocate as many. (It reads no more than that at once.)
const PERMIT: usize = 64 * 1024;

/// A file that is read.
pub struct Reader {
    call: Arc<Call>,
    state: Reading,
}

enum Reading {
    Idle(DynInputStream),
    Waiting(Job<(DynInputStream, StreamResult<Bytes>)>),
    /// What the program has yet to take.
    Read(DynInputStream, Bytes),
    /// What the program has yet to be told.
    Failed(StreamError),
    Ended,
}

impl Reader {
    /// Reads by this stream of wasmtime's.
    pub fn new(call: Arc<Call>, theirs: DynInputStream) -> Reader {
        Reader { call, state: Reading::Idle(theirs) }
    }

    fn begin(&mut self, size: usize) {
        self.state = match mem::replace(&mut self.state, Reading::Ended) {
            Reading::Idle(mut theirs) => Reading::Waiting(Job::begin(&self.call, move || {
                let read = now(theirs.blocking_read(size)).unwrap_or_else(|| Err(waited()));
                (theirs, read)
            })),
            busy => busy,
        };
    }
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        self.begin(AHEAD);
        if let Reading::Waiting(job) = &mut self.state {
            self.state = match job.await {
                Some((theirs, Ok(bytes))) => Reading::Read(theirs, bytes),
                Some((_, Err(error))) => Reading::Failed(error),
                None => Reading::Failed(broken_off()),
            };
        }
    }
}

#[async_trait::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        in_budget(&self.call)?;
        if size > 0 {
            self.begin(size);
        }
        let (state, read) = match mem::replace(&mut self.state, Reading::Ended) {
            Reading::Read(theirs, mut bytes) => {
                let piece = bytes.split_to(size.min(bytes.len()));
                let rest = if bytes.is_empty() { Reading::Idle(theirs) } else { Reading::Read(theirs, bytes) };
                (rest, Ok(piece))
            }
            Reading::Failed(error) => (Reading::Ended, Err(error)),
            Reading::Ended => (Reading::Ended, Err(StreamError::Closed)),
            unread => (unread, Ok(Bytes::new())),
        };
        self.state = state;
        read
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        // As much as is asked for, where waiting alone would read a little.
        if size > 0 {
            self.begin(size);
        }
        self.ready().await;
        self.read(size)
    }
}

/// A file that is written.
pub struct Writer {
    call: Arc<Call>,
    state: Writing,
}

enum Writing {
    Idle(DynOutputStream),
    Waiting(Job<(DynOutputStream, StreamResult<()>)>),
    /// What the program has yet to be told.
    Failed(StreamError),
    Closed,
}

impl Writer {
    /// Writes by this stream of wasmtime's.
    pub fn new(call: Arc<Call>, theirs: DynOutputStream) -> Writer {
        Writer { call, state: Writing::Idle(theirs) }
    }

    /// Fails once with what a write came to that failed.
    fn check(&mut self) -> StreamResult<()> {
        in_budget(&self.call)?;
        match mem::replace(&mut self.state, Writing::Closed) {
            Writing::Failed(error) => Err(error),
            Writing::Closed => Err(StreamError::Closed),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if let Writing::Waiting(job) = &mut self.state {
            self.state = match job.await {
                Some((theirs, Ok(()))) => Writing::Idle(theirs),
                Some((_, Err(error))) => Writing::Failed(error),
                None => Writing::Failed(broken_off()),
            };
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        let (state, taken) = match mem::replace(&mut self.state, Writing::Closed) {
            Writing::Idle(mut theirs) if bytes.len() <= PERMIT => {
                let job = Job::begin(&self.call, move || {
                    let written = now(theirs.blocking_write_and_flush(bytes)).unwrap_or_else(|| Err(waited()));
                    (theirs, written)
                });
                (Writing::Waiting(job), Ok(()))
            }
            state => (state, Err(StreamError::trap("a write that was not permitted"))),
        };
        self.state = state;
        taken
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What is under way is waited for where the program waits for its next permit.
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(if matches!(self.state, Writing::Idle(_)) { PERMIT } else { 0 })
    }

    async fn cancel(&mut self) {
        // A program that drops a stream has not taken back what it has written.
        self.ready().await;
    }
}

/// Ends a program that has used up its time, where it would learn what came of that.
fn in_budget(call: &Call) -> StreamResult<()> {
    call.check_cpu().map_err(|stop| StreamError::Trap(stop.into()))
}

/// The host is going down, and the program with it.
fn broken_off() -> StreamError {
    StreamError::LastOperationFailed(std::io::Error::other("the host is stopping").into())
}

fn waited() -> StreamError {
    StreamError::trap("a file was not read or written on the thread of its job")
}
