//! How an engine is put together.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, Weak};

use crate::accelerator::{Accelerator, RoomNotice};
use crate::attempts::Pauses;
use crate::breaker::{Breaker, BreakerPolicy};
use crate::clock::{Clock, MonotonicClock};
use crate::device::Device;
use crate::device_queue::DeviceQueue;
use crate::engine::Engine;
use crate::inner::EngineInner;
use crate::meter::Meter;
use crate::options::{Offload, OnFull, RequestOptions};
use crate::registry::Registry;
use crate::waker::DriverWaker;
use crate::work::{Role, Work};

/// Which results are checked before they leave the engine. Work that
/// [must be checked](Work::must_check) always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckPolicy {
    /// Every result of a device whose completions run on a thread of its own, else only what must be: there, a check
    /// costs the serving thread as much as a whole handshake.
    #[default]
    Auto,
    /// Every result.
    Always,
    /// Only what must be checked.
    Required,
}

/// Builds an [`Engine`].
#[derive(Debug)]
#[must_use]
pub struct EngineBuilder<W: Work> {
    device: Arc<dyn Accelerator<W>>,
    standby: Option<Arc<dyn Accelerator<W>>>,
    clock: Arc<dyn Clock>,
    queue_bound: usize,
    checks: CheckPolicy,
    options: RequestOptions,
    on_full: OnFull,
    breaker: Option<BreakerPolicy>,
    offload: Offload,
}

impl<W: Work> EngineBuilder<W> {
    /// How many requests of each kind may wait for a free ring entry; the next one is refused. 4,096 by default, zero
    /// for none.
    pub fn queue_bound(mut self, requests: usize) -> Self {
        self.queue_bound = requests;
        self
    }

    /// Which results are checked. [`CheckPolicy::Auto`] by default.
    pub fn checks(mut self, policy: CheckPolicy) -> Self {
        self.checks = policy;
        self
    }

    /// The clock to read. The machine's monotonic clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How operations are carried out. No deadline and no fallback by default.
    pub fn options(mut self, options: RequestOptions) -> Self {
        self.options = options;
        self
    }

    /// The device for operations that the first one does not carry out, if their options allow it: software, or another
    /// device. None by default.
    pub fn standby(mut self, standby: Arc<dyn Accelerator<W>>) -> Self {
        self.standby = Some(standby);
        self
    }

    /// What happens to an operation that finds the ring full. [`OnFull::Queue`] by default.
    pub fn on_full(mut self, policy: OnFull) -> Self {
        self.on_full = policy;
        self
    }

    /// Submits nothing to a failing device for a while, and nothing to a failing standby: each has a breaker of its own, by
    /// this policy. While both are open, operations are refused. No breaker by default.
    pub fn breaker(mut self, policy: BreakerPolicy) -> Self {
        self.breaker = Some(policy);
        self
    }

    /// Which operations go to the standby although the device works. None by default.
    pub fn offload(mut self, policy: Offload) -> Self {
        self.offload = policy;
        self
    }

    /// Builds the engine.
    pub fn build(self) -> Arc<Engine<W>> {
        let (meter, waker) = (Arc::new(Meter::new(self.clock)), DriverWaker::new());
        let queue = |role, device: Arc<dyn Accelerator<W>>, on_full| {
            let check_all = match self.checks {
                CheckPolicy::Auto => device.capabilities().completion_thread,
                CheckPolicy::Always => true,
                CheckPolicy::Required => false,
            };
            let device = Device::new(device, &meter);
            let breaker = self.breaker.map(Breaker::new);
            let shared = (Arc::clone(&meter), waker.clone());
            DeviceQueue::new(role, device, on_full, self.queue_bound, check_all, breaker, shared)
        };
        let device = queue(Role::Device, self.device, self.on_full);
        // A request that falls back has no owner who could be woken to submit it.
        let standby = self.standby.map(|standby| queue(Role::Standby, standby, OnFull::Queue));
        let on_thread =
            |queue: &DeviceQueue<W>| queue.device.get().capabilities().completion_thread;
        let relies_on_threads = on_thread(&device) || standby.as_ref().is_some_and(on_thread);
        let inner = Arc::new_cyclic(|this| EngineInner {
            this: Weak::clone(this),
            meter: Arc::clone(&meter),
            waker: waker.clone(),
            device,
            standby,
            pauses: Pauses::default(),
            registry: Mutex::new(Registry::new()),
            emptied: Condvar::new(),
            relies_on_threads,
            offload: self.offload,
            active: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            #[cfg(feature = "plant")]
            held_back: Mutex::new(None),
        });
        for queue in inner.queues() {
            let engine: Weak<EngineInner<W>> = Weak::clone(&inner.this);
            queue.device.get().attach(RoomNotice { engine, role: queue.role() });
        }
        Arc::new(Engine { inner, options: self.options })
    }
}

impl<W: Work> Engine<W> {
    /// Starts to build an engine over `device`.
    pub fn builder(device: Arc<dyn Accelerator<W>>) -> EngineBuilder<W> {
        EngineBuilder {
            device,
            standby: None,
            clock: Arc::new(MonotonicClock::new()),
            // A few times the largest ring that a device offers, small enough that its memory does not matter.
            queue_bound: 4096,
            checks: CheckPolicy::Auto,
            options: RequestOptions::new(),
            on_full: OnFull::Queue,
            breaker: None,
            offload: Offload::Always,
        }
    }
}
