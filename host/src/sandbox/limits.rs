//! Memory of one invocation: all linear memories and tables of its store, added up.
//!
//! wasmtime's own `StoreLimits` holds each memory to the limit by itself, and a component may have several.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

use super::Stop;
use crate::task::Task;

/// Host bytes behind one table element.
const ELEMENT: usize = size_of::<usize>();
/// Bytes that there may be where no line has come yet, whose account they would go on.
const AHEAD: usize = 256 * 1024;

/// What a store's memories and tables take, added up. It ends the invocation at the limit, its own or its tenant's.
#[derive(Default)]
pub struct Meter {
    /// The line on whose account they go. None as long as it has not come.
    task: Option<Arc<Task>>,
    used: usize,
    /// What the last growth added, taken back if it then fails.
    last: usize,
}

impl Meter {
    /// That of a line, which has nothing yet.
    pub fn of(task: &Arc<Task>) -> Meter {
        Meter { task: Some(Arc::clone(task)), ..Meter::default() }
    }

    /// Lays to the account of a line what there is already. Fails where that is more than the line may have.
    pub fn begin(&mut self, task: &Arc<Task>) -> Result<()> {
        self.task = Some(Arc::clone(task));
        let ahead = std::mem::take(&mut self.used);
        self.grow(ahead).map(drop)
    }

    /// Goes on on another line's account.
    pub fn pass_on(&mut self, to: &Arc<Task>) {
        to.set_memory(self.used);
        if let Some(from) = self.task.replace(Arc::clone(to)) {
            from.set_memory(0);
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<bool> {
        let used = self.used.saturating_add(bytes);
        match &self.task {
            // An error and not a refusal: the guest learns nothing, and the client gets a reason instead of a trap.
            Some(task) if used > task.tenant().limits.memory => {
                return Err(Stop::Memory(task.tenant().limits.memory).into());
            }
            Some(task) if !task.tenant().take_memory(bytes) => return Err(Stop::MemoryInUse.into()),
            Some(task) => task.set_memory(used),
            None if used > AHEAD => return Err(Stop::Memory(AHEAD).into()),
            None => {}
        }
        self.used = used;
        self.last = bytes;
        Ok(true)
    }

    fn take_back(&mut self) {
        let bytes = std::mem::take(&mut self.last);
        self.used -= bytes;
        if let Some(task) = &self.task {
            task.set_memory(self.used);
            task.tenant().memory.give_back(bytes);
        }
    }
}

impl ResourceLimiter for Meter {
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

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.tenant().memory.give_back(self.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Subject;
    use crate::tenants::Tenant;

    fn task(tenant: &Arc<Tenant>) -> Arc<Task> {
        let subject = Subject { tenant: Arc::clone(tenant), command: "".into(), peer: "".into() };
        Arc::new(Task::new(1, Arc::new(subject), Vec::new(), std::time::Instant::now()))
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let task = task(&Arc::new(Tenant::for_test("memory = 100000", 1 << 30)));
        let mut meter = Meter::of(&task);
        assert!(meter.memory_growing(0, 40_000, None).unwrap());
        assert!(meter.memory_growing(40_000, 80_000, None).unwrap());
        assert!(meter.table_growing(0, 2_000, None).unwrap());
        assert!(meter.memory_growing(80_000, 85_000, None).is_err());
        assert_eq!(task.peak_memory(), 96_000);
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let task = task(&Arc::new(Tenant::for_test("memory = 100", 100)));
        let mut meter = Meter::of(&task);
        assert!(meter.grow(80).unwrap());
        meter.take_back();
        assert!(meter.grow(100).unwrap());
    }

    #[test]
    fn a_tenants_invocations_share_its_memory() {
        let tenant = Arc::new(Tenant::for_test("memory = 80", 100));
        let (mut one, mut other) = (Meter::of(&task(&tenant)), Meter::of(&task(&tenant)));
        assert!(one.grow(60).unwrap());
        let error = other.grow(60).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::MemoryInUse)), "{error}");
        drop(one);
        assert!(other.grow(60).unwrap());
        drop(other);
        assert_eq!(tenant.memory.used(), 0);
    }

    #[test]
    fn what_was_there_before_its_line_counts_from_then_on() {
        let tenant = Arc::new(Tenant::for_test("memory = 100", 200));
        let ahead = || {
            let mut meter = Meter::default();
            assert!(meter.grow(80).unwrap());
            meter
        };
        let (first, second, third) = (task(&tenant), task(&tenant), task(&tenant));
        let (mut one, mut two, mut three) = (ahead(), ahead(), ahead());
        assert_eq!(tenant.memory.used(), 0);
        one.begin(&first).unwrap();
        assert_eq!((tenant.memory.used(), first.memory()), (80, 80));
        assert!(one.grow(40).is_err(), "more than a line may have");
        two.begin(&second).unwrap();
        assert!(three.begin(&third).is_err(), "more than the tenant may have");
        assert_eq!(third.memory(), 0);
        drop((one, two, three));
        assert_eq!(tenant.memory.used(), 0);
        assert!(Meter::default().grow(AHEAD + 1).is_err());
    }
}
