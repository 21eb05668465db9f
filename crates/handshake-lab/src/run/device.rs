//! The simulated device of a row, with the engine before it.

use std::{io, sync::Arc, time::Duration};

use crypto_ops::{CryptoOp, KeyHandle, SoftwareKeys};
use engine_core::{Accelerator as _, Driver, DriverError, Engine, EngineStats, Inline};
use lab_report::recording::Reading;
use sim_engine::{Compute as _, SimCard, SimError};

use crate::{
    assembly::{EngineSettings, sim_config},
    evidence::DeviceReport,
    scenario::{self, EngineOptions},
    server::Collect,
};

/// A running simulated device and the engine that feeds it.
#[derive(Debug)]
pub struct Device {
    name: String,
    engine: Arc<Engine<CryptoOp>>,
    card: Arc<SimCard>,
    /// Whether it depends on the number of handshakes what the device gets.
    opportunistic: bool,
    /// Keeps the deadlines, if there are any.
    _driver: Option<Driver>,
}

/// How long the driver's thread may take to end.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);

/// A device that has to be asked for its answers, with its engine.
#[derive(Debug)]
struct Collector(Arc<Engine<CryptoOp>>, Arc<SimCard>);

impl Collect for Collector {
    fn collect(&self, sessions: usize) -> Option<Duration> {
        let Self(engine, card) = self;
        card.set_active(sessions);
        engine.set_active(sessions);
        engine.poll().map(|next| next.saturating_sub(engine.now()))
    }
}

impl Device {
    /// Starts a device as a scenario describes it, with these faults and these keys. The standby of its engine is software
    /// with the same keys.
    ///
    /// # Errors
    /// When the device cannot be built so.
    pub fn start(
        device: &scenario::DeviceSpec,
        faults: &[scenario::FaultSpec],
        seed: u64,
        queue_bound: usize,
        keys: Arc<SoftwareKeys>,
        options: &EngineOptions,
    ) -> Result<Self, SimError> {
        let mut config = sim_config(device, faults, seed)?;
        let deadlines = options.deadline_ms > 0.0;
        if deadlines {
            // What is not there long after its deadline is lost.
            config.response_timeout = Some(Duration::from_secs_f64(options.deadline_ms / 500.0));
        }
        let card = SimCard::start(config, Arc::clone(&keys))?;
        let standby = Arc::new(Inline::new(move |op: &CryptoOp| keys.compute(op)));
        let engine = EngineSettings::of(options, queue_bound).build(
            Arc::clone(&card) as Arc<_>,
            Some(standby),
            None,
        );
        let driver = deadlines.then(|| engine.spawn_driver()).transpose().map_err(|error| {
            SimError::Thread(match error {
                DriverError::Thread(error) => error,
                other => io::Error::other(other),
            })
        })?;
        let opportunistic = options.offload_beyond > 0;
        Ok(Self { name: device.name.clone(), engine, card, opportunistic, _driver: driver })
    }

    /// The key `key`, whose signatures this device computes.
    pub fn signing_key(&self, key: KeyHandle) -> Arc<dyn rustls::sign::SigningKey> {
        ssl_async::offload::key_handle(Arc::clone(&self.engine), key)
    }

    /// What the engine has counted so far.
    pub fn engine(&self) -> EngineStats {
        self.engine.stats()
    }

    pub(crate) fn engine_handle(&self) -> Arc<Engine<CryptoOp>> {
        Arc::clone(&self.engine)
    }

    pub fn reading(&self) -> Reading {
        let mut reading = Reading::default();
        reading.add(&self.engine.stats(), &self.card.stats());
        reading
    }

    /// Collects the answers of a device that must be polled or that polls by the number of sessions; `None` otherwise.
    pub(crate) fn collector(&self) -> Option<Arc<dyn Collect>> {
        let wanted = self.opportunistic || self.card.capabilities().needs_poll;
        wanted.then(|| Arc::new(Collector(Arc::clone(&self.engine), Arc::clone(&self.card))) as _)
    }

    /// Waits, for at most `patience`, until no request is left, and ends the device.
    pub fn end(self, patience: Duration) -> DeviceReport {
        self.engine.close();
        // The workers that polled have ended. If no thread can be started, unfinished requests are reported as left over.
        let driver = self.card.capabilities().needs_poll.then(|| self.engine.spawn_driver());
        let quiet = self.engine.quiesce(patience);
        drop(driver);
        let elapsed = self.card.elapsed();
        let left = self.engine.stats();
        self.card.stop();
        // A wake is counted when it is made, so the count is complete when the device's thread has ended. Requests in flight
        // until then count as lost in the later snapshot: report the earlier one.
        let engine = if quiet { self.engine.stats() } else { left };
        // Joins the driver. With requests left there is nothing to wait for: the card has stopped.
        let patience = if quiet { DRIVER_PATIENCE } else { Duration::ZERO };
        let _threads_ended = self.engine.shutdown_blocking(patience);
        DeviceReport { name: self.name, engine, card: self.card.stats(), elapsed, quiet }
    }
}
