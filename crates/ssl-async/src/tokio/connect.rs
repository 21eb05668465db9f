//! The client's side.

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
use crate::packet;
use crate::rustls23::{ClientConfig, KeyExchange, ServerName, Tls};
use crate::tokio::accept::FallibleHandshake;
use crate::tokio::handshake::{Handshake, Terms};
use crate::tokio::shards::Shards;
use crate::tokio::stream::TlsStream;

/// Makes TLS connections on a task. Cheap to clone, and made from an ordinary rustls configuration.
///
/// Worth its while for a client whose own key is slow, or whose verdict on the server is an `async fn`
/// ([`verify_server_async`](crate::verify_server_async)).
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    terms: Terms,
}

impl From<Arc<ClientConfig>> for TlsConnector {
    /// A connector with [`Shards`] of its own, one for each core.
    ///
    /// # Panics
    ///
    /// If the system gives no thread. [`Shards::builder`] and [`TlsConnector::new`] say so in an error.
    fn from(config: Arc<ClientConfig>) -> Self {
        let shards = Shards::builder().build().expect("the system gives threads for the shards");
        Self::new(config, &shards)
    }
}

impl TlsConnector {
    /// A connector whose packets are processed at `shards`, which others may use, too.
    pub fn new(config: Arc<ClientConfig>, shards: &Shards) -> Self {
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

    /// The handshake with the server `name` on `io`, to be awaited. Nothing happens before that.
    ///
    /// Dropping the future at any time is sound; a parked packet is cancelled.
    pub fn connect<IO>(&self, name: ServerName<'static>, io: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.config);
        let exchange = self.terms.exchange.clone();
        // It starts the key exchange, so it is a packet like any other.
        let make = packet::create(move || Tls::client(config, name), exchange);
        Connect(Handshake::client(io, self.terms.clone(), make))
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The shards.
    pub fn shards(&self) -> &Shards {
        &self.terms.shards
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector")
            .field("shards", &self.terms.shards)
            .field("deadline", &self.terms.deadline)
            .finish_non_exhaustive()
    }
}

/// A client's handshake: ready with the stream, or with why there is none.
///
/// # Panics
///
/// With the panic of a hook, and when polled again after it was ready.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Connect<IO>(Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Connect<IO> {
    /// Sends `data` with the hello, as far as the server has allowed it in an earlier session
    /// (`ClientConfig::enable_early_data`). What it does not take is sent behind the handshake, before the stream is
    /// there: either way the server gets all of it once. But somebody may record early data and send it again: see RFC
    /// 8446, section 8.
    pub fn early_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.0.set_early(data.into());
        self
    }

    /// The same, with the transport in the error.
    pub fn into_fallible(self) -> FallibleHandshake<IO> {
        FallibleHandshake(self.0)
    }
}

impl<IO> Connect<IO> {
    /// The transport; `None` once the stream has it.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io()
    }

    /// The transport; `None` once the stream has it. Reading from it or writing to it breaks the handshake.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        self.0.io_mut()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Connect<IO> {
    type Output = Result<TlsStream<IO>, SslError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// Nothing in it is ever pinned.
impl<IO> Unpin for Connect<IO> {}
