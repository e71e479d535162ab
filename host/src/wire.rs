//! A client's connection with its two buffers: lines come out of one, replies go into the other.
//!
//! All of `Wire` is polled from one task at a time: the session's while it waits for a line, the invocation's while that
//! writes or reads on, wherever it runs. The locks are there because an invocation and its driver hold the same wire, and
//! they are never contended. Output is kept until a watermark, until the task has to wait for something, or
//! until no further line is at hand, so that a batch of pipelined lines costs one write.

mod input;
pub mod outbox;
mod output;
pub mod socket;
pub mod tls;
mod transport;

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use self::input::Input;
pub use self::output::OutputLimit;
pub use self::transport::Transport;
use crate::config;
use input::InputState;
use output::OutputState;

/// Bytes taken from a socket at once.
const READ_CHUNK: usize = 64 * 1024;
/// Bytes of output that are kept before a writer has to wait for the client.
pub const HIGH_WATER: usize = 64 * 1024;
/// Bytes that a writer appends before it looks whether it has to wait. Escaped they may be four times as many, so that never
/// more than twice [`HIGH_WATER`] is kept.
pub const PIECE: usize = HIGH_WATER / 4;
/// How long the host keeps reading and dropping after its last reply, so that unread input does not reset the
/// connection before the client has read that reply.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes dropped at most while lingering.
const LINGER_BYTES: usize = 1024 * 1024;

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

/// One client's connection.
pub struct Wire {
    transport: Transport,
    peer: Arc<str>,
    settings: Arc<config::Server>,
    input: Mutex<InputState>,
    output: Mutex<OutputState>,
    /// Whether the connection is to end once its output is sent. Apart, for it is looked at more often than it is set.
    closing: AtomicBool,
    /// Whether a whole line is at hand. This and the next are set under the lock of what they tell of; to look at them takes
    /// none.
    has_line: AtomicBool,
    /// Whether so much output is kept that a writer has to wait.
    is_full: AtomicBool,
}

impl Wire {
    /// Wraps a connected socket. Its bounds are those of the settings.
    pub fn new(transport: impl Into<Transport>, peer: &str, settings: Arc<config::Server>) -> Wire {
        Wire {
            transport: transport.into(),
            peer: peer.into(),
            input: Mutex::new(InputState::new(settings.max_line)),
            settings,
            output: Mutex::default(),
            closing: AtomicBool::new(false),
            has_line: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
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

    /// Marks the connection as ending once its output is sent.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
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
        if !self.has_ended() {
            // A client that neither ends nor stops sending within the time has had its chance.
            let _ = tokio::time::timeout(LINGER, self.drop_input(LINGER_BYTES)).await;
        }
        Ok(())
    }
}
