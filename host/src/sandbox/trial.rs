//! An instance in which a line is tried as a plain call: a store with less in it than one that may wait.
//!
//! It can be made before its line comes, where that runs no code of the guest's, so not of a component with a start function.
//! Then only the engine's own code runs, that fills tables and globals. Should anything else run, it ends at a tick of the clock,
//! if that goes, or where it asks the host for something.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre};

use super::limits::Meter;
use super::{NotAtOnce, cpu};
use crate::capabilities::Call;

/// What its store holds.
pub struct Tried {
    /// Who called, once somebody has.
    call: Option<Arc<Call>>,
    memory: Meter,
}

impl Tried {
    /// Who called.
    ///
    /// # Errors
    /// When nobody has yet.
    pub fn call(&self) -> Result<&Arc<Call>, NotAtOnce> {
        self.call.as_ref().ok_or(NotAtOnce)
    }
}

/// The instance.
pub struct Trial {
    store: Store<Tried>,
    instance: Instance,
    /// The CPU time that it took to make where it was made ahead.
    made_in: Duration,
}

impl Trial {
    /// Makes one for a line.
    ///
    /// # Errors
    /// When the line cannot be tried.
    pub fn of(pre: &InstancePre<Tried>, call: &Arc<Call>) -> wasmtime::Result<Trial> {
        let mut store = new_store(pre);
        give(&mut store, call)?;
        let instance = pre.instantiate(&mut store)?;
        Ok(Trial { store, instance, made_in: Duration::ZERO })
    }

    /// Makes one for a line that has not come yet.
    ///
    /// # Errors
    /// When it would hold much memory, or took long.
    pub fn ahead(pre: &InstancePre<Tried>) -> wasmtime::Result<Trial> {
        let ((store, instance), made_in) = cpu::measure_aside(|| {
            let mut store = new_store(pre);
            // The next tick may come at any moment, and is no sign of anything.
            store.set_epoch_deadline(2);
            let instance = pre.instantiate(&mut store);
            (store, instance)
        });
        let instance = instance?;
        // A line that computes for so long is not tried, so this would not serve it either.
        if made_in > cpu::YIELD_FROM {
            return Err(NotAtOnce.into());
        }
        Ok(Trial { store, instance, made_in })
    }

    /// Takes up a line, where the instance was made ahead of it. What that took goes on the line's account.
    ///
    /// # Errors
    /// When it has more memory than the line may have now.
    pub fn take_up(&mut self, call: &Arc<Call>) -> wasmtime::Result<()> {
        call.task.charge_at(call.task.began, std::mem::take(&mut self.made_in));
        give(&mut self.store, call)
    }

    /// Calls the command with the line's words.
    ///
    /// # Errors
    /// When it has not come to its end.
    pub fn call(&mut self, run: ComponentExportIndex, args: &[String]) -> wasmtime::Result<Result<(), String>> {
        let store = &mut self.store;
        let run = self.instance.get_typed_func::<(&[String],), (Result<(), String>,)>(&mut *store, run)?;
        Ok(run.call(store, (args,))?.0)
    }
}

fn new_store(pre: &InstancePre<Tried>) -> Store<Tried> {
    let mut store = Store::new(pre.engine(), Tried { call: None, memory: Meter::default() });
    store.limiter(|tried| &mut tried.memory);
    store.epoch_deadline_callback(cpu::on_tick_of_attempt);
    store
}

/// Gives a store its line, whose bounds go for it from here on.
fn give(store: &mut Store<Tried>, call: &Arc<Call>) -> wasmtime::Result<()> {
    let limits = &call.tenant().limits;
    store.set_epoch_deadline(1);
    store.set_max_component_handles(limits.handles);
    store.set_hostcall_fuel(limits.host_call_memory);
    let tried = store.data_mut();
    tried.call = Some(Arc::clone(call));
    tried.memory.begin(&call.task)
}
