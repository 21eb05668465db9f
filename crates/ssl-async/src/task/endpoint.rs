//! What a server's side and a client's have in common: a configuration, and the terms of its handshakes.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crypto_ops::CryptoOp;
use engine_core::Engine;

use crate::rustls23::{ClientConfig, KeyExchange, ServerConfig};
use crate::task::handshake::Terms;
use crate::task::shards::Shards;

/// Makes TLS streams of one rustls configuration `C` on a task: a [`TlsAcceptor`], or a [`TlsConnector`]. Cheap to clone,
/// `Send` and `Sync`.
pub struct TlsEndpoint<C> {
    config: Arc<C>,
    terms: Terms,
}

/// Accepts TLS connections on a task. Cheap to clone, and made from an ordinary rustls configuration.
///
/// See [the module](super) for an example.
pub type TlsAcceptor = TlsEndpoint<ServerConfig>;

/// Makes TLS connections on a task. Cheap to clone, and made from an ordinary rustls configuration.
///
/// Worth its while for a client whose own key is slow, or whose verdict on the server is an `async fn`
/// ([`verify::server_certificate`](crate::verify::server_certificate)).
pub type TlsConnector = TlsEndpoint<ClientConfig>;

impl<C> From<Arc<C>> for TlsEndpoint<C> {
    /// With [`Shards`] of its own, one for each core.
    ///
    /// # Panics
    ///
    /// If the system gives no thread. [`Shards::builder`] and [`new`](TlsEndpoint::new) say so in an error.
    fn from(config: Arc<C>) -> Self {
        let shards = Shards::builder().build().expect("the system gives threads for the shards");
        Self::new(config, &shards)
    }
}

impl<C> TlsEndpoint<C> {
    /// One whose packets are processed at `shards`, which others may use, too.
    pub fn new(config: Arc<C>, shards: &Shards) -> Self {
        Self { config, terms: Terms::new(shards) }
    }

    /// How long a handshake may take, from its first poll. Without this, 60 seconds. When they are over, a parked packet is
    /// cancelled and the peer is told ([`SslError::TimedOut`](crate::SslError::TimedOut)).
    ///
    /// The time is that of the runtime's timer: a handshake that has to wait panics on a runtime of tokio's without one
    /// (`enable_time`, or `enable_all`). Under another runtime there is no deadline. In a test that has paused tokio's clock it
    /// passes as soon as the handshake waits for a shard, for tokio knows of no reason not to leap.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.terms.deadline = Some(deadline);
        self
    }

    /// Lets a handshake take for ever, as far as this side goes: for a runtime without a timer, or for a program that bounds
    /// it otherwise. A client that says nothing keeps its connection.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.terms.deadline = None;
        self
    }

    /// The engine for the key exchange, if the configuration was built with
    /// [`offload::key_exchange`](crate::offload::key_exchange).
    #[must_use]
    pub fn key_exchange(mut self, engine: Arc<Engine<CryptoOp>>) -> Self {
        self.terms.exchange = KeyExchange::by(engine);
        self
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<C> {
        &self.config
    }

    /// The shards.
    pub fn shards(&self) -> &Shards {
        &self.terms.shards
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }
}

// Derived, it would ask for a configuration that can be cloned.
impl<C> Clone for TlsEndpoint<C> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), terms: self.terms.clone() }
    }
}

impl<C> fmt::Debug for TlsEndpoint<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsEndpoint")
            .field("shards", &self.terms.shards)
            .field("deadline", &self.terms.deadline)
            .finish_non_exhaustive()
    }
}
