//! The card without a thread: it moves only when it is polled, by a clock that may be simulated.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_ops::CryptoOp;
use engine_core::{
    Accelerator, Capabilities, Clock, DeviceRefused, Health, Kind, Request, RoomNotice, Work,
};
use sim_device::{Fault, InstanceStats, TraceRecord};

use crate::card::Card;
use crate::compute::Compute;
use crate::config::{SimConfig, SimError};
use crate::hardware::{Alarm, Batch};
use crate::polling::Poller;

/// A simulated card without a thread: [`Engine::poll`](engine_core::Engine::poll) steps it, and its completions run in
/// that call.
///
/// Give the engine the same clock. The same configuration and the same submissions at the same times give the same
/// events.
pub struct SteppedCard<W: Work = CryptoOp> {
    card: Card<W>,
    /// Kept between polls to save allocations. Taken out while in use: a completion may poll again.
    batch: Mutex<Batch<W>>,
}

impl<W: Work> SteppedCard<W> {
    /// Builds the card. `compute` computes its results, as [`SoftwareKeys`](crate::SoftwareKeys) do with real keys; `clock`
    /// is read when a request is submitted.
    ///
    /// # Errors
    ///
    /// [`SimError::Config`] if the device cannot be built so.
    pub fn new(
        config: SimConfig,
        compute: Arc<impl Compute<Work = W> + 'static>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SimError> {
        let poller = Poller::new(config.polling);
        let card = Card::new(config, compute, poller, clock)?;
        Ok(Arc::new(Self { card, batch: Mutex::default() }))
    }

    /// The device's statistics, summed over all instances.
    pub fn stats(&self) -> InstanceStats {
        self.card.stats()
    }

    /// What each instance has counted.
    pub fn instance_stats(&self) -> Vec<InstanceStats> {
        self.card.hardware().stats()
    }

    /// Reports how many connections the application has, for [`Polling::Heuristic`](crate::Polling::Heuristic).
    pub fn set_active(&self, connections: usize) {
        self.card.active.store(connections, Ordering::Relaxed);
    }

    /// Injects a fault into every instance, regardless of rules and budgets.
    pub fn inject(&self, fault: Fault) {
        self.card.inject(fault);
    }

    /// Appends the events since the last call to `into`, instance by instance, each with the position of its instance and in
    /// order. Equal runs give equal text;
    /// it holds no payload. Nothing unless [`SimConfig::trace`](crate::SimConfig::trace) is on.
    pub fn drain_trace(&self, into: &mut Vec<(usize, TraceRecord)>) {
        self.card.hardware().drain_trace(into);
    }
}

impl<W: Work> core::fmt::Debug for SteppedCard<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SteppedCard").field("card", &self.card).finish_non_exhaustive()
    }
}

impl<W: Work> Accelerator<W> for SteppedCard<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        // No doorbell: each poll computes the next deadline.
        self.card.submit(request).0
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        let lock = || self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = core::mem::take(&mut *lock());
        let next = loop {
            let done = |(request, answer): crate::card::Answered<W>| request.complete(answer);
            match self.card.service(now, &mut batch, done) {
                Alarm::Now => {}
                Alarm::At(at) if at <= now => {}
                Alarm::At(at) => break Some(at),
                Alarm::Never => break None,
            }
        };
        *lock() = batch;
        next
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        self.card.credits(kind)
    }

    fn health(&self, _: Duration) -> Health {
        self.card.health()
    }

    fn attach(&self, room: RoomNotice) {
        self.card.attach(room);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: false, needs_poll: true }
    }
}
