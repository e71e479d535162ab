//! Memory of one invocation: all linear memories and tables of its store, added up.
//!
//! wasmtime's own `StoreLimits` holds each memory to the limit by itself, and a component may have several.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

use super::Stop;
use crate::task::Task;

/// Host bytes behind one table element.
const ELEMENT: usize = size_of::<usize>();

/// Counts what a store's memories and tables take, and ends the invocation at the limit, its own or its tenant's.
pub struct MemoryLimiter {
    task: Arc<Task>,
    used: usize,
    /// What the last growth added, taken back if it then fails.
    last: usize,
}

impl MemoryLimiter {
    /// A limiter for one invocation.
    pub fn new(task: Arc<Task>) -> MemoryLimiter {
        MemoryLimiter { task, used: 0, last: 0 }
    }

    /// Goes on on another line's account.
    pub fn pass_on(&mut self, task: Arc<Task>) {
        self.task.set_memory(0);
        task.set_memory(self.used);
        self.task = task;
    }

    fn grow(&mut self, bytes: usize) -> Result<bool> {
        let tenant = &self.task.tenant;
        let used = self.used.saturating_add(bytes);
        // An error and not a refusal: the guest learns nothing, and the client gets a reason instead of a trap.
        if used > tenant.limits.memory {
            return Err(Stop::Memory(tenant.limits.memory).into());
        }
        if !tenant.memory.take(bytes, tenant.part().memory) {
            return Err(Stop::MemoryInUse.into());
        }
        self.task.set_memory(used);
        self.used = used;
        self.last = bytes;
        Ok(true)
    }

    fn take_back(&mut self) {
        let bytes = std::mem::take(&mut self.last);
        self.used -= bytes;
        self.task.set_memory(self.used);
        self.task.tenant.memory.give_back(bytes);
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.task.tenant.memory.give_back(self.used);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(ELEMENT))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.take_back();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::Tenant;

    fn limiter(tenant: &Arc<Tenant>) -> MemoryLimiter {
        let task = Task::new(1, Arc::clone(tenant), String::new(), Vec::new(), "".into(), std::time::Instant::now());
        MemoryLimiter::new(Arc::new(task))
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let tenant = Arc::new(Tenant::for_test("memory = 100000", 1 << 30));
        let mut limiter = limiter(&tenant);
        assert!(limiter.memory_growing(0, 40_000, None).unwrap());
        assert!(limiter.memory_growing(0, 40_000, None).unwrap());
        assert!(limiter.table_growing(0, 2_000, None).unwrap());
        assert!(limiter.memory_growing(40_000, 45_000, None).is_err());
        assert_eq!(limiter.task.peak_memory(), 96_000);
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let tenant = Arc::new(Tenant::for_test("memory = 100", 100));
        let mut limiter = limiter(&tenant);
        assert!(limiter.memory_growing(0, 80, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(limiter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn a_tenants_invocations_share_its_memory() {
        let tenant = Arc::new(Tenant::for_test("memory = 80", 100));
        let mut first = limiter(&tenant);
        let mut second = limiter(&tenant);
        assert!(first.memory_growing(0, 60, None).unwrap());
        let error = second.memory_growing(0, 60, None).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::MemoryInUse)), "{error}");
        drop(first);
        assert!(second.memory_growing(0, 60, None).unwrap());
    }
}
