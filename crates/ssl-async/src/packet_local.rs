//! Thread-local values for the hooks of the packet that a thread processes.

use core::cell::RefCell;
use std::thread::LocalKey;

use job_core::JobId;

/// Runs `packet` with `value` in `local`, and restores the value before it, also after a panic: a hook of another packet may
/// run this one.
pub(crate) fn during<T, R>(
    local: &'static LocalKey<RefCell<T>>,
    value: T,
    packet: impl FnOnce() -> R,
) -> R {
    struct Restore<T: 'static>(&'static LocalKey<RefCell<T>>, Option<T>);
    impl<T> Drop for Restore<T> {
        fn drop(&mut self) {
            if let Some(before) = self.1.take() {
                self.0.set(before);
            }
        }
    }
    let _restore = Restore(local, Some(local.replace(value)));
    packet()
}

/// A value for the hooks of a packet. A hook in another job is another session's, on a fiber, and does not get it.
pub(crate) struct OfPacket<T> {
    /// The job that the packet runs in, if any.
    job: Option<JobId>,
    value: T,
}

impl<T> OfPacket<T> {
    /// For a packet that begins here.
    pub(crate) fn new(value: T) -> Self {
        Self { job: current_job(), value }
    }

    /// The value, if a hook of the packet calls this.
    pub(crate) fn get(&self) -> Option<&T> {
        (self.job == current_job()).then_some(&self.value)
    }

    /// As [`get`](Self::get), to change it.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        (self.job == current_job()).then_some(&mut self.value)
    }
}

fn current_job() -> Option<JobId> {
    job_core::current().map(|job| job.id())
}
