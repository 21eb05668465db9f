//! A count that threads and tasks can wait on to become zero.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The number of [`ActiveGuard`]s that exist.
///
/// The count is atomic and not under the lock: guards are also dropped in a child made by `fork`, where another thread's
/// lock would never be released.
#[derive(Default)]
pub(crate) struct ActiveCount {
    count: AtomicUsize,
    /// Set by the first waiter. Until then a count that becomes zero takes no lock.
    awaited: AtomicBool,
    lock: Mutex<()>,
    zero: Condvar,
    zero_for_tasks: Notify,
}

/// Counts as one until it is dropped.
pub(crate) struct ActiveGuard(Arc<ActiveCount>);

impl ActiveCount {
    pub(crate) fn get(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn begin(self: &Arc<Self>) -> ActiveGuard {
        self.count.fetch_add(1, Ordering::SeqCst);
        ActiveGuard(Arc::clone(self))
    }

    /// Counts one more, or returns `None` when there are `limit`.
    pub(crate) fn begin_below(self: &Arc<Self>, limit: usize) -> Option<ActiveGuard> {
        let more = |now| (now < limit).then_some(now + 1);
        self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(ActiveGuard(Arc::clone(self)))
    }

    /// Blocks until the count is zero or the time is `end`; `None` never comes. Returns the count.
    pub(crate) fn wait_zero(&self, end: Option<Instant>) -> usize {
        const A_DAY: Duration = Duration::from_secs(86_400);
        self.awaited.store(true, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            let left = end.map_or(A_DAY, |end| end.saturating_duration_since(now).min(A_DAY));
            let count = self.get();
            if count == 0 || left.is_zero() {
                return count;
            }
            guard = self.zero.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the count is zero.
    pub(crate) async fn zero(&self) {
        self.awaited.store(true, Ordering::SeqCst);
        loop {
            let mut zero = core::pin::pin!(self.zero_for_tasks.notified());
            // Registered before the count is read, so that no notification is lost in between.
            zero.as_mut().enable();
            if self.get() == 0 {
                return;
            }
            zero.await;
        }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        let count = &*self.0;
        // Sequentially consistent: either this reads `awaited`, or the waiter reads the zero.
        if count.count.fetch_sub(1, Ordering::SeqCst) == 1 && count.awaited.load(Ordering::SeqCst) {
            drop(count.lock.lock().unwrap_or_else(PoisonError::into_inner));
            count.zero.notify_all();
            count.zero_for_tasks.notify_waiters();
        }
    }
}
