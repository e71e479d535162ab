//! A small line is tried first, as a plain call.
//!
//! What may wait needs a stack that can be left and come back to, and with what belongs to it that is a tenth of a small line.
//! Most small lines wait for nothing. So a line is called where only what never waits is within its reach
//! (`capabilities/attempt.rs`), for as long as it would not have to yield. If it comes to its end, that was it. Whatever else
//! happens, a call of something else, a trap, a limit, undoes the try: the instance is dropped, what it has written is taken
//! back, and the line is run from its beginning as any other. Nobody has seen anything of the try, and its time is charged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::ready;
use super::trial::{Trial, Tried};
use crate::capabilities::Call;

/// Instances in a row that could not be made ahead before that is given up for a command. One may be interrupted by the machine.
const MOST_FAILURES: u32 = 8;

/// A line cannot be run as a plain call. It says no more, for the line is run again.
#[derive(Debug, thiserror::Error)]
#[error("the line cannot be run at once")]
pub struct NotAtOnce;

/// A command that is ready to be tried.
pub struct Attempt {
    pre: InstancePre<Tried>,
    run: ComponentExportIndex,
    /// Whether instances may be made before their lines come.
    is_made_ahead: bool,
    /// Those in a row that could not be.
    failures: AtomicU32,
}

impl Attempt {
    /// Prepares a command. `linker` has what is within its reach, and `is_made_ahead` says whether its instances may be
    /// made before their lines come.
    ///
    /// # Errors
    /// When the command is of a kind that cannot be tried.
    pub fn new(linker: &Linker<Tried>, component: &Component, is_made_ahead: bool) -> wasmtime::Result<Attempt> {
        let mut linker = linker.clone();
        linker.define_unknown_imports_as_traps(component)?;
        let run = component.get_export_index(None, "run").ok_or(NotAtOnce)?;
        Ok(Attempt { pre: linker.instantiate_pre(component)?, run, is_made_ahead, failures: AtomicU32::new(0) })
    }

    /// Runs a line, in an instance that is left to be dropped.
    ///
    /// # Errors
    /// When it has not come to its end.
    pub fn run(&self, call: &Arc<Call>) -> wasmtime::Result<(Trial, Result<(), String>)> {
        let mut trial = match ready::take(&call.command) {
            Some(mut trial) => {
                trial.take_up(call)?;
                trial
            }
            None => Trial::of(&self.pre, call)?,
        };
        let result = trial.call(self.run, &call.task.args)?;
        if self.may_be_made_ahead() {
            ready::want(&call.command);
        }
        Ok((trial, result))
    }

    fn may_be_made_ahead(&self) -> bool {
        self.is_made_ahead && self.failures.load(Ordering::Relaxed) < MOST_FAILURES
    }

    /// Makes an instance for a line that has not come yet, where that can be.
    pub fn ahead(&self) -> Option<Trial> {
        // Counted beforehand, for there is nobody here whose panic it would be.
        self.failures.fetch_add(1, Ordering::Relaxed);
        let made = catch_unwind(AssertUnwindSafe(|| Trial::ahead(&self.pre))).ok()?.ok()?;
        self.failures.store(0, Ordering::Relaxed);
        Some(made)
    }
}
