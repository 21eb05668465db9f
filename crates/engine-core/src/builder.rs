//! How an engine is put together.

use core::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::accelerator::{Accelerator, Attached, RoomNotice};
use crate::breaker::{Breaker, BreakerPolicy};
use crate::clock::{Clock, MonotonicClock};
use crate::device::Device;
use crate::device_queue::DeviceQueue;
use crate::engine::Engine;
use crate::id::Role;
use crate::inner::EngineInner;
use crate::meter::Meter;
use crate::options::{Offload, OnFull, RequestOptions};
use crate::waker::DriverWaker;
use crate::work::Work;

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

impl CheckPolicy {
    fn checks_all_of<W: Work>(self, device: &dyn Accelerator<W>) -> bool {
        match self {
            Self::Auto => device.capabilities().completion_thread,
            Self::Always => true,
            Self::Required => false,
        }
    }
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
    pub(crate) fn new(device: Arc<dyn Accelerator<W>>) -> Self {
        Self {
            device,
            standby: None,
            clock: Arc::new(MonotonicClock::new()),
            queue_bound: DEFAULT_QUEUE_BOUND,
            checks: CheckPolicy::Auto,
            options: RequestOptions::new(),
            on_full: OnFull::Queue,
            breaker: None,
            offload: Offload::Always,
        }
    }

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

    /// Submits nothing to a failing device for a while. No breaker by default.
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
            let check_all = self.checks.checks_all_of(&*device);
            let device = Device::new(device, &meter);
            let (meter, waker) = (Arc::clone(&meter), waker.clone());
            DeviceQueue::new(role, device, on_full, self.queue_bound, check_all, meter, waker)
        };
        let device = queue(Role::Device, self.device, self.on_full);
        // A request that falls back has no owner who could be woken to submit it.
        let standby = self.standby.map(|standby| queue(Role::Standby, standby, OnFull::Queue));
        let breaker = self.breaker.map(Breaker::new);
        let inner =
            EngineInner::new(Arc::clone(&meter), waker, device, standby, breaker, self.offload);
        for queue in inner.queues() {
            let (engine, role) = (Weak::clone(&inner.this), queue.role());
            queue.device.get().attach(RoomNotice::new(AttachedEngine { engine, role }));
        }
        Arc::new(Engine::new(inner, self.options))
    }
}

impl<W: Work> Engine<W> {
    /// Starts to build an engine over `device`.
    pub fn builder(device: Arc<dyn Accelerator<W>>) -> EngineBuilder<W> {
        EngineBuilder::new(device)
    }
}

/// An engine, as one of its devices refers to it.
struct AttachedEngine<W: Work> {
    engine: Weak<EngineInner<W>>,
    role: Role,
}

impl<W: Work> Attached for AttachedEngine<W> {
    fn announce(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.handle_room(self.role);
        }
    }

    fn is_open(&self) -> bool {
        self.engine.upgrade().is_some_and(|engine| !engine.closed.load(Ordering::Acquire))
    }
}

/// A few times the largest ring that a device offers, small enough that its memory does not matter.
const DEFAULT_QUEUE_BOUND: usize = 4096;
