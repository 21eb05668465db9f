//! An acceptor for axum-server, which handshakes in a task for each connection.

use std::future::Future;
use std::io;
use std::pin::Pin;

use axum_server::accept::Accept;
use layby::tls::{TlsAcceptor, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite};

/// What axum-server accepts with: `axum_server::bind(address).acceptor(Acceptor(acceptor))`.
#[derive(Clone)]
pub struct Acceptor(pub TlsAcceptor);

impl<IO, S> Accept<IO, S> for Acceptor
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Send + 'static,
{
    type Stream = TlsStream<IO>;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(TlsStream<IO>, S)>> + Send>>;

    fn accept(&self, io: IO, service: S) -> Self::Future {
        let handshake = self.0.accept(io);
        Box::pin(async move { Ok((handshake.await?, service)) })
    }
}
