//! A small line is tried first, as a plain call.
//!
//! What may wait needs a stack that can be left and come back to, and with what belongs to it that is a tenth of a small line.
//! Most small lines wait for nothing. So a line is called where only what never waits is within its reach
//! (`capabilities/attempt.rs`), for as long as it would not have to yield. If it comes to its end, that was it. Whatever else
//! happens, a call of something else, a trap, a limit, undoes the try: the instance is dropped, what it has written is taken
//! back, and the line is run from its beginning as any other. Nobody has seen anything of the try, and its time is charged.

use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::{Instance, State, cpu};
use crate::capabilities::Call;

/// A line cannot be run as a plain call. It says no more, for the line is run again.
#[derive(Debug, thiserror::Error)]
#[error("the line cannot be run at once")]
pub struct NotAtOnce;

/// A command that is ready to be tried.
pub struct Attempt {
    pre: InstancePre<State>,
    run: ComponentExportIndex,
}

impl Attempt {
    /// Prepares a command. `linker` has what is within its reach.
    ///
    /// # Errors
    /// When the command is of a kind that cannot be tried.
    pub fn new(linker: &Linker<State>, component: &Component) -> wasmtime::Result<Attempt> {
        let mut linker = linker.clone();
        linker.define_unknown_imports_as_traps(component)?;
        let run = component.get_export_index(None, "run").ok_or(NotAtOnce)?;
        Ok(Attempt { pre: linker.instantiate_pre(component)?, run })
    }

    /// Runs a line, in an instance that is left to be dropped.
    ///
    /// # Errors
    /// When it has not come to its end.
    pub fn run(&self, call: &Arc<Call>) -> wasmtime::Result<(Instance, Result<(), String>)> {
        let mut instance = Instance::new(self.pre.engine(), Arc::clone(call), cpu::on_tick_of_attempt);
        let result = instance.call(&self.pre, self.run, &call.task.args)?;
        Ok((instance, result))
    }
}
