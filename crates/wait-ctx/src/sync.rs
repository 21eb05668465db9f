//! Synchronisation primitives, from loom in its models and from `std` otherwise.

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

/// Locks, ignoring poison: no critical section of this crate runs foreign code, so none is left half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
