//! The libraries that are compared, behind one trait.

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Connection, RootCertStore, ServerConfig};
use ssl_async::{Parking, replayable, task};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

/// What a program calls that serves and connects with TLS on tokio.
pub(crate) trait Library {
    const NAME: &'static str;
    type Stream: AsyncRead + AsyncWrite + AsyncBufRead + Unpin;

    /// The cryptography of a server's configuration.
    fn provider() -> CryptoProvider;

    async fn accept(config: Arc<ServerConfig>, io: DuplexStream) -> io::Result<Self::Stream>;
    async fn connect(config: Arc<ClientConfig>, io: DuplexStream) -> io::Result<Self::Stream>;

    /// Connects and sends `data`, early if the server takes it.
    async fn connect_early(
        config: Arc<ClientConfig>,
        io: DuplexStream,
        data: &[u8],
    ) -> io::Result<Self::Stream>;

    /// Whether the transport comes back with the error.
    async fn gives_the_transport_back(config: Arc<ServerConfig>, io: DuplexStream) -> bool;

    /// The host that the hello names, before there is a configuration; then the rest of the handshake.
    async fn read_hello(
        io: DuplexStream,
        config: Arc<ServerConfig>,
    ) -> io::Result<(Option<String>, Self::Stream)>;

    /// What the transport still has, until its end, when the reading of a hello alone has failed.
    async fn behind_a_refused_hello(io: DuplexStream) -> Vec<u8>;

    /// The first `len` bytes that the transport has after the connection has been taken off it.
    async fn behind(stream: Self::Stream, len: usize) -> io::Result<Vec<u8>>;

    fn early_data(stream: &mut Self::Stream) -> Vec<u8>;
    fn alpn(stream: &Self::Stream) -> Option<Vec<u8>>;
}

pub(crate) struct TokioRustls;
/// This crate by tokio-rustls's names, with handshakes by replay.
pub(crate) struct Compat;

/// Calls a library by tokio-rustls's names.
macro_rules! by_its_names {
    ($library:ident, $name:literal, $provider:expr, $($names:ident)::+) => {
impl Library for $library {
    const NAME: &'static str = $name;
    type Stream = $($names)::+::TlsStream<DuplexStream>;

    fn provider() -> CryptoProvider {
        $provider
    }

    async fn accept(config: Arc<ServerConfig>, io: DuplexStream) -> io::Result<Self::Stream> {
        Ok($($names)::+::TlsAcceptor::from(config).accept(io).await?.into())
    }

    async fn connect(config: Arc<ClientConfig>, io: DuplexStream) -> io::Result<Self::Stream> {
        Ok($($names)::+::TlsConnector::from(config).connect(localhost(), io).await?.into())
    }

    async fn connect_early(
        config: Arc<ClientConfig>,
        io: DuplexStream,
        data: &[u8],
    ) -> io::Result<Self::Stream> {
        let connector = $($names)::+::TlsConnector::from(config).early_data(true);
        let mut stream = connector.connect(localhost(), io).await?;
        stream.write_all(data).await?;
        stream.flush().await?;
        Ok(stream.into())
    }

    async fn gives_the_transport_back(config: Arc<ServerConfig>, io: DuplexStream) -> bool {
        let accept = $($names)::+::TlsAcceptor::from(config).accept(io);
        match accept.into_fallible().await {
            Ok(_) => false,
            Err((_, mut io)) => io.write_all(b"still here").await.is_ok(),
        }
    }

    async fn read_hello(
        io: DuplexStream,
        config: Arc<ServerConfig>,
    ) -> io::Result<(Option<String>, Self::Stream)> {
        let acceptor = rustls::server::Acceptor::default();
        let start = $($names)::+::LazyConfigAcceptor::new(acceptor, io).await?;
        let name = start.client_hello().server_name().map(str::to_owned);
        Ok((name, start.into_stream(config).await?.into()))
    }

    async fn behind_a_refused_hello(io: DuplexStream) -> Vec<u8> {
        let acceptor = rustls::server::Acceptor::default();
        let mut start = $($names)::+::LazyConfigAcceptor::new(acceptor, io);
        assert!((&mut start).await.is_err());
        let mut left = Vec::new();
        start.take_io().unwrap().read_to_end(&mut left).await.unwrap();
        left
    }

    async fn behind(stream: Self::Stream, len: usize) -> io::Result<Vec<u8>> {
        let mut io = match stream {
            $($names)::+::TlsStream::Client(stream) => stream.into_inner().0,
            $($names)::+::TlsStream::Server(stream) => stream.into_inner().0,
        };
        let mut bytes = vec![0; len];
        io.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    fn early_data(stream: &mut Self::Stream) -> Vec<u8> {
        let $($names)::+::TlsStream::Server(stream) = stream else { return Vec::new() };
        let mut bytes = Vec::new();
        if let Some(mut early) = stream.get_mut().1.early_data() {
            io::Read::read_to_end(&mut early, &mut bytes).unwrap();
        }
        bytes
    }

    fn alpn(stream: &Self::Stream) -> Option<Vec<u8>> {
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    }
}
    };
}

by_its_names!(TokioRustls, "tokio-rustls", aws_lc_rs::default_provider(), tokio_rustls);
by_its_names!(
    Compat,
    "ssl-async by tokio-rustls's names",
    replayable(aws_lc_rs::default_provider()),
    ssl_async::task::compat
);

/// This crate: by replay, or on fibers.
pub(crate) struct Ours<const REPLAY: bool>;
pub(crate) type OnFiber = Ours<false>;
pub(crate) type ByReplay = Ours<true>;

impl<const REPLAY: bool> Ours<REPLAY> {
    fn acceptor(config: Arc<ServerConfig>) -> task::TlsAcceptor {
        let parking = if REPLAY { Parking::Auto } else { Parking::Fiber };
        task::TlsAcceptor::from(config).parking(parking)
    }
}

impl<const REPLAY: bool> Library for Ours<REPLAY> {
    const NAME: &'static str = if REPLAY { "ssl-async by replay" } else { "ssl-async on a fiber" };
    type Stream = task::TlsStream<DuplexStream>;

    fn provider() -> CryptoProvider {
        let provider = aws_lc_rs::default_provider();
        if REPLAY { replayable(provider) } else { provider }
    }

    async fn accept(config: Arc<ServerConfig>, io: DuplexStream) -> io::Result<Self::Stream> {
        Ok(Self::acceptor(config).accept(io).await?)
    }

    async fn connect(config: Arc<ClientConfig>, io: DuplexStream) -> io::Result<Self::Stream> {
        Ok(task::TlsConnector::from(config).connect(localhost(), io).await?)
    }

    async fn connect_early(
        config: Arc<ClientConfig>,
        io: DuplexStream,
        data: &[u8],
    ) -> io::Result<Self::Stream> {
        Ok(task::TlsConnector::from(config).connect(localhost(), io).early_data(data).await?)
    }

    async fn gives_the_transport_back(config: Arc<ServerConfig>, io: DuplexStream) -> bool {
        match Self::acceptor(config).accept(io).into_fallible().await {
            Ok(_) => false,
            Err((_, mut io)) => io.write_all(b"still here").await.is_ok(),
        }
    }

    async fn read_hello(
        io: DuplexStream,
        config: Arc<ServerConfig>,
    ) -> io::Result<(Option<String>, Self::Stream)> {
        let start = task::StartHandshake::read(io).await?;
        let name = start.client_hello().server_name().map(str::to_owned);
        Ok((name, start.accept(&Self::acceptor(config)).await?))
    }

    async fn behind_a_refused_hello(mut io: DuplexStream) -> Vec<u8> {
        assert!(task::StartHandshake::read(&mut io).await.is_err());
        let mut left = Vec::new();
        io.read_to_end(&mut left).await.unwrap();
        left
    }

    async fn behind(stream: Self::Stream, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        stream.into_inner().0.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    fn early_data(stream: &mut Self::Stream) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 256]);
        while let Ok(len @ 1..) = stream.read_early_data(&mut buffer) {
            bytes.extend_from_slice(&buffer[..len]);
        }
        bytes
    }

    fn alpn(stream: &Self::Stream) -> Option<Vec<u8>> {
        let connection: &Connection = stream.get_ref().1;
        connection.alpn_protocol().map(<[u8]>::to_vec)
    }
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// A server's and a client's configuration, whose certificate and trust belong together.
pub(crate) struct Configs {
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
}

/// TLS 1.3 and 1.2, no client certificates, tickets as rustls has them by default.
pub(crate) fn configs<L: Library>() -> Configs {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(L::provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Configs { server, client }
}

/// A connection between this library's server and its client.
pub(crate) async fn pair<L: Library>() -> (L::Stream, L::Stream) {
    let Configs { server, client } = configs::<L>();
    pair_with::<L>(Arc::new(server), Arc::new(client)).await
}

pub(crate) async fn pair_with<L: Library>(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (L::Stream, L::Stream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (server, client) = tokio::join!(L::accept(server, ours), L::connect(client, theirs));
    (server.expect("a server's connection"), client.expect("a client's connection"))
}

/// An error as a program sees it: its kind, rustls's error if it is one, and its text.
pub(crate) fn said<T>(result: &io::Result<T>, value: impl Fn(&T) -> String) -> String {
    match result {
        Ok(done) => value(done),
        Err(error) => {
            let is = error.get_ref().is_some_and(|error| error.is::<rustls::Error>());
            let is = if is { ", a rustls::Error" } else { "" };
            format!("{:?}{is}: {error}", error.kind())
        }
    }
}
