//! Taking a lock whatever has become of those who held it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. A panic while it was held has ended its connection or its job already; whoever uses this guards what is
/// never left half-changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
