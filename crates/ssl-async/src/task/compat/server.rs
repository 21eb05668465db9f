//! The server's side of tokio-rustls's names.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustls::server::Accepted;
use rustls::{Connection, ServerConfig, ServerConnection};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::packet::Work;
use crate::parking::ParkingWay;
use crate::read_ahead::ReadAhead;
use crate::rustls23::{Broken, ClientHello, FinalOutput, Hello, Processed, Tls};
use crate::task;
use crate::task::compat::given_back::given_back;
use crate::task::deadline::DEFAULT_DEADLINE;
use crate::task::handshake::{Handshake, Role};
use crate::task::hello::ReadingHello;

/// Accepts connections.
#[derive(Clone, Debug)]
pub struct TlsAcceptor(task::TlsAcceptor);

impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(task::TlsAcceptor::remembering(config))
    }
}

/// With the deadline, the shards and the parking of that acceptor.
impl From<task::TlsAcceptor> for TlsAcceptor {
    fn from(acceptor: task::TlsAcceptor) -> Self {
        Self(acceptor)
    }
}

impl TlsAcceptor {
    /// Makes the future of a handshake with a client on `io`.
    pub fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept(self.0.accept(io))
    }

    /// As [`accept`](Self::accept), and calls `f` with the new connection. The handshake parks on a fiber, if at all.
    pub fn accept_with<IO, F>(&self, io: IO, f: F) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&mut ServerConnection),
    {
        Accept(task::Accept(seen(&self.0, io, ReadAhead::default(), f)))
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ServerConfig> {
        self.0.config()
    }
}

/// A handshake whose connection `f` has seen, so that it cannot be made again by replay.
fn seen<IO>(
    acceptor: &task::TlsAcceptor,
    io: IO,
    ahead: ReadAhead,
    f: impl FnOnce(&mut ServerConnection),
) -> Handshake<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (config, way) = acceptor.way();
    let refused = match &way {
        ParkingWay::Replay { only: true, .. } => Some("a closure is to see the connection".into()),
        ParkingWay::Refused(why) => Some(Arc::clone(why)),
        _ => None,
    };
    if let Some(why) = refused {
        let options = acceptor.options().clone();
        return Handshake::server(io, options, config, ParkingWay::Refused(why));
    }
    let made = Tls::server(Arc::clone(&config))
        .map(Into::into)
        .map_err(|error| Broken { error, output: FinalOutput::Alert(Vec::new()) });
    made_with(acceptor, io, ahead, config.max_early_data_size, made, f).parking(&way)
}

fn made_with<IO>(
    acceptor: &task::TlsAcceptor,
    io: IO,
    ahead: ReadAhead,
    max_early_data: u32,
    mut made: Processed,
    f: impl FnOnce(&mut ServerConnection),
) -> Handshake<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if let Ok(made) = &mut made
        && let Connection::Server(connection) = made.tls.connection_mut()
    {
        f(connection);
    }
    let options = acceptor.options().clone();
    Handshake::made(Role::Server, io, ahead, options, max_early_data, made)
}

/// Future of a server's handshake.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Accept<IO>(task::Accept<IO>);

impl<IO> Accept<IO> {
    /// Makes a future that returns the transport with the error.
    pub fn into_fallible(self) -> FallibleAccept<IO> {
        FallibleAccept(task::FallibleHandshake(self.0.0))
    }

    /// The transport; `None` once the stream owns it.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.get_ref()
    }

    /// As [`get_ref`](Self::get_ref), mutable.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        self.0.get_mut()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Accept<IO> {
    type Output = io::Result<TlsStream<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_ok(TlsStream).map_err(Into::into)
    }
}

/// As [`Accept`], and returns the transport with the error.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct FallibleAccept<IO>(task::FallibleHandshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleAccept<IO> {
    type Output = Result<TlsStream<IO>, (io::Error, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = Pin::new(&mut self.0).poll(cx);
        done.map_ok(TlsStream).map_err(|(error, io)| (error.into(), io))
    }
}

/// Future of a client's hello, before there is a configuration.
#[must_use = "a future does nothing unless it is awaited"]
pub struct LazyConfigAcceptor<IO> {
    reading: ReadingHello,
    io: Option<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> LazyConfigAcceptor<IO> {
    /// Makes a future that reads a hello from `io`. The acceptor must not have read anything: it is not used.
    pub fn new(_acceptor: rustls::server::Acceptor, io: IO) -> Self {
        Self { reading: ReadingHello::default(), io: Some(io) }
    }

    /// The transport; `None` the second time, and once the hello is read.
    pub fn take_io(&mut self) -> Option<IO> {
        self.io.take()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for LazyConfigAcceptor<IO> {
    type Output = io::Result<StartHandshake<IO>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(io) = &mut this.io else {
            let text = "acceptor cannot be polled after acceptance";
            return Poll::Ready(Err(io::Error::other(text)));
        };
        let hello = ready!(this.reading.poll(io, Some(DEFAULT_DEADLINE), cx))?;
        let ahead = core::mem::take(&mut this.reading).into_ahead();
        let io = this.io.take().expect("it was there");
        Poll::Ready(Ok(StartHandshake { hello: Beginning::Read(hello), ahead, io }))
    }
}

impl<IO> core::fmt::Debug for LazyConfigAcceptor<IO> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LazyConfigAcceptor").finish_non_exhaustive()
    }
}

/// A client's hello, with its transport.
#[non_exhaustive]
pub struct StartHandshake<IO> {
    hello: Beginning,
    /// Bytes read after the hello.
    ahead: ReadAhead,
    /// The transport.
    pub io: IO,
}

/// A hello.
enum Beginning {
    /// Read here, with its bytes, so that it can be replayed.
    Read(Hello),
    /// The caller's.
    Given(Accepted),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> StartHandshake<IO> {
    /// Makes a handshake of a hello that the caller has read.
    pub fn from_parts(accepted: Accepted, transport: IO) -> Self {
        let hello = Beginning::Given(accepted);
        Self { hello, ahead: ReadAhead::default(), io: transport }
    }

    /// The hello.
    pub fn client_hello(&self) -> ClientHello<'_> {
        match &self.hello {
            Beginning::Read(hello) => hello.client_hello(),
            Beginning::Given(accepted) => accepted.client_hello(),
        }
    }

    /// Makes the future of the rest of the handshake.
    pub fn into_stream(self, config: Arc<ServerConfig>) -> Accept<IO> {
        self.accept(&TlsAcceptor::from(config))
    }

    /// As [`into_stream`](Self::into_stream), with an acceptor that is kept: its configuration is prepared once, and its
    /// parking and its deadline hold.
    pub fn accept(self, acceptor: &TlsAcceptor) -> Accept<IO> {
        let (Self { hello, ahead, io }, TlsAcceptor(acceptor)) = (self, acceptor);
        let (config, way) = acceptor.way();
        let (hello, way) = match (hello, way) {
            (Beginning::Read(hello), way) => (hello, way),
            (Beginning::Given(accepted), ParkingWay::Never) => {
                (Hello::given(accepted), ParkingWay::Never)
            }
            (Beginning::Given(accepted), _) => (Hello::given(accepted), ParkingWay::Fiber),
        };
        let options = acceptor.options().clone();
        Accept(task::Accept(Handshake::after_hello(io, ahead, options, config, way, hello)))
    }

    /// As [`into_stream`](Self::into_stream), and calls `f` with the new connection. The handshake parks on a fiber, except
    /// that of [`from_parts`](Self::from_parts), which chooses and signs here and now.
    pub fn into_stream_with<F>(self, config: Arc<ServerConfig>, f: F) -> Accept<IO>
    where
        F: FnOnce(&mut ServerConnection),
    {
        let Self { hello, mut ahead, io } = self;
        let acceptor = task::TlsAcceptor::remembering(config);
        Accept(task::Accept(match hello {
            Beginning::Read(hello) => {
                ahead.unread(hello.into_bytes());
                seen(&acceptor, io, ahead, f)
            }
            Beginning::Given(accepted) => {
                let (config, _) = acceptor.way();
                let max_early_data = config.max_early_data_size;
                let exchange = acceptor.options().exchange.clone();
                let make = move || Hello::given(accepted).into_processed(config);
                let made = Work::create(make, exchange).run();
                made_with(&acceptor, io, ahead, max_early_data, made, f)
            }
        }))
    }
}

impl<IO> core::fmt::Debug for StartHandshake<IO> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StartHandshake").finish_non_exhaustive()
    }
}

/// A server's stream.
#[derive(Debug)]
pub struct TlsStream<IO>(task::TlsStream<IO>);

parts!(TlsStream.0, Server, ServerConnection);

impl<IO> From<TlsStream<IO>> for task::TlsStream<IO> {
    fn from(stream: TlsStream<IO>) -> Self {
        stream.0
    }
}

impl<IO: AsRawFd> AsRawFd for TlsStream<IO> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

delegate!(TlsStream: TlsStream);
