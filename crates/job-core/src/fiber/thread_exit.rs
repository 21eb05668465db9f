//! Thread exit: tells which jobs may have borrowed a thread-local variable that is gone.
//!
//! When a thread ends, the destructors of its thread-local variables run newest first, in the
//! order opposite to that in which the variables were initialised. A paused job that is kept in one
//! of them (the holder) may be in the middle of `LocalKey::with` of another. If that other one is
//! newer than the holder it is destroyed before it, and switching to the job would let it use freed
//! memory.
//!
//! So this module registers *marks*: destructors that do nothing but advance the thread's *epoch*.
//! A job remembers the epoch in which it started and is switched to in that epoch only. A mark that
//! is newer than the holder is destroyed before it, so the epoch has advanced by the time the
//! holder's destructor cancels or resumes the job. If no mark is newer than the holder, what was
//! destroyed before it is newer than every mark, too; the only jobs that can have borrowed it
//! paused after the last mark was registered.
//!
//! Marks are registered after a pause. Registering takes a lock of the dynamic loader, and a mark
//! takes 48 bytes until the thread ends, so not every pause has one. These have: the first 1,024 of
//! a thread; later ones when their number has grown by another 256th; and the first pause in a pool
//! after a job of a new kind was started there, that is, one whose closure is of a type that is new
//! to the thread (up to 32 of them). What is missed, then: a job that paused inside `with` of a variable,
//! if neither that variable nor the holder of the job was in use at the latest of these pauses. A
//! start in the middle of thread exit also registers a mark: such a job may be resumed until the
//! destructor that started it returns.
//!
//! Off GNU/Linux there is one mark for each thread, registered after its first pause.

use core::any::TypeId;
use core::cell::Cell;
use core::hash::{Hash as _, Hasher};

thread_local! {
    /// How many marks of this thread were destroyed. 0 until the thread ends.
    static EPOCH: Cell<u32> = const { Cell::new(0) };
    /// The kinds of jobs that have started on this thread, then [`Kind::NONE`].
    static KINDS: [Cell<Kind>; MAX_KINDS] = const { [const { Cell::new(Kind::NONE) }; MAX_KINDS] };
    /// When to register the next mark.
    static SCHEDULE: Cell<Schedule> = const { Cell::new(Schedule { asked: 0, next: 0 }) };
}

/// Counts occasions to register a mark, and says at which of them to do it.
#[derive(Clone, Copy)]
struct Schedule {
    asked: u64,
    next: u64,
}

/// How many kinds of jobs a thread tells apart.
const MAX_KINDS: usize = 32;

/// A kind of job: a number for the type of its closure. Two types may have the same one, but hardly
/// ever do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u64);

impl Kind {
    /// No job is of this kind.
    pub(crate) const NONE: Self = Self(0);

    /// The kind of jobs that run an `F`. Computed by the compiler.
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

    /// Whether this is the first job of its kind on this thread.
    #[cold]
    pub(crate) fn is_new(self) -> bool {
        let is_it_or_free = |known: &&Cell<Self>| [self, Self::NONE].contains(&known.get());
        KINDS.with(|kinds| {
            let known = kinds.iter().find(is_it_or_free);
            known.is_some_and(|known| known.replace(self) == Self::NONE)
        })
    }
}

/// The occasion after the `n`th at which to register a mark: the next one at first, later when `n`
/// has grown by a 256th. A billion occasions get fewer than 5,500 marks.
pub(crate) fn next_mark(n: u64) -> u64 {
    n + 1 + n.saturating_sub(1024) / 256
}

/// The epoch of this thread.
#[inline]
pub(crate) fn epoch() -> u32 {
    EPOCH.get()
}

/// An occasion to register a mark: a job of this thread has paused. It is news if it may be the
/// first of its kind.
#[cold]
pub(crate) fn mark_if_due(is_news: bool) {
    let mut schedule = SCHEDULE.get();
    let is_due = is_news || schedule.asked >= schedule.next;
    if is_due {
        schedule.next = next_mark(schedule.asked);
    }
    schedule.asked += 1;
    SCHEDULE.set(schedule);
    if is_due {
        mark();
    }
}

/// Registers a mark for a job that starts while the thread ends.
#[cold]
pub(crate) fn mark_in_exit() {
    mark();
}

fn advance() {
    EPOCH.set(EPOCH.get().wrapping_add(1));
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn mark() {
    use core::ffi::{c_int, c_void};
    use core::ptr;

    unsafe extern "C" {
        /// What the destructors of `thread_local!` are registered with, too (glibc 2.18 and later).
        fn __cxa_thread_atexit_impl(
            destructor: unsafe extern "C" fn(*mut c_void),
            object: *mut c_void,
            dso: *const c_void,
        ) -> c_int;
        /// Names the program or library that this code is linked into.
        static __dso_handle: u8;
    }

    unsafe extern "C" fn destroyed(_: *mut c_void) {
        advance();
    }

    let dso = &raw const __dso_handle;
    // SAFETY: the destructor ignores its argument, and touches only a thread-local variable that
    // has no destructor itself. The handle keeps this code from being unloaded before it has run.
    // Without memory for the entry the call fails and there is one mark less.
    let _ = unsafe { __cxa_thread_atexit_impl(destroyed, ptr::null_mut(), dso.cast()) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn mark() {
    struct Mark;
    impl Drop for Mark {
        fn drop(&mut self) {
            advance();
        }
    }
    thread_local!(static MARK: Mark = const { Mark });
    let _ = MARK.try_with(|_| ());
}

#[cfg(test)]
mod tests {
    use super::{Kind, next_mark};

    #[test]
    fn each_kind_is_new_once_and_others_are_told_apart() {
        let kinds = [Kind::of::<u8>(), Kind::of::<u16>(), Kind::of::<fn()>(), Kind::of::<String>()];
        for (at, kind) in kinds.iter().enumerate() {
            assert!(!kinds[..at].contains(kind));
            assert!(kind.is_new() && !kind.is_new());
        }
    }

    #[test]
    fn marks_are_dense_at_first_and_few_in_all() {
        assert!((0..1024).all(|n| next_mark(n) == n + 1));
        let marks = core::iter::successors(Some(0), |n| Some(next_mark(*n)));
        assert!(marks.take_while(|n| *n < 1_000_000_000).count() < 5_500);
    }
}
