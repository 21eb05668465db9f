//! The configuration of handshakes that can be parked by replay.

use std::sync::Arc;

use rustls::server::ServerConnection;
use rustls::{KeyLog, ServerConfig};

use crate::error::NotReplayable;
use crate::hooks::Hook;
use crate::{pass, provider};

/// A configuration whose hooks are recorded and replayed. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ReplayConfig(Arc<Wrapped>);

#[derive(Debug)]
struct Wrapped {
    server: Arc<ServerConfig>,
    key_log: Arc<dyn KeyLog>,
    /// The ticketer has called [`waits_later`](crate::waits_later).
    waits_later: bool,
}

impl ReplayConfig {
    /// Wraps the hooks of `config`, which was built with a provider made by [`replayable`](crate::replayable).
    ///
    /// # Errors
    ///
    /// [`NotReplayable`] if the provider of `config`, or a part of it, was not made so.
    pub fn new(mut config: ServerConfig) -> Result<Self, NotReplayable> {
        provider::check(config.crypto_provider())?;
        let waits_later = pass::reaches_probe(|| {
            config.ticketer.enabled();
        });
        config.cert_resolver = Arc::new(Hook(config.cert_resolver));
        config.ticketer = Arc::new(Hook(config.ticketer));
        config.session_storage = Arc::new(Hook(config.session_storage));
        config.time_provider = Arc::new(Hook(config.time_provider));
        let key_log = Arc::clone(&config.key_log);
        config.key_log = Arc::new(Hook(config.key_log));
        Ok(Self(Arc::new(Wrapped { server: Arc::new(config), key_log, waits_later })))
    }

    /// The configuration, which also serves connections made without a [`Session`](crate::Session): its hooks and keys
    /// then answer at once.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.0.server
    }

    pub(crate) fn connection(&self) -> Result<Box<ServerConnection>, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.0.server)).map(Box::new)
    }

    pub(crate) fn key_log(&self) -> &dyn KeyLog {
        &*self.0.key_log
    }

    pub(crate) fn waits_later(&self) -> bool {
        self.0.waits_later
    }
}
