//! The host's own log: `tracing` records on standard error.
//!
//! Records go through a bounded queue to a thread of their own. A log that nobody reads, or a full disk behind it, costs
//! records and not service: what does not fit is dropped and counted.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::machine;

/// Records that wait to be written.
const QUEUE: usize = 16 * 1024;
/// Bytes of a client's line that a record repeats.
const MAX_LINE: usize = 512;

/// How log records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Human,
    /// A JSON object in a line.
    Json,
}

/// The running log. Dropping it writes what is queued, for a bounded time.
pub struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts logging. `RUST_LOG` says what is logged; without it everything from `otherwise` on.
///
/// # Errors
/// When `RUST_LOG` is not a filter.
pub fn start(format: LogFormat, otherwise: &str) -> Result<Log, String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| format!("RUST_LOG={text}: {error}"))?
        }
        _ => EnvFilter::new(otherwise),
    };
    // The library panics where there is no thread for it.
    machine::try_threads(1).map_err(|error| format!("cannot start a thread for the log: {error}"))?;
    let (queue, writer) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(io::stderr());
    let dropped = queue.error_counter();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue)
        .with_target(false)
        // A failure to log is not itself reported on standard error, which is what has failed.
        .log_internal_errors(false);
    match format {
        LogFormat::Human => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(Log { dropped, _writer: writer })
}

impl Log {
    /// Says how many records were lost, if any were.
    pub fn report_losses(&self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            tracing::warn!(dropped, "log records were lost, for the log was not taken off fast enough");
        }
    }
}

/// As much of a client's text as the log repeats.
pub fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LINE)]
}
