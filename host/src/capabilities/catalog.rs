//! The commands of the calling tenant.

use super::View;
use super::bindings::wasmline::command::catalog::{Entry, Host, Refusal};
use crate::registry::Problem;

/// Files that are told of at once; who has more is served by the log and by `wasmline check`.
const MAX_REFUSALS: usize = 1000;

impl Host for View<'_> {
    fn entries(&mut self) -> wasmtime::Result<Vec<Entry>> {
        let entry = |command: &crate::registry::Command| Entry {
            name: command.name.to_string(),
            summary: command.summary.clone(),
            usage: command.usage.clone(),
        };
        Ok(self.call.tenant().commands().iter().map(entry).collect())
    }

    fn refusals(&mut self) -> wasmtime::Result<Vec<Refusal>> {
        let tenants = self.call.overview.iter().flat_map(|tenants| tenants.values());
        let refusals = tenants.flat_map(|tenant| {
            let of = |problem: &Problem| Refusal {
                tenant: tenant.name.clone(),
                path: problem.path.to_string_lossy().into_owned(),
                reason: problem.reason.clone(),
            };
            tenant.commands().problems().map(of).collect::<Vec<_>>()
        });
        Ok(refusals.take(MAX_REFUSALS).collect())
    }
}
