//! The primitives that loom has to see, from `std` or from loom.

#[cfg(loom)]
pub(crate) use loom::{
    sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64},
    thread::{self, ThreadId},
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64},
    thread::{self, ThreadId},
};

/// Locks, whatever happened to an earlier holder: no critical section of this crate runs foreign code, and each leaves
/// its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
