//! The commands of the calling tenant.

use super::View;
use super::bindings::wasmline::command::catalog::{Entry, Host};

impl Host for View<'_> {
    fn entries(&mut self) -> wasmtime::Result<Vec<Entry>> {
        let entry = |command: &crate::registry::Command| Entry {
            name: command.name.clone(),
            summary: command.summary.clone(),
            usage: command.usage.clone(),
        };
        Ok(self.call.commands.iter().map(entry).collect())
    }
}
