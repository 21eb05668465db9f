//! The future of a client's handshake.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SslError;
use crate::packet::Work;
use crate::rustls23::{ClientConfig, ServerName, Tls};
use crate::task::accept::FallibleHandshake;
use crate::task::endpoint::TlsConnector;
use crate::task::handshake::Handshake;
use crate::task::stream::TlsStream;

impl TlsConnector {
    /// Makes the future of a handshake with the server `name` on `io`. Dropping it at any time cancels the handshake.
    pub fn connect<IO>(&self, name: ServerName<'static>, io: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Connect(self.handshake(self.hooked(), name, io))
    }

    pub(crate) fn handshake<IO>(
        &self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        io: IO,
    ) -> Handshake<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let exchange = self.options().exchange.clone();
        // Creating the connection starts the key exchange, so it is processed as a packet.
        let make = Work::create(move || Tls::client(config, name), exchange);
        Handshake::client(io, self.options().clone(), make)
    }
}

/// Future of a client's handshake, which returns the stream.
///
/// # Panics
///
/// With the panic of a hook; when polled again after it was ready; and when it has to wait on a tokio runtime without a
/// timer, unless the connector is [`without_deadline`](TlsConnector::without_deadline).
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Connect<IO>(Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Connect<IO> {
    /// Sends `data` with the hello, as much as the server has allowed in an earlier session
    /// (`ClientConfig::enable_early_data`). Data that the server does not accept is sent after the handshake, before the
    /// future is ready, so the server receives all of it once. An attacker can replay early data: see RFC 8446, section 8.
    pub fn early_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.0.set_early(data.into());
        self
    }

    /// Makes a future that returns the transport with the error.
    pub fn into_fallible(self) -> FallibleHandshake<IO> {
        FallibleHandshake(self.0)
    }
}

impl<IO> Connect<IO> {
    /// The transport; `None` once the stream owns it.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io()
    }

    /// The transport; `None` once the stream owns it. Reading from it or writing to it breaks the handshake.
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

// No field is pinned.
impl<IO> Unpin for Connect<IO> {}
