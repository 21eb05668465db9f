//! The inside of an engine: its devices with their queues, its requests, its breaker, its counters.
//!
//! One request in order: [`submit`](crate::submit) picks the device, its [queue](crate::device_queue) holds the
//! [backlog](crate::backlog), the device completes the [request](crate::request), [`settle`](crate::settle) stores the
//! result and wakes the caller. [`timekeeping`](crate::timekeeping) polls all of it; [`shutdown`](crate::shutdown) ends it.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

use crate::attempts::Pauses;
use crate::device_queue::DeviceQueue;
use crate::error::DeviceError;
use crate::meter::Meter;
use crate::options::{Fallback, Offload, RequestOptions};
use crate::registry::Registry;
use crate::state::RequestState;
use crate::sync::lock;
use crate::threads::BlockingScope;
use crate::waker::DriverWaker;
use crate::work::{Role, Work};

pub(crate) struct EngineInner<W: Work> {
    pub(crate) this: Weak<Self>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) waker: DriverWaker,
    pub(crate) device: DeviceQueue<W>,
    pub(crate) standby: Option<DeviceQueue<W>>,
    pub(crate) pauses: Pauses,
    /// Requests without an outcome.
    pub(crate) registry: Mutex<Registry<Weak<RequestState<W>>>>,
    /// Signalled when the registry of a closed engine is empty.
    pub(crate) emptied: Condvar,
    /// A device has a thread of its own for completions.
    pub(crate) relies_on_threads: bool,
    pub(crate) offload: Offload,
    /// Handshakes of the application, as it reports them.
    pub(crate) active: AtomicUsize,
    pub(crate) next_id: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// The result that a planted bug gives to the next request.
    #[cfg(feature = "plant")]
    pub(crate) held_back: Mutex<Option<W::Output>>,
}

impl<W: Work> EngineInner<W> {
    #[inline]
    pub(crate) fn queue(&self, role: Role) -> &DeviceQueue<W> {
        match role {
            Role::Device => &self.device,
            Role::Standby => self.standby.as_ref().expect("only an engine with a standby uses it"),
        }
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = &DeviceQueue<W>> {
        core::iter::once(&self.device).chain(&self.standby)
    }

    /// Whether a request with these options may go to the standby.
    pub(crate) fn may_fall_back(&self, options: RequestOptions) -> bool {
        self.standby.is_some() && options.fallback == Fallback::Standby
    }

    /// How a thread in no job waits for an answer, which may come from either device.
    pub(crate) fn blocking(&self) -> Result<Option<BlockingScope>, DeviceError> {
        let mut scope = None;
        for queue in self.queues() {
            scope = scope.or(queue.device.blocking()?);
        }
        Ok(scope)
    }

    /// Whether the engine relies on threads, and this is a child made by `fork`, where they are not.
    pub(crate) fn is_elsewhere(&self) -> bool {
        (self.relies_on_threads || self.waker.is_attached()) && !self.waker.home().is_here()
    }

    /// Registers a request. False if the engine is closed.
    pub(crate) fn register(&self, state: &Arc<RequestState<W>>) -> bool {
        let deadline = state.options.deadline.map(|deadline| self.meter.after(deadline));
        {
            let mut registry = self.registry();
            // Under the lock: a shutdown that has found the registry empty is not followed by a request.
            if self.closed.load(Ordering::Acquire) {
                return false;
            }
            state.set_registry_key(registry.insert(Arc::downgrade(state), deadline));
        }
        if let Some(deadline) = deadline {
            self.waker.wake_at(deadline);
        }
        true
    }

    #[inline]
    pub(crate) fn deregister(&self, state: &RequestState<W>) {
        let Some(key) = state.take_registry_key() else { return };
        let mut registry = self.registry();
        registry.remove(key);
        if registry.len() == 0 && self.closed.load(Ordering::Acquire) {
            self.emptied.notify_all();
        }
    }

    pub(crate) fn under_way(&self) -> Vec<Arc<RequestState<W>>> {
        self.registry().iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry<Weak<RequestState<W>>>> {
        lock(&self.registry)
    }
}

impl<W: Work> Drop for EngineInner<W> {
    fn drop(&mut self) {
        self.waker.let_go();
    }
}
