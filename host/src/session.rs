//! One connection from its first line to its last: read a line, dispatch it, go on.
//!
//! Lines are run one after another, so replies keep the order of the lines; connections share nothing here.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use crate::dispatch::Dispatcher;
use crate::engine::TICK;
use crate::error::{Code, Failure};
use crate::line::Line;
use crate::loops;
use crate::sandbox::cpu;
use crate::wire::{Gone, Input, Wire, outbox};

/// Lines after which a connection lets others go on, if they have not taken a tick before. Lines that run no guest never
/// wait, so one that sends nothing else would keep its thread.
const LINES_PER_TURN: u32 = 64;

/// Why a session ended, as the log has it.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The client ended its input, and has every reply.
    #[error("the client ended its input")]
    Input,
    /// A command closed the connection, as `exit` does.
    #[error("closed by a command")]
    Closed,
    /// The client broke a rule of the wire.
    #[error("{0}")]
    Refused(Code),
    /// The server is draining.
    #[error("the server is stopping")]
    Draining,
    /// What the client was recognised by is not accepted any more.
    #[error("the configuration does not know the client any more")]
    Revoked,
    /// The client vanished or stopped reading.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// One connection, and what serving it needs.
pub struct Session<'a, D> {
    /// The connection.
    pub wire: &'a Arc<Wire>,
    /// What runs its lines.
    pub dispatcher: &'a Arc<Dispatcher>,
    /// Whether no more lines are to be read. When it becomes true, [`Session::serve`] has to be polled.
    pub is_draining: D,
}

impl<D: Fn() -> bool> Session<'_, D> {
    /// Serves the connection until it ends. Every reply that is due is sent before this returns, unless the client is gone.
    pub async fn serve(&self) -> End {
        let ended = self.run_lines().await;
        // On the heap: connections that have not come to their end need no room for it.
        Box::pin(finish(self.wire, ended)).await
    }

    async fn run_lines(&self) -> Result<End, Gone> {
        let mut alarm = pin!(self.wire.alarm());
        loop {
            // What has arrived is run; nothing more is read once the server is stopping.
            let line = match self.wire.next_input(alarm.as_mut(), &self.is_draining).await? {
                Some(Input::Line(line)) => line,
                Some(Input::End { incomplete: false }) => return Ok(End::Input),
                Some(Input::End { incomplete: true }) => {
                    let text = "the input ended before the line did; it was not run";
                    return Ok(refuse(self.wire, Code::IncompleteLine, text));
                }
                Some(Input::Idle) => return Ok(refuse(self.wire, Code::Timeout, "no line came for too long")),
                Some(Input::Slow) => return Ok(refuse(self.wire, Code::Timeout, "the line took too long to arrive")),
                None => return Ok(End::Draining),
            };
            // On the heap, so that it can go to another thread, and a connection without lines is small.
            let lines = Box::pin(run_lines_at_hand(Arc::clone(self.wire), Arc::clone(self.dispatcher), line));
            if let Some(end) = loops::run(lines).await? {
                return Ok(end);
            }
        }
    }
}

/// Runs a line and those that have arrived behind it.
async fn run_lines_at_hand(wire: Arc<Wire>, dispatcher: Arc<Dispatcher>, first: Line) -> Result<Option<End>, Gone> {
    let (mut next, mut lines, mut began) = (Some(first), 0, Instant::now());
    let mut batch = dispatcher.batch(&wire);
    while let Some(line) = next {
        match line {
            Line::Text(line) => dispatcher.run_line(&wire, &line, &mut batch).await?,
            Line::BadEncoding(_) => {
                dispatcher.refuse(&wire, "", Failure::new(Code::BadEncoding, "the line is not UTF-8"), &mut batch);
            }
            Line::TooLong => {
                let text = format!("a line may have {} bytes", wire.max_line());
                return Ok(Some(refuse(&wire, Code::LineTooLong, text)));
            }
        }
        if wire.is_closing() {
            return Ok(Some(End::Closed));
        }
        if wire.is_full() {
            batch.give_back();
            wire.below_high_water().await?;
        }
        lines += 1;
        if lines == LINES_PER_TURN || cpu::last_end().is_some_and(|end| end.saturating_duration_since(began) > TICK) {
            batch.give_back();
            tokio::task::yield_now().await;
            (lines, began) = (0, Instant::now());
            outbox::hurry(began);
        }
        next = wire.line_at_hand();
    }
    Ok(None)
}

/// Sends what is left to a client that is there to read it.
async fn finish(wire: &Wire, ended: Result<End, Gone>) -> End {
    match ended {
        Ok(end) => match wire.finish().await {
            Ok(()) => end,
            Err(gone) => End::Gone(gone),
        },
        Err(Gone::CutOff) => {
            // Some clients never say that their input ends; they read on, and are owed the end of the output.
            let _ = wire.finish().await;
            End::Gone(Gone::CutOff)
        }
        Err(gone) => End::Gone(gone),
    }
}

fn refuse(wire: &Wire, code: Code, text: impl Into<String>) -> End {
    wire.say(&Failure::new(code, text).line());
    End::Refused(code)
}
