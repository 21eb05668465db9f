//! The two sides of a handshake in memory: a client, and a server that is plain rustls, a session on a fiber, or one that
//! is parked by replay.

use std::future::Future;
use std::io::{self, Read, Write};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crypto_ops::{CryptoOp, CryptoOutput, KeyHandle, SignOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceRefused, Engine, Request};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use ssl_async::{JobPool, Outcome, Ssl, SslContext, offload};
use tls_replay::{
    EngineSession, Question, ReplayConfig, ReplayKey, Session, SessionOptions, replayable,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wait_ctx::Route;

use handshake_lab::certs::{SERVER_NAME, TestPki};
use handshake_lab::keys;
use handshake_lab::load::{Verified, client_config, client_config_over};
use handshake_lab::scenario::{KeyType, TlsVersion};

/// What a handshake is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    P256,
    Rsa2048,
    MlKem,
}

impl Suite {
    /// What follows the name of a bench.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::P256 => "",
            Self::Rsa2048 => ".rsa2048",
            Self::MlKem => ".x25519mlkem768",
        }
    }

    /// The same for a bench of replay.
    pub(crate) const fn replay_suffix(self) -> &'static str {
        match self {
            Self::P256 => ".replay",
            Self::Rsa2048 => ".replay_rsa2048",
            Self::MlKem => ".replay_mlkem",
        }
    }

    fn group(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::P256 | Self::Rsa2048 => kx_group::X25519,
            Self::MlKem => kx_group::X25519MLKEM768,
        }
    }
}

/// A key, its certificate, and clients. Those of [`new`](Self::new) trust blindly: in most arms the signature is garbage.
pub(crate) struct Fixture {
    pub(crate) keys: Arc<SoftwareKeys>,
    handle: KeyHandle,
    chain: Vec<CertificateDer<'static>>,
    client: Arc<ClientConfig>,
}

impl Fixture {
    /// With clients that trust one authority alone, and count in `verified`: for signatures that are real.
    pub(crate) fn verifying(verified: &Verified) -> Result<Self, String> {
        let pki = TestPki::generate(KeyType::P256).map_err(text)?;
        let keys = Arc::new(SoftwareKeys::new());
        let handle = keys.load_pem(&pki.key_pem).map_err(text)?;
        let client = client_config(Some(&pki.ca), TlsVersion::Tls13, verified).map_err(text)?;
        Ok(Self { keys, handle, chain: vec![pki.certificate], client: Arc::new(client) })
    }

    pub(crate) fn new(suite: Suite) -> Result<Self, String> {
        let algorithm = match suite {
            Suite::P256 | Suite::MlKem => &rcgen::PKCS_ECDSA_P256_SHA256,
            Suite::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        let pair = rcgen::KeyPair::generate_for(algorithm).map_err(text)?;
        let params = rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(text)?;
        let certificate = params.self_signed(&pair).map_err(text)?;
        let keys = Arc::new(SoftwareKeys::new());
        let handle = keys.load_pem(&pair.serialize_pem()).map_err(text)?;
        let provider = CryptoProvider { kx_groups: vec![suite.group()], ..default_provider() };
        let client = client_config_over(provider, None, TlsVersion::Tls13, &Verified::default())
            .map_err(text)?;
        let chain = vec![certificate.der().clone()];
        Ok(Self { keys, handle, chain, client: Arc::new(client) })
    }

    /// rustls's own server whose signature is garbage at once.
    pub(crate) fn plain(&self) -> Result<Arc<ServerConfig>, String> {
        let key = keys::free_sign(self.handle.clone());
        keys::server_config(self.chain.clone(), key).map(Arc::new).map_err(text)
    }

    /// The same, for our server on a task: it is never parked.
    pub(crate) fn unparked(&self) -> Result<Arc<ServerConfig>, String> {
        let (key, provider) =
            (keys::free_sign(self.handle.clone()), ssl_async::replayable(default_provider()));
        let config = keys::server_config_over(provider, self.chain.clone(), key);
        config.map(Arc::new).map_err(text)
    }

    /// Our server on fibers, whose signature `engine` makes.
    pub(crate) fn ours(&self, engine: Arc<Engine<CryptoOp>>) -> Result<SslContext, String> {
        let key = offload::key_handle(engine, self.handle.clone());
        let config = keys::server_config(self.chain.clone(), key).map_err(text)?;
        Ok(SslContext::server(Arc::new(config)))
    }

    /// A server that is parked by replay. The signatures of its sessions are those that [`Replaying`] asks an engine for.
    pub(crate) fn replay(&self) -> Result<ReplayConfig, String> {
        // Outside a session the key is not used.
        let key = ReplayKey::new(keys::free_sign(self.handle.clone()))
            .with_context(Arc::new(self.handle.clone()));
        let provider = replayable(default_provider());
        let config = keys::server_config_over(provider, self.chain.clone(), Arc::new(key));
        ReplayConfig::new(config.map_err(text)?).map_err(text)
    }

    /// A signature such as a handshake asks for.
    pub(crate) fn signature(&self) -> CryptoOp {
        let scheme = *self.handle.schemes().first().expect("a key signs by some scheme");
        let message = vec![0; 130];
        CryptoOp::Sign(SignOp::new(self.handle.clone(), scheme, message).expect("its own scheme"))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.client)
    }
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A client. It goes on when told to, by way of the server's wire.
pub(crate) struct Client(ClientConnection);

impl Client {
    pub(crate) fn new(config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
        let tls = ClientConnection::new(Arc::clone(config), name);
        Self(tls.expect("the same configuration made others"))
    }

    /// Reads what has come and writes what is to go.
    pub(crate) fn step(&mut self, wire: &mut Wire) {
        let mut flight = wire.to_client.as_slice();
        while !flight.is_empty() {
            self.0.read_tls(&mut flight).expect("memory does not fail");
            self.0.process_new_packets().expect("the client is content with anything");
        }
        wire.to_client.clear();
        while self.0.wants_write() {
            self.0.write_tls(&mut wire.to_server).expect("memory does not fail");
        }
    }
}

/// The server's end of a wire in memory.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.to_server.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = self.to_server.as_slice().read(into)?;
        // What is on the wire is not the server's to hold.
        if size == self.to_server.len() {
            self.to_server = Vec::new();
        } else {
            self.to_server.drain(..size);
        }
        Ok(size)
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.to_client.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// It is polled by hand, so its waker does nothing.
impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match self.read(into.initialize_unfilled()) {
            Ok(read) => {
                into.advance(read);
                Ok(())
            }
            Err(_would_block) => return Poll::Pending,
        })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A device that answers nothing by itself: it keeps its requests, in their order, until they are taken.
#[derive(Debug, Default)]
pub(crate) struct Keeper(Mutex<Vec<Option<Request<CryptoOp>>>>);

impl Keeper {
    /// Takes the request of this number, counted from 0, unless it has been.
    pub(crate) fn take(&self, number: usize) -> Option<Request<CryptoOp>> {
        self.0.lock().expect("never held across a panic")[number].take()
    }
}

impl Accelerator<CryptoOp> for Keeper {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), DeviceRefused<CryptoOp>> {
        self.0.lock().expect("never held across a panic").push(Some(request));
        Ok(())
    }
}

/// What a server came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stood {
    WaitsForPeer,
    Parked,
    Done,
}

/// A server of one connection.
pub(crate) trait Server {
    fn step(&mut self) -> Stood;
    fn wire(&mut self) -> &mut Wire;
}

/// rustls alone.
pub(crate) struct Plain {
    tls: Box<ServerConnection>,
    wire: Wire,
}

impl Plain {
    pub(crate) fn new(config: &Arc<ServerConfig>, wire: Wire) -> Self {
        let tls = ServerConnection::new(Arc::clone(config)).expect("a valid configuration");
        Self { tls: Box::new(tls), wire }
    }

    /// Reads and processes what has come; what there is to say stays in the connection.
    pub(crate) fn process(&mut self) {
        while !self.wire.to_server.is_empty() {
            self.tls.read_tls(&mut self.wire).expect("memory does not fail");
            self.tls.process_new_packets().expect("the server is content");
        }
    }
}

impl Server for Plain {
    fn step(&mut self) -> Stood {
        self.process();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.wire).expect("memory does not fail");
        }
        if self.tls.is_handshaking() { Stood::WaitsForPeer } else { Stood::Done }
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// A session on a fiber.
pub(crate) struct Ours(Ssl<Wire>);

impl Ours {
    pub(crate) fn new(context: &SslContext, pool: &JobPool, wire: Wire) -> Self {
        Self(Ssl::accept(context, pool, wire).expect("a valid configuration"))
    }

    /// Sends its wakes there.
    pub(crate) fn route(self, route: Route) -> Self {
        self.0.wait_ctx().notifier().set_route(route);
        self
    }
}

impl Server for Ours {
    fn step(&mut self) -> Stood {
        match self.0.do_handshake().expect("the server is content") {
            Outcome::Ready(()) => Stood::Done,
            Outcome::WantAsync => Stood::Parked,
            _ => Stood::WaitsForPeer,
        }
    }

    fn wire(&mut self) -> &mut Wire {
        self.0.io_mut()
    }
}

/// A handshake that is parked by replay.
pub(crate) struct Replaying {
    session: EngineSession<CryptoOp>,
    waker: Waker,
    wire: Wire,
}

impl Replaying {
    /// `engine` signs, and wakes `waker` when it has.
    pub(crate) fn new(
        config: &ReplayConfig,
        engine: &Arc<Engine<CryptoOp>>,
        waker: Waker,
        wire: Wire,
    ) -> Self {
        let session = Session::new(config.clone(), SessionOptions::default());
        let engine = Arc::clone(engine);
        let session =
            EngineSession::new(session, engine, signature_asked, CryptoOutput::into_signature);
        Self { session, waker, wire }
    }
}

fn signature_asked(session: &Session) -> Option<CryptoOp> {
    let Question::Signature { scheme, message } = session.question()? else { return None };
    let key = session.context()?.downcast_ref::<KeyHandle>()?;
    let scheme = *key.schemes().iter().find(|known| known.to_u16() == u16::from(scheme))?;
    SignOp::new(key.clone(), scheme, message.to_vec()).ok().map(CryptoOp::Sign)
}

impl Server for Replaying {
    fn step(&mut self) -> Stood {
        let output = &mut self.wire.to_client;
        let received = mem::take(&mut self.wire.to_server);
        if !received.is_empty() {
            self.session.hear(&received, output).expect("the server is content");
        }
        let mut cx = Context::from_waker(&self.waker);
        let Poll::Ready(stage) = self.session.poll_resume(&mut cx, output) else {
            return Stood::Parked;
        };
        stage.expect("the server is content");
        match self.session.connection() {
            Some(tls) if !tls.is_handshaking() => Stood::Done,
            _ => Stood::WaitsForPeer,
        }
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// The future of an acceptor, ours or that of tokio-rustls.
pub(crate) trait Accepting:
    Future<Output = Result<Self::Stream, Self::Error>> + Unpin
{
    type Stream;
    type Error: std::fmt::Debug;
    fn io(&mut self) -> Option<&mut Wire>;
}

impl Accepting for ssl_async::task::Accept<Wire> {
    type Stream = ssl_async::task::TlsStream<Wire>;
    type Error = ssl_async::SslError;

    fn io(&mut self) -> Option<&mut Wire> {
        self.get_mut()
    }
}

impl Accepting for tokio_rustls::Accept<Wire> {
    type Stream = tokio_rustls::server::TlsStream<Wire>;
    type Error = io::Error;

    fn io(&mut self) -> Option<&mut Wire> {
        self.get_mut()
    }
}

/// A handshake as a task has it, polled by hand.
pub(crate) struct OnTask<A: Accepting> {
    accept: A,
    stream: Option<A::Stream>,
}

impl<A: Accepting> OnTask<A> {
    pub(crate) fn new(accept: A) -> Self {
        Self { accept, stream: None }
    }
}

impl<A: Accepting> Server for OnTask<A> {
    fn step(&mut self) -> Stood {
        match Pin::new(&mut self.accept).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => {
                self.stream = Some(done.expect("the server is content"));
                Stood::Done
            }
            Poll::Pending => Stood::WaitsForPeer,
        }
    }

    fn wire(&mut self) -> &mut Wire {
        self.accept.io().expect("it is not done")
    }
}
