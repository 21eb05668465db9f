//! The server's side.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use crypto_ops::CryptoOp;
use engine_core::Engine;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SslError;
use crate::rustls23::{KeyExchange, ServerConfig};
use crate::tokio::handshake::{Handshake, Terms};
use crate::tokio::shards::Shards;
use crate::tokio::stream::TlsStream;

/// Accepts TLS connections on a task. Cheap to clone, and made from an ordinary rustls configuration.
///
/// See [the module](super) for an example.
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    terms: Terms,
}

impl From<Arc<ServerConfig>> for TlsAcceptor {
    /// An acceptor with [`Shards`] of its own, one for each core.
    ///
    /// # Panics
    ///
    /// If the system gives no thread. [`Shards::builder`] and [`TlsAcceptor::new`] say so in an error.
    fn from(config: Arc<ServerConfig>) -> Self {
        let shards = Shards::builder().build().expect("the system gives threads for the shards");
        Self::new(config, &shards)
    }
}

impl TlsAcceptor {
    /// An acceptor whose packets are processed at `shards`, which others may use, too.
    pub fn new(config: Arc<ServerConfig>, shards: &Shards) -> Self {
        Self { config, terms: Terms::new(shards) }
    }

    /// How long a handshake may take, from its first poll. Without this, for ever. Needs a runtime with its timer
    /// enabled.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.terms.deadline = Some(deadline);
        self
    }

    /// The engine for the key exchange, if the configuration was built with
    /// [`offload_key_exchange`](crate::offload_key_exchange).
    #[must_use]
    pub fn key_exchange(mut self, engine: Arc<Engine<CryptoOp>>) -> Self {
        self.terms.exchange = KeyExchange::by(engine);
        self
    }

    /// The handshake with a client on `io`, to be awaited. Nothing happens before that.
    ///
    /// Dropping the future at any time is sound; a parked packet is cancelled.
    pub fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept(Handshake::server(io, self.terms.clone(), Arc::clone(&self.config)))
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ServerConfig> {
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

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor")
            .field("shards", &self.terms.shards)
            .field("deadline", &self.terms.deadline)
            .finish_non_exhaustive()
    }
}

/// A server's handshake: ready with the stream, or with why there is none.
///
/// # Panics
///
/// With the panic of a hook, and when polled again after it was ready.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Accept<IO>(pub(crate) Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Accept<IO> {
    /// The same, with the transport in the error.
    pub fn into_fallible(self) -> FallibleHandshake<IO> {
        FallibleHandshake(self.0)
    }
}

impl<IO> Accept<IO> {
    /// The transport; `None` once the stream has it.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io()
    }

    /// The transport; `None` once the stream has it. Reading from it or writing to it breaks the handshake.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        self.0.io_mut()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Accept<IO> {
    type Output = Result<TlsStream<IO>, SslError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// A handshake that gives the transport back if it fails. Made by `into_fallible`.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct FallibleHandshake<IO>(pub(crate) Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleHandshake<IO> {
    type Output = Result<TlsStream<IO>, (SslError, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_err(|error| {
            (error, self.0.take_io().expect("a handshake that failed still has its transport"))
        })
    }
}

/// Nothing in them is ever pinned.
impl<IO> Unpin for Accept<IO> {}
impl<IO> Unpin for FallibleHandshake<IO> {}
