//! The client's side.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SslError;
use crate::packet::Work;
use crate::rustls23::{ServerName, Tls};
use crate::task::accept::FallibleHandshake;
use crate::task::endpoint::TlsConnector;
use crate::task::handshake::Handshake;
use crate::task::stream::TlsStream;

impl TlsConnector {
    /// The handshake with the server `name` on `io`, to be awaited. Nothing happens before that.
    ///
    /// The future may be dropped at any await; a parked packet is cancelled.
    pub fn connect<IO>(&self, name: ServerName<'static>, io: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(self.config());
        let exchange = self.terms().exchange.clone();
        // It starts the key exchange, so it is a packet like any other.
        let make = Work::create(move || Tls::client(config, name), exchange);
        Connect(Handshake::client(io, self.terms().clone(), make))
    }
}

/// A client's handshake: ready with the stream, or with why there is none.
///
/// # Panics
///
/// With the panic of a hook, and when polled again after it was ready. If it has to wait under a deadline, which is so by default,
/// on a runtime of tokio's whose timer is not enabled.
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
