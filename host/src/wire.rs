//! A client's connection with its two buffers: lines come out of one, replies go into the other.
//!
//! All of `Wire` is polled from one task at a time: the session's while it waits for a line, the invocation's while that
//! writes or reads on, wherever it runs. The locks are there because an invocation and its driver hold the same wire, and
//! they are never contended. Output is kept until a watermark, until the task has to wait for something, or
//! until no further line is at hand, so that a batch of pipelined lines costs one write.

pub mod outbox;
pub mod socket;
pub mod tls;
mod transport;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

pub use self::transport::Transport;
use crate::config;
use crate::escape::Escaper;
use crate::line::{Line, LineBuffer};

/// Bytes taken from a socket at once.
const READ_CHUNK: usize = 64 * 1024;
/// Bytes of output that are kept before a writer has to wait for the client.
pub const HIGH_WATER: usize = 64 * 1024;
/// How long the host keeps reading and dropping after its last reply, so that unread input does not reset the
/// connection before the client has read that reply.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes dropped at most while lingering.
const LINGER_BYTES: usize = 1024 * 1024;

thread_local! {
    /// Where a socket's bytes land first, so that an idle connection owns no read buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_CHUNK]);
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// The socket failed: the client vanished.
    #[error("the client is gone: {0}")]
    Socket(io::Error),
    /// A TLS connection ended, though the client had not said that it would send no more. What it meant to send is not
    /// known, so this is no end of input.
    #[error("the client's input was cut off")]
    CutOff,
    /// The client did not read its replies in time.
    #[error("the client did not read for {0:?}")]
    WriteTimeout(Duration),
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Gone {
        // A socket's end of input is no error, so only TLS says this.
        if error.kind() == ErrorKind::UnexpectedEof { Gone::CutOff } else { Gone::Socket(error) }
    }
}

/// What the session finds when it asks for the next line.
#[derive(Debug)]
pub enum Input {
    /// A line, or the reason why there is none.
    Line(Line),
    /// The client has sent all it will send. `incomplete` when bytes without a line end were left.
    End {
        /// Whether bytes without a line end were left over.
        incomplete: bool,
    },
    /// Nothing came for the idle time.
    Idle,
    /// A line began, but did not end in time.
    Slow,
}

/// More was written to a reply than it may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct OutputLimit;

/// One client's connection.
pub struct Wire {
    transport: Transport,
    peer: Arc<str>,
    settings: Arc<config::Server>,
    input: Mutex<InputState>,
    output: Mutex<OutputState>,
    /// Whether the connection is to end once its output is sent. Apart, for it is looked at more often than it is set.
    closing: AtomicBool,
}

struct InputState {
    lines: LineBuffer,
    ended: bool,
    /// When the line that is coming in began; `None` between lines.
    line_began: Option<Instant>,
}

#[derive(Default)]
struct OutputState {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that the socket has taken already.
    sent: usize,
    /// Runs while the socket takes nothing; made only then, for most replies never wait.
    deadline: Option<Pin<Box<Sleep>>>,
    reply: Reply,
    /// Whether the buffer waits for the end of the event loop's round.
    waits: bool,
    /// Wakes the session where that could not send all.
    session: Option<Waker>,
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
}

impl Wire {
    /// Wraps a connected socket. Its bounds are those of the settings.
    pub fn new(transport: impl Into<Transport>, peer: &str, settings: Arc<config::Server>) -> Wire {
        let lines = LineBuffer::new(settings.max_line);
        Wire {
            transport: transport.into(),
            peer: peer.into(),
            settings,
            input: Mutex::new(InputState { lines, ended: false, line_began: None }),
            output: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// The client's address.
    pub fn peer(&self) -> &Arc<str> {
        &self.peer
    }

    /// The longest line in bytes, without its line end.
    pub fn max_line(&self) -> usize {
        self.settings.max_line
    }

    /// The next line. Sends what is buffered before it waits.
    pub async fn next_line(self: &Arc<Wire>) -> Result<Input, Gone> {
        let mut alarm = pin!(self.alarm());
        loop {
            if let Some(input) = self.next_input(alarm.as_mut(), &|| false).await? {
                return Ok(input);
            }
        }
    }

    /// A timer for [`Wire::next_input`].
    pub fn alarm(&self) -> Sleep {
        sleep_until(Instant::now() + self.settings.idle_timeout)
    }

    /// As [`Wire::next_line`], but nothing more is read once `is_over`: then there is `None` when the lines at hand are
    /// taken. That is looked at whenever this is polled, so whoever makes it true has to wake the task. The timer is kept by
    /// the caller from one line to the next.
    ///
    /// No `async fn`, which would take twice the room, in each idle connection.
    pub fn next_input(
        self: &Arc<Wire>,
        mut alarm: Pin<&mut Sleep>,
        is_over: &impl Fn() -> bool,
    ) -> impl Future<Output = Result<Option<Input>, Gone>> {
        let mut waits_since = None;
        poll_fn(move |cx| {
            loop {
                if let Some(input) = self.buffered_input() {
                    return Poll::Ready(Ok(Some(input)));
                }
                if is_over() {
                    return Poll::Ready(Ok(None));
                }
                if waits_since.is_none() {
                    let now = Instant::now();
                    waits_since = Some(now);
                    self.send_soon(now.into_std())?;
                }
                match self.poll_input(cx) {
                    Poll::Ready(filled) => filled?,
                    Poll::Pending => break,
                }
            }
            // The line's own deadline is absolute, so a client that drips bytes cannot push it on.
            let (deadline, late) = match (lock(&self.input).line_began, waits_since) {
                (Some(line_began), _) => (line_began + self.settings.line_timeout, Input::Slow),
                (None, since) => (since.unwrap_or_else(Instant::now) + self.settings.idle_timeout, Input::Idle),
            };
            ready!(poll_until(alarm.as_mut(), cx, deadline));
            Poll::Ready(Ok(Some(late)))
        })
    }

    /// The next line if it has arrived already.
    pub fn line_at_hand(&self) -> Option<Line> {
        let mut input = lock(&self.input);
        let line = input.lines.next_line()?;
        input.line_began = None;
        Some(line)
    }

    /// What is to be had without waiting.
    fn buffered_input(&self) -> Option<Input> {
        if let Some(line) = self.line_at_hand() {
            return Some(Input::Line(line));
        }
        let mut input = lock(&self.input);
        if input.ended {
            return Some(Input::End { incomplete: input.lines.has_partial() });
        }
        if input.lines.has_partial() {
            input.line_began.get_or_insert_with(Instant::now);
        }
        None
    }

    /// Whether a whole line is at hand already, so that a reply may wait for the ones after it.
    pub fn has_line(&self) -> bool {
        lock(&self.input).lines.has_line()
    }

    /// As [`Wire::poll_fill`], once all output is sent or waits to be.
    fn poll_input(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut output = lock(&self.output);
        if output.waits {
            output.session.get_or_insert_with(|| cx.waker().clone());
            drop(output);
        } else {
            drop(output);
            ready!(self.poll_drain(cx, 0))?;
        }
        self.poll_fill(cx)
    }

    /// Reads once into the line buffer; ready at once when the input has ended.
    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let read = ready!(self.transport.poll_read(cx, scratch))?;
            let mut input = lock(&self.input);
            match read {
                0 => input.ended = true,
                read => input.lines.push(&scratch[..read]),
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Begins a reply that may hold `limit` bytes. `raw` leaves terminal control characters as they are.
    pub fn begin_reply(&self, limit: u64, raw: bool) {
        lock(&self.output).reply = Reply { limit, raw, ..Reply::default() };
    }

    /// Appends a guest's bytes to the reply. Beyond the reply's limit nothing more is taken, after what still fits.
    /// Returns whether the writer has to wait before it writes on.
    pub fn write(&self, bytes: &[u8]) -> Result<bool, OutputLimit> {
        let output = &mut *lock(&self.output);
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
        let output = &mut *lock(&self.output);
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
        lock(&self.output).buffer.extend_from_slice(line.as_bytes());
    }

    /// Marks the connection as ending once its output is sent.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Waits until what is buffered is under the high-water mark.
    pub async fn below_high_water(&self) -> Result<(), Gone> {
        poll_fn(|cx| self.poll_below_high_water(cx)).await
    }

    /// As [`Wire::below_high_water`], to be polled by hand.
    pub fn poll_below_high_water(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_drain(cx, HIGH_WATER)
    }

    /// Whether a writer would have to wait.
    pub fn is_full(&self) -> bool {
        lock(&self.output).is_full()
    }

    /// Waits until all that is buffered is with the socket.
    pub async fn flush(&self) -> Result<(), Gone> {
        poll_fn(|cx| self.poll_drain(cx, 0)).await
    }

    /// Sends the reply, if there is one, to a line that came at `asked`: at once or with those of other connections.
    pub fn send_soon(self: &Arc<Wire>, asked: std::time::Instant) -> Result<(), Gone> {
        {
            let mut output = lock(&self.output);
            if output.waits || output.buffer.len() == output.sent {
                return Ok(());
            }
            output.waits = outbox::takes(self, asked);
            if output.waits {
                return Ok(());
            }
        }
        self.send_now()
    }

    /// Sends what has waited. What the socket does not take, and a failure, are left to the session.
    fn send_waiting(&self) {
        let session = {
            let mut output = lock(&self.output);
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
        let output = &mut *lock(&self.output);
        if let Poll::Ready(sent) = self.poll_send(output, cx, keep) {
            sent?;
            output.settle(keep);
            return Poll::Ready(Ok(()));
        }
        let in_time = || Box::pin(sleep_until(Instant::now() + self.settings.write_timeout));
        ready!(output.deadline.get_or_insert_with(in_time).as_mut().poll(cx));
        Poll::Ready(Err(Gone::WriteTimeout(self.settings.write_timeout)))
    }

    fn poll_send(&self, output: &mut OutputState, cx: &mut Context<'_>, keep: usize) -> Poll<io::Result<()>> {
        while output.buffer.len() - output.sent > keep {
            output.sent += ready!(self.transport.poll_write(cx, &output.buffer[output.sent..]))?;
        }
        if keep == 0 { self.transport.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Waits until the socket has failed: the client reset the connection. An end of input is no failure.
    pub async fn failed(&self) -> Gone {
        Gone::Socket(self.transport.failed().await)
    }

    /// Sends what is left, and says that no more will come.
    pub async fn end_output(&self) -> Result<(), Gone> {
        self.flush().await?;
        let shutdown = poll_fn(|cx| self.transport.poll_shutdown(cx));
        match tokio::time::timeout(self.settings.write_timeout, shutdown).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Gone::WriteTimeout(self.settings.write_timeout)),
        }
    }

    /// Ends the connection so that the client gets everything: sends what is left, says that no more will come, and
    /// drops what the client still sends, for a bounded time, until the client has ended too.
    pub async fn finish(&self) -> Result<(), Gone> {
        self.end_output().await?;
        if lock(&self.input).ended {
            return Ok(());
        }
        let drop_input = async {
            let mut dropped = 0;
            while dropped < LINGER_BYTES {
                match poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| self.transport.poll_read(cx, scratch))).await? {
                    0 => break,
                    read => dropped += read,
                }
            }
            io::Result::Ok(())
        };
        // A client that neither ends nor stops sending within the time has had its chance.
        let _ = tokio::time::timeout(LINGER, drop_input).await;
        Ok(())
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
        } else if self.sent > HIGH_WATER {
            // The deadline is for a buffer's worth: having got so far earns the client a new one.
            self.buffer.drain(..self.sent);
            self.sent = 0;
            self.deadline = None;
        }
    }
}

/// Ready from `deadline` on. The timer may have been set for another line, whose deadline was earlier: it is set anew only
/// once it has fired. So a connection whose lines come in time never moves it.
fn poll_until(mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
    if alarm.deadline() > deadline {
        alarm.as_mut().reset(deadline);
    }
    loop {
        ready!(alarm.as_mut().poll(cx));
        if alarm.deadline() == deadline {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(deadline);
    }
}

/// Takes a lock. A panic while it was held has ended its connection already, and the state is plain data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
