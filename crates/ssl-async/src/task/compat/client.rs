//! The client's side of tokio-rustls's names.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::id::SslId;
use crate::packet::Work;
use crate::read_ahead::ReadAhead;
use crate::rustls23::{Processed, Tls};
use crate::task;
use crate::task::compat::given_back::given_back;
use crate::task::deadline::Deadline;
use crate::task::handshake::{Handshake, Role};
use crate::task::shards::Shards;

/// Opens connections.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    endpoint: task::TlsConnector,
    early_data: bool,
}

impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        task::TlsConnector::new(config, &Shards::kept()).into()
    }
}

/// With the deadline and the shards of that connector.
impl From<task::TlsConnector> for TlsConnector {
    fn from(endpoint: task::TlsConnector) -> Self {
        Self { endpoint, early_data: false }
    }
}

impl TlsConnector {
    /// Sets whether streams are returned before their handshake if the configuration allows early data and there is a ticket
    /// for it. What is written is then sent early, as much as the server has allowed; reads wait for a write or a flush that
    /// completes the handshake.
    #[must_use]
    pub fn early_data(mut self, flag: bool) -> Self {
        self.early_data = flag;
        self
    }

    /// Makes the future of a handshake with the server `domain` on `io`.
    pub fn connect<IO>(&self, domain: ServerName<'static>, io: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.begin(domain, io, None)
    }

    /// As [`connect`](Self::connect), and calls `f` with the new connection.
    pub fn connect_with<IO, F>(&self, domain: ServerName<'static>, io: IO, f: F) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&mut ClientConnection),
    {
        self.begin_with(self.endpoint.hooked(), domain, io, f)
    }

    /// A connector that offers these protocols in the place of the configuration's.
    pub fn with_alpn(&self, alpn_protocols: Vec<Vec<u8>>) -> TlsConnectorWithAlpn<'_> {
        TlsConnectorWithAlpn { connector: self, alpn_protocols }
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ClientConfig> {
        self.endpoint.config()
    }

    fn hooked(&self, alpn: Option<Vec<Vec<u8>>>) -> Arc<ClientConfig> {
        let mut config = self.endpoint.hooked();
        if let Some(alpn) = alpn {
            Arc::make_mut(&mut config).alpn_protocols = alpn;
        }
        config
    }

    fn begin<IO>(
        &self,
        name: ServerName<'static>,
        io: IO,
        alpn: Option<Vec<Vec<u8>>>,
    ) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.hooked(alpn);
        if self.early_data && config.enable_early_data {
            return self.begin_with(config, name, io, |_| ());
        }
        Connect(Connecting::Handshake(self.endpoint.handshake(config, name, io)))
    }

    /// Makes the connection here, for who wants to see it.
    fn begin_with<IO>(
        &self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        io: IO,
        f: impl FnOnce(&mut ClientConnection),
    ) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let options = self.endpoint.options().clone();
        let mut made: Processed =
            Work::create(move || Tls::client(config, name), options.exchange.clone()).run();
        let mut sends_early = false;
        if let Ok(made) = &mut made
            && let Connection::Client(connection) = made.tls.connection_mut()
        {
            f(connection);
            sends_early = self.early_data && connection.early_data().is_some();
        }
        Connect(match made {
            Ok(made) if sends_early => {
                let stream =
                    task::TlsStream::new(SslId::next(), io, made.tls, ReadAhead::default());
                let early = Some(Early { limit: options.deadline, ..Early::default() });
                Connecting::Early(Some(TlsStream { stream, early }))
            }
            made => Connecting::Handshake(Handshake::made(
                Role::Client,
                io,
                ReadAhead::default(),
                options,
                0,
                made,
            )),
        })
    }
}

/// A connector with protocols of its own. Made by [`TlsConnector::with_alpn`].
#[derive(Debug)]
pub struct TlsConnectorWithAlpn<'c> {
    connector: &'c TlsConnector,
    alpn_protocols: Vec<Vec<u8>>,
}

impl TlsConnectorWithAlpn<'_> {
    /// As [`TlsConnector::connect`].
    pub fn connect<IO>(self, domain: ServerName<'static>, io: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.begin(domain, io, Some(self.alpn_protocols))
    }

    /// As [`TlsConnector::connect_with`].
    pub fn connect_with<IO, F>(self, domain: ServerName<'static>, io: IO, f: F) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&mut ClientConnection),
    {
        let config = self.connector.hooked(Some(self.alpn_protocols));
        self.connector.begin_with(config, domain, io, f)
    }
}

/// Future of a client's handshake.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Connect<IO>(Connecting<IO>);

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the larger is nearly always the one")]
enum Connecting<IO> {
    Handshake(Handshake<IO>),
    /// Ready; `None` once it was returned.
    Early(Option<TlsStream<IO>>),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connecting<IO> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<TlsStream<IO>, crate::SslError>> {
        match self {
            Self::Handshake(handshake) => {
                handshake.poll(cx).map_ok(|stream| TlsStream { stream, early: None })
            }
            Self::Early(stream) => {
                Poll::Ready(Ok(stream.take().expect("it is polled until it is ready")))
            }
        }
    }
}

impl<IO> Connect<IO> {
    /// Makes a future that returns the transport with the error.
    pub fn into_fallible(self) -> FallibleConnect<IO> {
        FallibleConnect(self.0)
    }

    /// The transport; `None` once the stream owns it.
    pub fn get_ref(&self) -> Option<&IO> {
        match &self.0 {
            Connecting::Handshake(handshake) => handshake.io(),
            Connecting::Early(stream) => stream.as_ref().map(|stream| stream.get_ref().0),
        }
    }

    /// As [`get_ref`](Self::get_ref), mutable.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        match &mut self.0 {
            Connecting::Handshake(handshake) => handshake.io_mut(),
            Connecting::Early(stream) => stream.as_mut().map(|stream| stream.get_mut().0),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Connect<IO> {
    type Output = io::Result<TlsStream<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_err(Into::into)
    }
}

/// As [`Connect`], and returns the transport with the error.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct FallibleConnect<IO>(Connecting<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleConnect<IO> {
    type Output = Result<TlsStream<IO>, (io::Error, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(self.0.poll(cx));
        Poll::Ready(done.map_err(|error| match &mut self.0 {
            Connecting::Handshake(handshake) => {
                let io = handshake.take_io().expect("a failed handshake owns its transport");
                (error.into(), io)
            }
            Connecting::Early(_) => unreachable!("it is ready with its stream"),
        }))
    }
}

// No field is pinned.
impl<IO> Unpin for Connect<IO> {}
impl<IO> Unpin for FallibleConnect<IO> {}

/// A client's stream.
#[derive(Debug)]
pub struct TlsStream<IO> {
    stream: task::TlsStream<IO>,
    /// While the handshake is not done.
    early: Option<Early>,
}

/// Early data.
#[derive(Debug, Default)]
struct Early {
    /// What was sent early, and is sent again if the server does not take it.
    data: Vec<u8>,
    /// How much was sent again.
    again: usize,
    /// Who waits for the handshake to read.
    reader: Option<Waker>,
    /// Of the handshake, from when it is first waited for.
    deadline: Deadline,
    limit: Option<Duration>,
    /// The handshake has failed, and reads say so.
    failed: bool,
}

impl Early {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

parts!(TlsStream.stream, Client, ClientConnection);

/// Flush a stream that sends early data first: otherwise what the server does not take of it is not sent again.
impl<IO> From<TlsStream<IO>> for task::TlsStream<IO> {
    fn from(stream: TlsStream<IO>) -> Self {
        stream.stream
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Writes early data, as much as is allowed. Where none is, completes the handshake, sends again what the server did not
    /// take, and is ready with zero.
    fn poll_early(
        &mut self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(early) = &mut self.early else { return Poll::Ready(Ok(0)) };
        let begin = early.data.len();
        for piece in data.iter().filter(|piece| !early.failed && !piece.is_empty()) {
            let n = self.stream.write_early(piece)?;
            early.data.extend_from_slice(&piece[..n]);
            if n < piece.len() {
                break;
            }
        }
        if early.data.len() > begin {
            return Poll::Ready(Ok(early.data.len() - begin));
        }
        let done = match self.stream.poll_handshake(cx) {
            Poll::Ready(done) => done,
            Poll::Pending => {
                let late = ready!(early.deadline.poll(early.limit, cx));
                Err(self.stream.time_out(late))
            }
        };
        if let Err(error) = done {
            early.failed = true;
            early.wake_reader();
            return Poll::Ready(Err(error));
        }
        if !self.stream.is_early_data_accepted() {
            while early.again < early.data.len() {
                let rest = &early.data[early.again..];
                early.again += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            }
        }
        early.wake_reader();
        self.early = None;
        Poll::Ready(Ok(0))
    }

    /// Whether a read has to wait for the handshake.
    fn reads_later(&mut self, cx: &Context<'_>) -> bool {
        let Some(early) = self.early.as_mut().filter(|early| !early.failed) else { return false };
        early.reader = Some(cx.waker().clone());
        true
    }
}

impl<IO: AsRawFd> AsRawFd for TlsStream<IO> {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads_later(cx) {
            true => Poll::Pending,
            false => Pin::new(&mut self.stream).poll_read(cx, into),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<IO> {
    fn poll_fill_buf(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self.reads_later(cx) {
            true => Poll::Pending,
            false => Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx),
        }
    }

    fn consume(mut self: Pin<&mut Self>, n: usize) {
        Pin::new(&mut self.stream).consume(n);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_early(cx, &[IoSlice::new(data)]))? {
            0 => Pin::new(&mut self.stream).poll_write(cx, data),
            early => Poll::Ready(Ok(early)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_early(cx, data))? {
            0 => Pin::new(&mut self.stream).poll_write_vectored(cx, data),
            early => Poll::Ready(Ok(early)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_early(cx, &[]))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_early(cx, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
