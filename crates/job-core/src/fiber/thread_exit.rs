//! Detects jobs that may have borrowed a thread-local variable that is gone.
//!
//! The crate's page says which jobs these are. Variables are destroyed in the reverse of the order in which they were
//! initialised. So this module registers *sentinels*: destructors that do nothing but advance the thread's *epoch*. A job
//! remembers the epoch in which it started and is switched to in that epoch only. A sentinel that is newer than the
//! variable that holds the job is destroyed before it, so the epoch has advanced when that destructor cancels or resumes
//! the job. If no sentinel is newer than the holder, what was destroyed before the holder is newer than every sentinel,
//! too; only jobs that paused after the last sentinel was registered can have borrowed it.
//!
//! Sentinels are registered after a pause. Each takes a lock of the dynamic loader, and 48 bytes
//! until the thread ends, so not every pause registers one: [`sentinel_if_due`] decides. A start
//! during thread exit also registers a sentinel: such a job may be resumed until the destructor that
//! started it returns.
//!
//! Off GNU/Linux each thread has one sentinel, registered after its first pause.

use core::any::TypeId;
use core::cell::Cell;
use core::hash::{Hash as _, Hasher};

thread_local! {
    /// How many sentinels of this thread were destroyed. 0 until the thread ends.
    static EPOCH: Cell<u32> = const { Cell::new(0) };
    /// The types of closures that were started on this thread, then [`ClosureType::NONE`].
    static STARTED: [Cell<ClosureType>; MAX_TYPES] =
        const { [const { Cell::new(ClosureType::NONE) }; MAX_TYPES] };
    static SCHEDULE: Cell<Schedule> = const { Cell::new(Schedule { asked: 0, next: 0 }) };
}

/// When to register the next sentinel.
#[derive(Clone, Copy)]
struct Schedule {
    /// How often [`sentinel_if_due`] was called.
    asked: u64,
    /// The call at which the next one is due.
    next: u64,
}

/// How many closure types a thread tells apart.
const MAX_TYPES: usize = 32;

/// A hash of a closure's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosureType(u64);

impl ClosureType {
    /// The hash of no type.
    pub(crate) const NONE: Self = Self(0);

    /// Computed by the compiler.
    #[inline]
    pub(crate) fn of<F: 'static>() -> Self {
        struct LastWord(u64);
        impl Hasher for LastWord {
            fn write(&mut self, bytes: &[u8]) {
                bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
            }
            fn write_u64(&mut self, word: u64) {
                self.0 = word;
            }
            fn finish(&self) -> u64 {
                self.0
            }
        }
        let mut hasher = LastWord(0);
        TypeId::of::<F>().hash(&mut hasher);
        Self(hasher.finish() | 1)
    }

    /// Whether this is the first call for the type on this thread.
    #[cold]
    pub(crate) fn is_new(self) -> bool {
        let is_it_or_free = |known: &&Cell<Self>| [self, Self::NONE].contains(&known.get());
        STARTED.with(|types| {
            let known = types.iter().find(is_it_or_free);
            known.is_some_and(|known| known.replace(self) == Self::NONE)
        })
    }
}

/// The call after the `n`th that registers a sentinel: the next one at first, later when `n` has
/// grown by a 256th. A billion calls register fewer than 5,500.
pub(crate) fn next_sentinel(n: u64) -> u64 {
    n + 1 + n.saturating_sub(1024) / 256
}

/// The epoch of this thread.
#[inline]
pub(crate) fn epoch() -> u32 {
    EPOCH.get()
}

/// Registers a sentinel after a pause of a job, if one is due or if the job's closure type may be
/// new to the thread. Due are the first 1,024 pauses, and later ones as [`next_sentinel`] says.
#[cold]
pub(crate) fn sentinel_if_due(is_new: bool) {
    let mut schedule = SCHEDULE.get();
    let is_due = is_new || schedule.asked >= schedule.next;
    if is_due {
        schedule.next = next_sentinel(schedule.asked);
    }
    schedule.asked += 1;
    SCHEDULE.set(schedule);
    if is_due {
        register_sentinel();
    }
}

fn advance() {
    EPOCH.set(EPOCH.get().wrapping_add(1));
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cold]
pub(crate) fn register_sentinel() {
    use core::ffi::{c_int, c_void};
    use core::ptr;

    unsafe extern "C" {
        /// Also registers the destructors of `thread_local!` (glibc 2.18 and later).
        fn __cxa_thread_atexit_impl(
            destructor: unsafe extern "C" fn(*mut c_void),
            object: *mut c_void,
            dso: *const c_void,
        ) -> c_int;
        /// Identifies the program or library that this code is linked into.
        static __dso_handle: u8;
    }

    unsafe extern "C" fn destroyed(_: *mut c_void) {
        advance();
    }

    let dso = &raw const __dso_handle;
    // SAFETY: the destructor ignores its argument, and touches only a thread-local variable that
    // has no destructor itself. The handle keeps this code from being unloaded before it has run.
    // Without memory for the entry the call fails, and there is one sentinel less.
    let _ = unsafe { __cxa_thread_atexit_impl(destroyed, ptr::null_mut(), dso.cast()) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
#[cold]
pub(crate) fn register_sentinel() {
    struct Sentinel;
    impl Drop for Sentinel {
        fn drop(&mut self) {
            advance();
        }
    }
    thread_local!(static SENTINEL: Sentinel = const { Sentinel });
    let _ = SENTINEL.try_with(|_| ());
}

#[cfg(test)]
mod tests {
    use super::{ClosureType, next_sentinel};

    #[test]
    fn each_type_is_new_once_and_types_are_told_apart() {
        let types = [
            ClosureType::of::<u8>(),
            ClosureType::of::<u16>(),
            ClosureType::of::<fn()>(),
            ClosureType::of::<String>(),
        ];
        for (at, closure) in types.iter().enumerate() {
            assert!(!types[..at].contains(closure));
            assert!(closure.is_new() && !closure.is_new());
        }
    }

    #[test]
    fn sentinels_are_dense_at_first_and_few_in_all() {
        assert!((0..1024).all(|n| next_sentinel(n) == n + 1));
        let sentinels = core::iter::successors(Some(0), |n| Some(next_sentinel(*n)));
        assert!(sentinels.take_while(|n| *n < 1_000_000_000).count() < 5_500);
    }
}
