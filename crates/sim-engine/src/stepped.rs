//! The card in anybody's time: it moves only when it is polled, by a clock that may be simulated.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_ops::CryptoOp;
use engine_core::{Accelerator, Capabilities, Clock, Rejected, Request, Work};
use sim_device::{Completion, Instance, InstanceStats};

use crate::card::{Alarm, Card};
use crate::compute::Compute;
use crate::config::SimConfig;
use crate::error::SimError;

/// A simulated card without a thread: [`Engine::poll`](engine_core::Engine::poll) steps it, and its completions run in
/// there.
///
/// Give the engine the same clock.
pub struct SteppedCard<W: Work = CryptoOp> {
    card: Card<W>,
    clock: Arc<dyn Clock>,
    /// Kept between polls so that a poll allocates nothing. Taken out while in use, for a completion may poll again.
    batch: Mutex<Vec<Completion<Request<W>>>>,
}

impl<W: Work> SteppedCard<W> {
    /// Builds the card. `compute` computes its results, as [`SoftwareKeys`](crate::SoftwareKeys) do with real keys;
    /// `clock` says when a request is submitted.
    ///
    /// # Errors
    ///
    /// [`SimError::Config`] if the device cannot be built so.
    pub fn new(
        config: SimConfig,
        compute: Arc<impl Compute<Work = W> + 'static>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SimError> {
        let card = Card::new(config, compute)?;
        Ok(Arc::new(Self { card, clock, batch: Mutex::default() }))
    }

    /// What the device has counted.
    pub fn stats(&self) -> InstanceStats {
        self.card.stats()
    }

    /// The simulated instance itself: to let faults strike, to reset it, to read its trace.
    ///
    /// Take no request out of it in there: the card is locked meanwhile, and a request that ends calls on the card.
    pub fn with_instance<R>(&self, look: impl FnOnce(&mut Instance<Request<W>>) -> R) -> R {
        self.card.with_instance(look)
    }
}

impl<W: Work> core::fmt::Debug for SteppedCard<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SteppedCard").field("card", &self.card).finish_non_exhaustive()
    }
}

impl<W: Work> Accelerator<W> for SteppedCard<W> {
    fn submit(&self, request: Request<W>) -> Result<(), Rejected<W>> {
        // Whoever polls asks for the next deadline anew: no doorbell.
        self.card.submit(self.clock.now(), request).map(drop)
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        let lock = || self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = core::mem::take(&mut *lock());
        let next = loop {
            match self.card.service(now, &mut batch) {
                Alarm::Now => {}
                Alarm::At(at) if at <= now => {}
                Alarm::At(at) => break Some(at),
                Alarm::Never => break None,
            }
        };
        *lock() = batch;
        next
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: false, needs_poll: true }
    }
}
