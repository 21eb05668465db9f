//! Acceptor and connector: a rustls configuration with the settings of its handshakes.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, OnceLock};

use crypto_ops::CryptoOp;
use engine_core::Engine;

use crate::known::known_of;
use crate::parking::{Parking, ParkingChoice, ParkingWay};
use crate::rustls23::{ClientConfig, KeyExchange, ServerConfig, on_thread};
use crate::task::handshake::HandshakeOptions;
use crate::task::shards::Shards;

/// Makes TLS connections of one rustls configuration `C` on tasks: a [`TlsAcceptor`] or a [`TlsConnector`]. Cheap to clone.
pub struct TlsEndpoint<C> {
    config: Arc<C>,
    options: HandshakeOptions,
    parking: ParkingChoice,
    /// `config` with its hooks on the thread's stack. Made with the first handshake.
    hooked: Arc<OnceLock<Arc<C>>>,
}

/// Accepts TLS connections on tasks, with an ordinary rustls configuration. [The module](super) has an example.
pub type TlsAcceptor = TlsEndpoint<ServerConfig>;

/// Opens TLS connections on tasks, with an ordinary rustls configuration.
///
/// Useful for a client whose key is slow, or whose verification of the server is an `async fn`
/// ([`verify::server_certificate`](crate::verify::server_certificate)).
pub type TlsConnector = TlsEndpoint<ClientConfig>;

impl<C> From<Arc<C>> for TlsEndpoint<C> {
    /// Makes an endpoint on the process's [`Shards`], which all endpoints made so share. Their threads, one for each core,
    /// start when a handshake first needs a fiber; [replay](Parking) needs none. Shutting them down ends the handshakes of
    /// all these endpoints; endpoints made afterwards have new ones. A hook that blocks until another handshake is done needs
    /// shards of its own for that one.
    fn from(config: Arc<C>) -> Self {
        Self::new(config, &Shards::shared())
    }
}

impl<C> TlsEndpoint<C> {
    /// Makes an endpoint that processes packets on `shards`, which other endpoints may share.
    pub fn new(config: Arc<C>, shards: &Shards) -> Self {
        let (parking, hooked) = (ParkingChoice::default(), Arc::default());
        Self { config, options: HandshakeOptions::new(shards), parking, hooked }
    }

    /// Sets the deadline of a handshake, counted from its first poll. The default is 60 seconds. After the deadline a parked
    /// packet is cancelled and the peer is told ([`SslError::TimedOut`](crate::SslError::TimedOut)).
    ///
    /// The deadline uses the runtime's timer: on a tokio runtime without one (`enable_time`, `enable_all`) a handshake that
    /// has to wait panics, and on another executor there is no deadline. With tokio's clock paused, as in tests, the
    /// deadline passes as soon as the handshake waits for a shard, because tokio then advances the clock.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Removes the deadline: for a runtime without a timer, or a program with a timeout of its own. A silent client keeps its
    /// connection.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.options.deadline = None;
        self
    }

    /// Sets the engine for the key exchange, if the configuration was built with
    /// [`offload::key_exchange`](crate::offload::key_exchange).
    #[must_use]
    pub fn key_exchange(mut self, engine: Arc<Engine<CryptoOp>>) -> Self {
        self.options.exchange = KeyExchange::by(engine);
        self
    }

    /// The rustls configuration.
    pub fn config(&self) -> &Arc<C> {
        &self.config
    }

    /// The shards.
    pub fn shards(&self) -> &Shards {
        &self.options.shards
    }

    pub(crate) fn options(&self) -> &HandshakeOptions {
        &self.options
    }
}

impl TlsAcceptor {
    /// An acceptor that may be made anew for each handshake: what one has found out about the configuration, and the threads
    /// that it has started, serve the next.
    pub(crate) fn remembering(config: Arc<ServerConfig>) -> Self {
        let known = known_of(&config);
        let mut acceptor = Self::new(config, &Shards::kept());
        acceptor.parking.known = known;
        acceptor
    }

    /// Sets how handshakes are parked. The default is [`Parking::Auto`].
    #[must_use]
    pub fn parking(mut self, parking: Parking) -> Self {
        self.parking.parking = parking;
        self
    }

    /// The configuration of the next handshake, and the way of parking that it begins with.
    pub(crate) fn way(&self) -> (Arc<ServerConfig>, ParkingWay) {
        match self.parking.parking {
            // Any hook may wait.
            Parking::Fiber => return (Arc::clone(&self.config), ParkingWay::Fiber),
            // Hooks are called on the task.
            Parking::Never => return (Arc::clone(&self.config), ParkingWay::Never),
            Parking::Auto | Parking::Replay => {}
        }
        let config = self
            .hooked
            .get_or_init(|| Arc::new(on_thread::server(&self.config, &self.parking.known.waiting)));
        let way = match self.options.shards.is_here() {
            true => self.parking.way(config),
            // Fails as every handshake on these shards.
            false => ParkingWay::Fiber,
        };
        (Arc::clone(config), way)
    }
}

impl TlsConnector {
    /// The configuration of the next handshake.
    pub(crate) fn hooked(&self) -> Arc<ClientConfig> {
        Arc::clone(self.hooked.get_or_init(|| Arc::new(on_thread::client(&self.config))))
    }
}

// A derived impl would require `C: Clone`.
impl<C> Clone for TlsEndpoint<C> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            options: self.options.clone(),
            parking: self.parking.clone(),
            hooked: Arc::clone(&self.hooked),
        }
    }
}

impl<C> fmt::Debug for TlsEndpoint<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsEndpoint")
            .field("shards", &self.options.shards)
            .field("deadline", &self.options.deadline)
            .finish_non_exhaustive()
    }
}
