//! What comes in: bytes become lines, and a wait for one has a deadline.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Gone, READ_CHUNK, Wire};
use crate::line::{Line, LineBuffer};
use crate::lock::lock;

thread_local! {
    /// Where a socket's bytes land first, so that an idle connection owns no read buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_CHUNK]);
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

/// What has come in.
pub(super) struct InputState {
    lines: LineBuffer,
    ended: bool,
    /// Whether the end is none: whoever sends could not go on.
    is_cut: bool,
    /// When the line that is coming in began; `None` between lines.
    line_began: Option<Instant>,
}

impl InputState {
    /// Nothing yet.
    pub(super) fn new(max_line: usize) -> InputState {
        InputState { lines: LineBuffer::new(max_line), ended: false, is_cut: false, line_began: None }
    }
}

impl Wire {
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
        let line = input.lines.next_line();
        self.has_line.store(input.lines.has_line(), Ordering::Relaxed);
        if line.is_some() {
            input.line_began = None;
        }
        line
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
        self.has_line.load(Ordering::Relaxed)
    }

    /// As [`Wire::poll_fill`], once all output is sent or waits to be.
    fn poll_input(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.poll_settled(cx))?;
        self.poll_fill(cx)
    }

    /// Reads once into the line buffer; ready at once when the input has ended.
    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let read = ready!(self.transport.poll_read(cx, scratch))?;
            let mut input = lock(&self.input);
            match read {
                0 if input.is_cut => return Poll::Ready(Err(Gone::CutOff)),
                0 => input.ended = true,
                read => input.lines.push(&scratch[..read]),
            }
            self.has_line.store(input.lines.has_line(), Ordering::Relaxed);
            Poll::Ready(Ok(()))
        })
    }

    /// Says that the end of the input, which is yet to come, is where it was cut off: what comes before it counts.
    pub fn cut_off(&self) {
        lock(&self.input).is_cut = true;
    }

    /// Whether the client has said that it sends no more.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.input).ended
    }

    /// Reads and drops what the client still sends, until it ends or has sent so much.
    pub(super) async fn drop_input(&self, most: usize) -> io::Result<()> {
        let mut dropped = 0;
        while dropped < most {
            match poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| self.transport.poll_read(cx, scratch))).await? {
                0 => break,
                read => dropped += read,
            }
        }
        Ok(())
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
