//! The names of tokio-rustls 0.26: a program moves by one line,
//! `use ssl_async::task::compat as tokio_rustls;`, at the root of the crate and in each module that names the other.
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use std::{io, sync::Arc};
//!
//! use ssl_async::SlowKey;
//! use ssl_async::task::compat::{TlsAcceptor, server::TlsStream}; // was: tokio_rustls::{...}
//! use tokio::{io::AsyncWriteExt, net::TcpStream};
//!
//! async fn serve(tcp: TcpStream, key: &Arc<SlowKey>) -> io::Result<()> {
//!     let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
//!     let mut tls: TlsStream<TcpStream> = acceptor.accept(tcp).await?;
//!     let host = tls.get_ref().1.server_name().unwrap_or("no name").to_owned();
//!     tls.write_all(host.as_bytes()).await?;
//!     tls.shutdown().await
//! }
//! # }
//! ```
//!
//! The types have tokio-rustls's methods, and their errors are `io::Error` with rustls's error in it. They are thin covers of
//! those of [`task`](super), which have deadlines, parking and shards: an acceptor and a connector are made of one by `From`,
//! and a stream becomes one.
//!
//! What differs from tokio-rustls, beside what `docs/slow-key-behind-rustls.md` lists:
//!
//! - A handshake takes at most 60 seconds, and so does the reading of a hello. For another deadline make the acceptor of one
//!   of `task`. With `early_data(true)` they begin with the first write or flush that waits for the server, and no alert is
//!   sent when they are over.
//! - Acceptors and connectors made of a configuration by `From`, and [`LazyConfigAcceptor`], may be made for each handshake:
//!   the process's shards, once started, exist until `task::TlsAcceptor::from(config).shards().shutdown(..)`, and what
//!   handshakes find out about a configuration in an `Arc` is known to the next. An acceptor that is kept also keeps its
//!   configuration prepared, which saves each handshake some microseconds.
//! - Behind a refused hello at most 64 KiB are read and discarded while the alert is sent. After that `take_io` returns the
//!   transport without them.
//! - [`LazyConfigAcceptor::new`] wants an `Acceptor` that has read nothing. With one that has, use
//!   [`StartHandshake::from_parts`], whose handshakes park on a fiber.
//! - [`StartHandshake::accept`] is not tokio-rustls's: it goes on with an acceptor that you keep, with its parking and deadline.
//! - A server's connection that a closure has seen (`accept_with`, `into_stream_with`) parks on a fiber, not by replay. The
//!   closure sees it before the hello.
//! - A client's connection that is made on the spot (`connect_with`, `early_data(true)`) makes its key share there. One that
//!   sends early data handshakes on the task, and a hook that waits blocks the thread, as in tokio-rustls; with
//!   [`Connect::early_data`](super::Connect::early_data) it parks.

/// Implements a stream's traits by the stream within.
macro_rules! delegate {
    ($stream:ident: $($variant:path),+) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<IO> {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                into: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(stream) => Pin::new(stream).poll_read(cx, into)),+ }
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for $stream<IO> {
            fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
                match self.get_mut() { $($variant(stream) => Pin::new(stream).poll_fill_buf(cx)),+ }
            }

            fn consume(self: Pin<&mut Self>, n: usize) {
                match self.get_mut() { $($variant(stream) => Pin::new(stream).consume(n)),+ }
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<IO> {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant(stream) => Pin::new(stream).poll_write(cx, data)),+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(stream) => Pin::new(stream).poll_write_vectored(cx, data)),+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $($variant(stream) => stream.is_write_vectored()),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(stream) => Pin::new(stream).poll_flush(cx)),+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(stream) => Pin::new(stream).poll_shutdown(cx)),+ }
            }
        }
    };
}

/// Implements the parts of a stream of one side, whose stream within has a connection of that side.
macro_rules! parts {
    ($stream:ident.$within:tt, $side:ident, $connection:ty) => {
        impl<IO> $stream<IO> {
            /// The transport and the connection.
            pub fn get_ref(&self) -> (&IO, &$connection) {
                match self.$within.get_ref() {
                    (io, Connection::$side(connection)) => (io, connection),
                    _ => unreachable!("a stream has a connection of its side"),
                }
            }

            /// As [`get_ref`](Self::get_ref), mutable.
            pub fn get_mut(&mut self) -> (&mut IO, &mut $connection) {
                match self.$within.get_mut() {
                    (io, Connection::$side(connection)) => (io, connection),
                    _ => unreachable!("a stream has a connection of its side"),
                }
            }

            /// Splits the stream into its transport and its connection, which has what was read and not processed: at most
            /// 32 KiB of it, because rustls takes no more before its plaintext is read, and nothing behind `close_notify`. A
            /// peer may have sent more right behind its `Finished`. To lose nothing, make the stream a
            /// [`task::TlsStream`](crate::task::TlsStream) first, whose `into_inner` gives it back with the transport.
            pub fn into_inner(self) -> (IO, $connection) {
                let (rewind, connection) = self.$within.into_inner();
                let (io, unread) = rewind.into_parts();
                match given_back(connection, &unread) {
                    Connection::$side(connection) => (io, connection),
                    _ => unreachable!("a stream has a connection of its side"),
                }
            }
        }
    };
}

pub mod client;
mod given_back;
pub mod server;

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

pub use client::{Connect, FallibleConnect, TlsConnector, TlsConnectorWithAlpn};
pub use rustls;
pub use server::{Accept, FallibleAccept, LazyConfigAcceptor, StartHandshake, TlsAcceptor};

/// A stream of either side.
#[derive(Debug)]
pub enum TlsStream<IO> {
    /// Of a client.
    Client(client::TlsStream<IO>),
    /// Of a server.
    Server(server::TlsStream<IO>),
}

impl<IO> TlsStream<IO> {
    /// The transport, and what both sides' connections have.
    pub fn get_ref(&self) -> (&IO, &rustls::CommonState) {
        match self {
            Self::Client(stream) => {
                let (io, connection) = stream.get_ref();
                (io, connection)
            }
            Self::Server(stream) => {
                let (io, connection) = stream.get_ref();
                (io, connection)
            }
        }
    }

    /// As [`get_ref`](Self::get_ref), mutable.
    pub fn get_mut(&mut self) -> (&mut IO, &mut rustls::CommonState) {
        match self {
            Self::Client(stream) => {
                let (io, connection) = stream.get_mut();
                (io, connection)
            }
            Self::Server(stream) => {
                let (io, connection) = stream.get_mut();
                (io, connection)
            }
        }
    }
}

impl<IO> From<client::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: client::TlsStream<IO>) -> Self {
        Self::Client(stream)
    }
}

impl<IO> From<server::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: server::TlsStream<IO>) -> Self {
        Self::Server(stream)
    }
}

impl<IO: AsRawFd> AsRawFd for TlsStream<IO> {
    fn as_raw_fd(&self) -> RawFd {
        self.get_ref().0.as_raw_fd()
    }
}

delegate!(TlsStream: TlsStream::Client, TlsStream::Server);
