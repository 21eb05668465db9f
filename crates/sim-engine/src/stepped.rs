//! The card in anybody's time: it moves only when it is polled, by a clock that may be simulated.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, Capabilities, Clock, Rejected, Request};
use sim_device::{Completion, InstanceStats};

use crate::card::{Alarm, Card};
use crate::config::SimConfig;
use crate::error::SimError;

/// A simulated card without a thread: [`Engine::poll`](engine_core::Engine::poll) steps it, and its completions run in
/// there.
///
/// Give the engine the same clock.
#[derive(Debug)]
pub struct SteppedCard {
    card: Card,
    clock: Arc<dyn Clock>,
    /// Kept between polls so that a poll allocates nothing. Taken out while in use, for a completion may poll again.
    batch: Mutex<Vec<Completion<Request<CryptoOp>>>>,
}

impl SteppedCard {
    /// Builds the card. `keys` are the private keys inside it; `clock` says when a request is submitted.
    ///
    /// # Errors
    ///
    /// [`SimError::Config`] if the device cannot be built so.
    pub fn new(
        config: SimConfig,
        keys: Arc<SoftwareKeys>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SimError> {
        let card = Card::new(config, keys)?;
        Ok(Arc::new(Self { card, clock, batch: Mutex::default() }))
    }

    /// What the device has counted.
    pub fn stats(&self) -> InstanceStats {
        self.card.stats()
    }
}

impl Accelerator<CryptoOp> for SteppedCard {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), Rejected<CryptoOp>> {
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
