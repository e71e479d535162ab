//! Memory of one invocation: all linear memories and tables of its store, added up.
//!
//! wasmtime's own `StoreLimits` holds each memory to the limit by itself, and a component may have several.

use wasmtime::{ResourceLimiter, Result};

use super::Stop;

/// Host bytes behind one table element.
const ELEMENT: usize = size_of::<usize>();

/// Counts what a store's memories and tables take, and ends the invocation at the limit.
#[derive(Debug)]
pub struct MemoryLimiter {
    used: usize,
    peak: usize,
    limit: usize,
    /// What the last growth added, taken back if it then fails.
    last: usize,
}

impl MemoryLimiter {
    /// A limiter for one invocation, in bytes.
    pub fn new(limit: usize) -> MemoryLimiter {
        MemoryLimiter { used: 0, peak: 0, limit, last: 0 }
    }

    /// The most that was in use, in bytes.
    pub fn peak(&self) -> usize {
        self.peak
    }

    fn grow(&mut self, bytes: usize) -> Result<bool> {
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            // An error and not a refusal: the guest learns nothing, and the client gets a reason instead of a trap.
            return Err(Stop::Memory(self.limit).into());
        }
        self.used = used;
        self.peak = self.peak.max(used);
        self.last = bytes;
        Ok(true)
    }

    fn take_back(&mut self) {
        self.used -= std::mem::take(&mut self.last);
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

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = MemoryLimiter::new(100_000);
        assert!(limiter.memory_growing(0, 40_000, None).unwrap());
        assert!(limiter.memory_growing(0, 40_000, None).unwrap());
        assert!(limiter.table_growing(0, 2_000, None).unwrap());
        assert!(limiter.memory_growing(40_000, 45_000, None).is_err());
        assert_eq!(limiter.peak(), 96_000);
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let mut limiter = MemoryLimiter::new(100);
        assert!(limiter.memory_growing(0, 80, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(limiter.memory_growing(0, 100, None).unwrap());
    }
}
