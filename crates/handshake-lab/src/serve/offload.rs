//! Where the key of a server is used, while it runs.

use std::{sync::Arc, thread, time::Duration};

use crypto_ops::{CryptoOp, KeyHandle, SoftwareKeys};
use engine_core::{DeviceError, Engine, EngineStats, ThreadPoolBuilder};
use rustls::sign::SigningKey;
use ssl_async::offload::SigningWork;

use super::token::OpenToken;
use crate::run::Device;

/// Threads that may block, with a key each of them can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    pub threads: usize,
    /// Operations that wait before them; more wait in the engine, first come first served.
    pub ring: usize,
    /// A thread blocks for so long before it signs, as it would in the library of a token or in a call to a remote
    /// service. Zero for a key that only has to be computed with.
    pub latency: Duration,
}

/// What signs for a server outside its workers.
#[derive(Debug)]
pub(super) enum Offload {
    Sim(Device),
    Threads(Arc<Engine<CryptoOp>>),
    Token(OpenToken),
}

/// An engine whose counters are told.
#[derive(Debug, Clone)]
pub(super) enum Watched {
    Operations(Arc<Engine<CryptoOp>>),
    Signatures(Arc<Engine<SigningWork>>),
}

impl Watched {
    pub(super) fn stats(&self) -> EngineStats {
        match self {
            Self::Operations(engine) => engine.stats(),
            Self::Signatures(engine) => engine.stats(),
        }
    }
}

impl Offload {
    /// Threads that have these keys.
    pub(super) fn threads(plan: &Threads, queue_bound: usize, keys: Arc<SoftwareKeys>) -> Self {
        let latency = plan.latency;
        let pool = ThreadPoolBuilder::new().name("signers").threads(plan.threads).ring(plan.ring);
        let pool = pool.build(move |op: &CryptoOp| {
            if !latency.is_zero() {
                thread::sleep(latency);
            }
            keys.execute(op).map_err(|error| {
                tracing::debug!(%error, "signers.failed");
                DeviceError::Failed("the key store could not do the operation")
            })
        });
        Self::Threads(Engine::builder(Arc::new(pool)).queue_bound(queue_bound).build())
    }

    pub(super) fn engine(&self) -> Watched {
        match self {
            Self::Sim(device) => Watched::Operations(device.engine_handle()),
            Self::Threads(engine) => Watched::Operations(Arc::clone(engine)),
            Self::Token(token) => Watched::Signatures(Arc::clone(token.token().pool().engine())),
        }
    }

    pub(super) fn signing_key(&self, key: KeyHandle) -> Arc<dyn SigningKey> {
        match self {
            Self::Sim(device) => device.signing_key(key),
            Self::Threads(engine) => ssl_async::offload::key_handle(Arc::clone(engine), key),
            Self::Token(_) => unreachable!("a token has its own keys, without handles"),
        }
    }

    /// Waits, for at most `patience`, until no request is left, and ends. Also returns whether a call of a token's module has
    /// not returned.
    pub(super) fn end(self, patience: Duration) -> (EngineStats, bool) {
        match self {
            Self::Sim(device) => (device.end(patience).engine, false),
            Self::Token(token) => token.end(),
            Self::Threads(engine) => {
                // Said in the log if a signer has not returned.
                let _ended = engine.shutdown_blocking(patience);
                (engine.stats(), false)
            }
        }
    }
}
