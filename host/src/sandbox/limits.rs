//! Memory of one invocation: all linear memories and tables of its store, added up.
//!
//! wasmtime's own `StoreLimits` holds each memory to the limit by itself, and a component may have several.

use wasmtime::{ResourceLimiter, Result};

use super::{State, Stop};
use crate::task::Task;

/// Host bytes behind one table element.
const ELEMENT: usize = size_of::<usize>();

/// What a store's memories and tables take, added up. It ends the invocation at the limit, its own or its tenant's.
#[derive(Default)]
pub struct Meter {
    used: usize,
    /// What the last growth added, taken back if it then fails.
    last: usize,
}

impl Meter {
    /// Goes on on another line's account.
    pub fn pass_on(&self, from: &Task, to: &Task) {
        from.set_memory(0);
        to.set_memory(self.used);
    }

    /// Gives back all that is counted.
    pub fn end(&mut self, task: &Task) {
        task.tenant.memory.give_back(std::mem::take(&mut self.used));
    }

    fn grow(&mut self, task: &Task, bytes: usize) -> Result<bool> {
        let tenant = &task.tenant;
        let used = self.used.saturating_add(bytes);
        // An error and not a refusal: the guest learns nothing, and the client gets a reason instead of a trap.
        if used > tenant.limits.memory {
            return Err(Stop::Memory(tenant.limits.memory).into());
        }
        if !tenant.take_memory(bytes) {
            return Err(Stop::MemoryInUse.into());
        }
        task.set_memory(used);
        self.used = used;
        self.last = bytes;
        Ok(true)
    }

    fn take_back(&mut self, task: &Task) {
        let bytes = std::mem::take(&mut self.last);
        self.used -= bytes;
        task.set_memory(self.used);
        task.tenant.memory.give_back(bytes);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        self.memory.grow(&self.call.task, desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.memory.take_back(&self.call.task);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        self.memory.grow(&self.call.task, desired.saturating_sub(current).saturating_mul(ELEMENT))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.memory.take_back(&self.call.task);
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.memory.end(&self.call.task);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tenants::Tenant;

    fn task(tenant: &Arc<Tenant>) -> Task {
        Task::new(1, Arc::clone(tenant), "".into(), Vec::new(), "".into(), std::time::Instant::now())
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let task = task(&Arc::new(Tenant::for_test("memory = 100000", 1 << 30)));
        let mut meter = Meter::default();
        assert!(meter.grow(&task, 40_000).unwrap());
        assert!(meter.grow(&task, 40_000).unwrap());
        assert!(meter.grow(&task, 2_000 * ELEMENT).unwrap());
        assert!(meter.grow(&task, 5_000).is_err());
        assert_eq!(task.peak_memory(), 96_000);
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let task = task(&Arc::new(Tenant::for_test("memory = 100", 100)));
        let mut meter = Meter::default();
        assert!(meter.grow(&task, 80).unwrap());
        meter.take_back(&task);
        assert!(meter.grow(&task, 100).unwrap());
    }

    #[test]
    fn a_tenants_invocations_share_its_memory() {
        let tenant = Arc::new(Tenant::for_test("memory = 80", 100));
        let (first, second) = (task(&tenant), task(&tenant));
        let (mut one, mut other) = (Meter::default(), Meter::default());
        assert!(one.grow(&first, 60).unwrap());
        let error = other.grow(&second, 60).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::MemoryInUse)), "{error}");
        one.end(&first);
        assert!(other.grow(&second, 60).unwrap());
    }
}
