//! A guest's records in the host's log. Their text is data: it is bounded here and escaped by the log's own format.

use std::sync::atomic::Ordering;

use super::bindings::wasmline::command::log::{Host, Level};
use super::{Call, View};

/// Longest record, in bytes.
pub const MAX_RECORD: usize = 4096;
/// Bytes that one invocation may put into the log.
const MAX_TOTAL: u64 = 64 * 1024;

/// Writes a record for the invocation, unless it has said enough.
pub fn record(call: &Call, level: Level, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_RECORD)];
    let before = call.logged.fetch_add(text.len().max(1) as u64, Ordering::Relaxed);
    if before >= MAX_TOTAL {
        return;
    }
    let (tenant, command, invocation) = (&*call.tenant().name, &*call.command.name, call.task.id);
    match level {
        Level::Debug => tracing::debug!(%tenant, %command, invocation, text, "guest"),
        Level::Info => tracing::info!(%tenant, %command, invocation, text, "guest"),
        Level::Warn => tracing::warn!(%tenant, %command, invocation, text, "guest"),
        Level::Error => tracing::error!(%tenant, %command, invocation, text, "guest"),
    }
    if before + text.len() as u64 >= MAX_TOTAL {
        tracing::warn!(%tenant, %command, invocation, "guest has filled its share of the log; the rest is dropped");
    }
}

impl Host for View<'_> {
    fn write(&mut self, level: Level, text: String) -> wasmtime::Result<()> {
        record(self.call, level, &text);
        Ok(())
    }
}
