//! WASI's standard streams. Output goes into the reply; so does the standard error of a program of WASI, unless its sidecar
//! says `log`, while that of a command of our own world always goes into the log. Input is empty, or the connection's
//! following lines where the sidecar says so.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::Call;
use super::bindings::wasmline::command::log::Level;
use super::log::{MAX_RECORD, record};
use crate::line::Line;
use crate::lock::lock;
use crate::registry::sidecar::{Stderr, Stdin};
use crate::sandbox::{Program, Stop};
use crate::wire::{Input, OutputLimit, PIECE};

/// Bytes that a stream takes at once. wasmtime lets a guest make it allocate as many.
const PERMIT: usize = PIECE;
/// The line that ends a program's input.
const LAST_LINE: &str = ".";
/// Random bytes that a guest gets in one call.
const MAX_RANDOM: u64 = 64 * 1024;

/// A WASI context with clocks, randomness and the reply. What is granted is handed out by `directories` when a program asks
/// for it.
pub fn context(call: &Arc<Call>) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    let is_program = matches!(call.command.code.program, Program::Wasi(_));
    if is_program && call.command.sidecar.stdin == Stdin::Connection {
        builder.stdin(Lines { call: Arc::clone(call), input: Arc::default() });
    }
    if is_program && call.command.sidecar.stderr == Stderr::Client {
        builder.stderr(Reply { call: Arc::clone(call) });
    } else {
        builder.stderr(LogLines { call: Arc::clone(call), partial: Arc::default() });
    }
    builder
        .stdout(Reply { call: Arc::clone(call) })
        .arg(&call.command.name)
        .args(&call.task.args)
        .max_random_size(MAX_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// The reply as a stream.
#[derive(Clone)]
struct Reply {
    call: Arc<Call>,
}

impl IsTerminal for Reply {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Reply {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only preview 3 asks for this, which this host does not offer.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Reply {
    async fn ready(&mut self) {
        // A client that is gone ends the whole invocation; the one who drives it sees the same failure.
        let _ = self.call.wire.below_high_water().await;
    }
}

impl OutputStream for Reply {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // It has not asked, or has asked for less. What it would have to wait with must not pile up here.
        if bytes.len() > PERMIT || (self.call.wire.is_full() && !bytes.is_empty()) {
            return Err(StreamError::trap("a write that was not permitted"));
        }
        let limit = self.call.tenant().limits.output;
        let written = self.call.wire.write(&bytes);
        written.map(drop).map_err(|OutputLimit| StreamError::Trap(Stop::Output(limit).into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.call.wire.is_full() { 0 } else { PERMIT })
    }
}

/// The connection's following lines as a stream.
#[derive(Clone)]
struct Lines {
    call: Arc<Call>,
    /// Shared by all handles on the stream, as WASI wants it.
    input: Arc<Mutex<Taken>>,
}

/// What has been taken off the connection and not been read by the program yet.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    ended: bool,
    /// No more can come, and the client has not said that this was all: the program must not take it for the end of its input.
    failed: Option<StreamError>,
}

impl Taken {
    fn fails(&mut self, error: StreamError) {
        self.ended = true;
        self.failed = Some(error);
    }

    fn breaks_off(&mut self, why: &'static str) {
        self.fails(StreamError::LastOperationFailed(wasmtime::Error::msg(why)));
    }
}

impl Lines {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        lock(&self.input)
    }

    /// Takes the next line off the connection, unless there is something to read already.
    async fn fill(&self) {
        if self.taken().ended || !self.taken().bytes.is_empty() {
            return;
        }
        let line = self.call.wire.next_line().await;
        let mut taken = self.taken();
        match line {
            Ok(Input::Line(Line::Text(line))) if line != LAST_LINE => {
                taken.bytes = line.into_bytes();
                taken.bytes.push(b'\n');
            }
            // A program reads bytes, whatever they are.
            Ok(Input::Line(Line::BadEncoding(line))) => {
                taken.bytes = line;
                taken.bytes.push(b'\n');
            }
            Ok(Input::Line(Line::Text(_)) | Input::End { incomplete: false }) => taken.ended = true,
            // The session tells the client afterwards; what the program has read is not all there was to be.
            Ok(Input::Line(Line::TooLong)) => taken.breaks_off("a line is too long"),
            Ok(Input::End { incomplete: true }) => taken.breaks_off("the input ended before the line did"),
            Ok(Input::Idle | Input::Slow) => taken.breaks_off("no line came for too long"),
            Err(gone) => taken.fails(StreamError::Trap(Stop::Gone(gone).into())),
        }
    }

    /// What can be read now, `size` bytes at most.
    fn read_now(&self, size: usize) -> StreamResult<Bytes> {
        let mut taken = self.taken();
        if let Some(error) = taken.failed.take() {
            return Err(error);
        }
        if taken.bytes.is_empty() && taken.ended {
            return Err(StreamError::Closed);
        }
        let size = size.min(taken.bytes.len());
        Ok(taken.bytes.drain(..size).collect())
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        // Only preview 3 asks for this, which this host does not offer.
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {
        self.fill().await;
    }
}

impl InputStream for Lines {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.read_now(size)
    }
}

/// Standard error, a record in the log for each line.
#[derive(Clone)]
struct LogLines {
    call: Arc<Call>,
    /// The line that has not ended yet, bounded by the longest record.
    partial: Arc<Mutex<Vec<u8>>>,
}

impl LogLines {
    fn record(&self, line: &[u8]) {
        record(&self.call, Level::Info, String::from_utf8_lossy(line).trim_end());
    }
}

impl Drop for LogLines {
    fn drop(&mut self) {
        // Only the last handle finds a line that nobody can end any more.
        if Arc::strong_count(&self.partial) == 1 {
            let partial = std::mem::take(&mut *lock(&self.partial));
            if !partial.is_empty() {
                self.record(&partial);
            }
        }
    }
}

impl IsTerminal for LogLines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogLines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only preview 3 asks for this, which this host does not offer.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogLines {
    async fn ready(&mut self) {}
}

impl OutputStream for LogLines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut partial = lock(&self.partial);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_RECORD - partial.len();
            partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") || partial.len() == MAX_RECORD {
                self.record(&std::mem::take(&mut *partial));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}
