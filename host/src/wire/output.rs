//! What goes out: a reply within its limit, kept for a while so that several share a write, and sent as the client takes it.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Gone, HIGH_WATER, READ_CHUNK, Wire, outbox};
use crate::escape::Escaper;
use crate::lock::lock;

/// More was written to a reply than it may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct OutputLimit;

/// What is to go out.
#[derive(Default)]
pub(super) struct OutputState {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that the socket has taken already.
    sent: usize,
    /// Runs while the socket takes nothing; made only then, for most replies never wait.
    deadline: Option<Pin<Box<Sleep>>>,
    reply: Reply,
    /// Whether the buffer waits for the end of the event loop's round.
    waits: bool,
    /// Wakes the session where what waited could not be sent whole.
    session: Option<Waker>,
}

/// What is to go out, locked. Afterwards everybody is told whether it is full.
struct Output<'a> {
    state: MutexGuard<'a, OutputState>,
    is_full: &'a AtomicBool,
}

impl Deref for Output<'_> {
    type Target = OutputState;

    fn deref(&self) -> &OutputState {
        &self.state
    }
}

impl DerefMut for Output<'_> {
    fn deref_mut(&mut self) -> &mut OutputState {
        &mut self.state
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        self.is_full.store(self.state.is_full(), Ordering::Relaxed);
    }
}

/// The reply being written.
#[derive(Default)]
struct Reply {
    escaper: Escaper,
    raw: bool,
    written: u64,
    limit: u64,
    /// The last byte was not a line end.
    mid_line: bool,
    /// Where it begins in the buffer, until that is sent.
    start: usize,
}

impl Wire {
    /// Begins a reply that may hold `limit` bytes. `raw` leaves terminal control characters as they are.
    pub fn begin_reply(&self, limit: u64, raw: bool) {
        let output = &mut *self.output();
        output.reply = Reply { limit, raw, start: output.buffer.len(), ..Reply::default() };
    }

    /// Takes back what has been written to a reply of which nothing can have been sent, because nobody has waited since it
    /// began.
    pub fn restart_reply(&self) {
        let output = &mut *self.output();
        let Reply { limit, raw, start, .. } = output.reply;
        output.buffer.truncate(start);
        output.reply = Reply { limit, raw, start, ..Reply::default() };
    }

    /// Appends a guest's bytes to the reply. Beyond the reply's limit nothing more is taken, after what still fits.
    /// Returns whether the writer has to wait before it writes on.
    pub fn write(&self, bytes: &[u8]) -> Result<bool, OutputLimit> {
        let output = &mut *self.output();
        let reply = &mut output.reply;
        let room = usize::try_from(reply.limit - reply.written).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        reply.written += fits.len() as u64;
        if let Some(last) = fits.last() {
            reply.mid_line = *last != b'\n';
        }
        if reply.raw {
            output.buffer.extend_from_slice(fits);
        } else {
            reply.escaper.push(fits, &mut output.buffer);
        }
        if fits.len() < bytes.len() { Err(OutputLimit) } else { Ok(output.is_full()) }
    }

    /// Ends the reply with the host's own last word, if there is one, on a line of its own. Returns the bytes that the
    /// guest wrote.
    pub fn end_reply(&self, last_word: Option<&str>) -> u64 {
        let output = &mut *self.output();
        output.reply.escaper.finish(&mut output.buffer);
        if let Some(word) = last_word {
            if output.reply.mid_line {
                output.buffer.push(b'\n');
            }
            output.buffer.extend_from_slice(word.as_bytes());
        }
        std::mem::take(&mut output.reply).written
    }

    /// Appends a line of the host's own.
    pub fn say(&self, line: &str) {
        self.output().buffer.extend_from_slice(line.as_bytes());
    }

    /// Waits until what is buffered is under the high-water mark.
    pub async fn below_high_water(&self) -> Result<(), Gone> {
        poll_fn(|cx| self.poll_drain(cx, HIGH_WATER)).await
    }

    /// Whether a writer would have to wait.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Waits until all that is buffered is with the socket.
    pub async fn flush(&self) -> Result<(), Gone> {
        poll_fn(|cx| self.poll_drain(cx, 0)).await
    }

    /// Sends the reply, if there is one, to a line that came at `asked`: at once or with those of other connections.
    pub fn send_soon(self: &Arc<Wire>, asked: std::time::Instant) -> Result<(), Gone> {
        {
            let mut output = self.output();
            if output.waits || output.buffer.len() == output.sent {
                return Ok(());
            }
            output.waits = outbox::defer(self, asked);
            if output.waits {
                return Ok(());
            }
        }
        self.send_now()
    }

    /// Ready once all output is with the socket, or waits to go out with that of other connections.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        {
            let mut output = self.output();
            if output.waits {
                output.session.get_or_insert_with(|| cx.waker().clone());
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_drain(cx, 0)
    }

    /// Leaves what has waited to whoever writes next.
    pub(super) fn wait_no_more(&self) {
        let mut output = self.output();
        output.waits = false;
        output.session = None;
    }

    /// Sends what has waited. What the socket does not take, and a failure, are left to the session.
    pub(super) fn send_waiting(&self) {
        let session = {
            let mut output = self.output();
            output.waits = false;
            output.session.take()
        };
        let is_sent = matches!(self.poll_drain(&mut Context::from_waker(Waker::noop()), 0), Poll::Ready(Ok(())));
        if let Some(session) = session.filter(|_| !is_sent) {
            session.wake();
        }
    }

    /// Sends what the socket takes at once. The rest goes with the next wait.
    pub fn send_now(&self) -> Result<(), Gone> {
        match self.poll_drain(&mut Context::from_waker(Waker::noop()), 0) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Sends until no more than `keep` bytes are left. Fails when the client takes too long for it.
    pub fn poll_drain(&self, cx: &mut Context<'_>, keep: usize) -> Poll<Result<(), Gone>> {
        let output = &mut *self.output();
        let before = output.sent;
        let polled = self.poll_send(output, cx, keep);
        if output.sent != before {
            // Having read earns the client a new one. The kernel has room again only when it has read a good deal.
            output.deadline = None;
        }
        if let Poll::Ready(sent) = polled {
            sent?;
            output.settle(keep);
            return Poll::Ready(Ok(()));
        }
        output.drop_sent();
        if output.waits {
            // What is sent for all at the end of the round takes the socket's attention away from whoever waits for it here.
            output.session = Some(cx.waker().clone());
        }
        let in_time = || Box::pin(sleep_until(Instant::now() + self.settings.write_timeout));
        ready!(output.deadline.get_or_insert_with(in_time).as_mut().poll(cx));
        Poll::Ready(Err(Gone::WriteTimeout(self.settings.write_timeout)))
    }

    fn output(&self) -> Output<'_> {
        Output { state: lock(&self.output), is_full: &self.is_full }
    }

    fn poll_send(&self, output: &mut OutputState, cx: &mut Context<'_>, keep: usize) -> Poll<io::Result<()>> {
        while output.buffer.len() - output.sent > keep {
            output.sent += ready!(self.transport.poll_write(cx, &output.buffer[output.sent..]))?;
        }
        if keep == 0 { self.transport.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl OutputState {
    fn is_full(&self) -> bool {
        self.buffer.len() - self.sent > HIGH_WATER
    }

    /// Lets go of what was sent. A drained buffer that grew large is given back, so that a connection which once had a
    /// long reply is as small as one that never had.
    fn settle(&mut self, keep: usize) {
        if self.sent == self.buffer.len() {
            self.sent = 0;
            self.deadline = None;
            if self.buffer.capacity() > READ_CHUNK || keep == 0 {
                self.buffer = Vec::new();
            } else {
                self.buffer.clear();
            }
        } else {
            self.drop_sent();
        }
    }

    /// Lets go of what was sent where that is a buffer's worth.
    fn drop_sent(&mut self) {
        if self.sent > HIGH_WATER {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use socket2::SockRef;

    use super::*;
    use crate::config;

    /// A client that reads steadily is not cut off because it takes long for a buffer's worth.
    #[tokio::test]
    async fn a_client_that_has_read_has_time_anew() {
        let (here, mut client) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        SockRef::from(&here).set_send_buffer_size(4096).unwrap();
        let here = tokio::net::UnixStream::from_std(here).unwrap();
        let wire = Wire::new(here, "test", Arc::new(config::Server::default()));
        wire.say(&"x".repeat(2 * HIGH_WATER));
        let deadline_behind = async |sent| {
            poll_fn(|cx| {
                assert!(wire.poll_drain(cx, 0).is_pending(), "the socket has taken it all");
                let output = wire.output();
                if output.sent > sent { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let output = wire.output();
            (output.sent, output.deadline.as_ref().expect("one is waited for").deadline())
        };
        let (read, first) = deadline_behind(0).await;
        client.read_exact(&mut vec![0; read]).unwrap();
        let (sent, second) = deadline_behind(read).await;
        assert!(sent < HIGH_WATER && second > first);
        // The same where a writer may go on before all is sent.
        let reading = std::thread::spawn(move || client.read_exact(&mut vec![0; HIGH_WATER - read]).map(|()| client));
        wire.below_high_water().await.unwrap();
        assert!(wire.output().deadline.is_none());
        reading.join().unwrap().unwrap();
    }
}
