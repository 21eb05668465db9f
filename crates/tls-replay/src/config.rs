//! The configuration of handshakes that can be parked by replay.

use std::sync::Arc;

use rustls::server::ServerConnection;
use rustls::{KeyLog, ServerConfig};

use crate::error::NotReplayable;
use crate::hooks::Hook;
use crate::provider;

/// A hook that waits for something else before it answers, but where replay cannot park: rustls calls it when bytes
/// have already been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitingHook {
    /// The verifier of client certificates.
    ClientVerifier,
    /// The ticketer, when it seals. Opening tickets may wait.
    TicketSealing,
}

/// A configuration whose hooks are recorded and replayed. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    server: Arc<ServerConfig>,
    key_log: Arc<dyn KeyLog>,
}

impl ReplayConfig {
    /// Wraps the hooks of `config`, which was built with a provider made by [`replayable`](crate::replayable).
    ///
    /// # Errors
    ///
    /// [`NotReplayable`] if the provider of `config`, or a part of it, was not made so.
    pub fn new(config: ServerConfig) -> Result<Self, NotReplayable> {
        Self::with_waiting_hooks(config, &[])
    }

    /// As [`new`](Self::new), for a configuration with hooks of which the caller knows that they wait.
    ///
    /// # Errors
    ///
    /// [`NotReplayable`] also if one of `waiting` would be called, so that such a handshake needs a fiber. A group that
    /// waits is no reason: in TLS 1.3 it may, and in TLS 1.2 [`Session::hear`](crate::Session::hear) says so.
    pub fn with_waiting_hooks(
        mut config: ServerConfig,
        waiting: &[WaitingHook],
    ) -> Result<Self, NotReplayable> {
        provider::check(config.crypto_provider())?;
        for hook in waiting {
            match hook {
                WaitingHook::ClientVerifier => return Err(NotReplayable::ClientVerifier),
                WaitingHook::TicketSealing if config.ticketer.enabled() => {
                    return Err(NotReplayable::TicketSealing);
                }
                WaitingHook::TicketSealing => {}
            }
        }
        config.cert_resolver = Arc::new(Hook(config.cert_resolver));
        config.ticketer = Arc::new(Hook(config.ticketer));
        config.session_storage = Arc::new(Hook(config.session_storage));
        config.time_provider = Arc::new(Hook(config.time_provider));
        let key_log = Arc::clone(&config.key_log);
        config.key_log = Arc::new(Hook(config.key_log));
        Ok(Self { server: Arc::new(config), key_log })
    }

    /// The configuration, which also serves connections made without a [`Session`](crate::Session): its hooks and keys
    /// then answer at once.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    pub(crate) fn connection(&self) -> Result<Box<ServerConnection>, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.server)).map(Box::new)
    }

    pub(crate) fn key_log(&self) -> &dyn KeyLog {
        &*self.key_log
    }
}
