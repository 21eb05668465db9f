//! Key exchange by an engine: how it is found.

use core::fmt;
use std::sync::Arc;

use crypto_ops::CryptoOp;
use engine_core::Engine;

use crate::context::Settings;

/// The engine for a session's key exchanges, if it has one.
///
/// rustls holds key-exchange groups as `&'static`, so they cannot hold an engine. They find it in the job that they
/// are called in.
#[derive(Clone)]
pub(crate) struct KeyExchange(Option<Arc<Engine<CryptoOp>>>);

impl KeyExchange {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self(settings.key_exchange.clone())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn by(engine: Arc<Engine<CryptoOp>>) -> Self {
        Self(Some(engine))
    }

    /// Runs `work` with this engine in the current job. Without an engine or a job, `work` is simply called.
    pub(crate) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let job = if self.0.is_some() { job_core::current() } else { None };
        let Some(job) = job else { return work() };
        let before = job.set_local(self);
        let result = work();
        // The job may be another session's: a session called within a hook must not change what that one finds.
        job.set_local(before.map_or(Self(None), |before| Self::clone(&before)));
        result
    }

    /// The engine to use here and now.
    pub(crate) fn current() -> Option<Arc<Engine<CryptoOp>>> {
        job_core::current()?.local::<Self>()?.0.clone()
    }
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyExchange").field(&self.0).finish()
    }
}
