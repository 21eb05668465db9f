//! Measuring this machine: what the stations of a handshake cost the serving thread here, as a cost profile.
//!
//! ```text
//!   one thread, loopback TCP; the server's steps are timed by the CPU time of the thread, the client's are not
//!
//!     client says hello --> [ accept, hello, | sign, | answer ] --> client --> [ finish, goodbye ] --> client
//!                             hello_us         sign_us  answer_us                finish_us
//! ```
//!
//! The server is the connection of the real event loop over a socket that does not block, and each of its steps asks a
//! poller first, as the loop does. Each figure is the median of many handshakes of one kind: full or resumed, over each
//! version, and in full with each type of key for its signature. One that resumes signs nothing: up to its answer all is `hello_us`.

use std::{
    io,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{CheckPolicy, DeviceError, Engine, Inline};
use job_core::JobPool;
use mio::{Events, Interest, Poll, Token};
use rustls::{client::Resumption, pki_types::ServerName, sign::SigningKey};
use ssl_async::{Ssl, SslContext, SslError};

use crate::{
    certs::{SERVER_NAME, TestPki},
    cpu::{this_machine, thread_cpu},
    keys,
    load::{ClientError, TlsClient, Verified, client_config},
    scenario::{ConnectionKind, KeyType, ParkingMethod, TlsVersion},
    server::{Connection, LiveCounters, Milestone, Service, Session as _, SessionProgress},
    stepped::{CostProfile, Segments, SignCosts},
};

/// Handshakes before the first that counts: caches, page faults, lazy binding.
const WARM_UP: usize = 20;

/// Turns of client and server that one handshake may need; two are usual.
const TURNS: usize = 1_000;

/// Why a machine could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    #[error("loopback TCP: {0}")]
    Socket(#[from] io::Error),
    #[error("certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("the server's key: {0}")]
    Key(#[from] crypto_ops::KeyFileError),
    #[error("the server: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the server: {0}")]
    Session(#[from] SslError),
    #[error("the client: {0}")]
    Client(#[from] ClientError),
    #[error("a handshake that was to resume was done in full")]
    NotResumed,
    #[error("a handshake was not done after {TURNS} turns of client and server")]
    Stuck,
}

/// Measures this machine on the calling thread with `handshakes` handshakes of each kind. The profile gets the name
/// `name`.
///
/// # Errors
/// When loopback TCP or a handshake fails.
///
/// # Panics
/// If `handshakes` is zero.
pub fn calibrate(name: &str, handshakes: usize) -> Result<CostProfile, CalibrateError> {
    assert!(handshakes > 0, "a median needs a handshake");
    let of = |kind, parking| Rig::new(kind, parking)?.measure(handshakes);
    let full = |key, tls| of(ConnectionKind { key, tls, resumed: false }, ParkingMethod::Fiber);
    let (resumed, replay) = (
        |tls| of(ConnectionKind { key: KeyType::P256, tls, resumed: true }, ParkingMethod::Fiber),
        |tls| of(ConnectionKind { key: KeyType::P256, tls, resumed: false }, ParkingMethod::Replay),
    );
    let [tls12, tls13] = [TlsVersion::Tls12, TlsVersion::Tls13];
    let (p256, p256_tls12) = (full(KeyType::P256, tls13)?, full(KeyType::P256, tls12)?);
    let kinds =
        [&p256, &resumed(tls13)?, &p256_tls12, &resumed(tls12)?, &replay(tls13)?, &replay(tls12)?];
    let segments = kinds.map(HandshakeTimes::segments);
    let sign = |key| Ok::<_, CalibrateError>(median(&full(key, tls13)?.sign));
    let machine = this_machine();
    let cpu = machine.cpu.as_deref().unwrap_or("an unknown processor");
    let build = if machine.optimised { "optimised" } else { "unoptimised" };
    let origin = format!(
        "Medians of {handshakes} handshakes over loopback TCP on {cpu} ({} processors): X25519, a chain of one certificate, \
         {build} build; who resumes gets a new ticket. CPU time of the serving thread, socket calls and the asking of a poller included.",
        machine.cpus
    );
    Ok(CostProfile::new(
        name,
        &origin,
        segments,
        CostProfile::reference().parked_bytes,
        SignCosts {
            p256: median(&p256.sign),
            p384: sign(KeyType::P384)?,
            ed25519: sign(KeyType::Ed25519)?,
            rsa2048: sign(KeyType::Rsa2048)?,
        },
    ))
}

/// When the last signature was asked for, and when it was there, by the CPU time of the thread.
type SignTimes = Arc<Mutex<Option<(Duration, Duration)>>>;

/// What each handshake cost, station by station.
#[derive(Debug, Default)]
struct HandshakeTimes {
    hello: Vec<Duration>,
    sign: Vec<Duration>,
    answer: Vec<Duration>,
    finish: Vec<Duration>,
}

impl HandshakeTimes {
    fn segments(&self) -> Segments {
        Segments {
            hello_us: median(&self.hello),
            answer_us: median(&self.answer),
            finish_us: median(&self.finish),
        }
    }
}

/// The median in microseconds, to a tenth; 0 if nothing was measured.
fn median(times: &[Duration]) -> f64 {
    if times.is_empty() {
        return 0.0;
    }
    let mut times = times.to_vec();
    times.sort_unstable();
    (times[times.len() / 2].as_secs_f64() * 1e7).round() / 10.0
}

/// A server whose key reports when it signs, and the configuration of its clients.
struct Rig {
    listener: TcpListener,
    poll: Poll,
    events: Events,
    pool: JobPool,
    context: SslContext,
    client: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    signed: SignTimes,
    resumes: bool,
    live: LiveCounters,
}

/// A key in software that notes when it signs; by replay an engine asks it, as soon as the handshake has parked.
fn timed_key(
    pki: &TestPki,
    parking: ParkingMethod,
    signed: &SignTimes,
) -> Result<Arc<dyn SigningKey>, CalibrateError> {
    let times = Arc::clone(signed);
    let note = move |asked| {
        let there = thread_cpu();
        *times.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, there));
    };
    Ok(match parking {
        ParkingMethod::Fiber => keys::watched(pki.software_key()?, move |_, sign| {
            let asked = thread_cpu();
            let signature = sign();
            note(asked);
            signature
        }),
        ParkingMethod::Replay => {
            let store = SoftwareKeys::new();
            let handle = store.load_pem(&pki.key_pem)?;
            let inline = Inline::new(move |op: &CryptoOp| {
                let asked = thread_cpu();
                let signature = store.execute(op);
                note(asked);
                signature.map_err(|error| DeviceError::reported(&error))
            });
            let engine = Engine::builder(Arc::new(inline)).checks(CheckPolicy::Required).build();
            ssl_async::offload::key_handle(engine, handle)
        }
    })
}

impl Rig {
    fn new(kind: ConnectionKind, parking: ParkingMethod) -> Result<Self, CalibrateError> {
        let pki = TestPki::generate(kind.key)?;
        let signed = SignTimes::default();
        let key = timed_key(&pki, parking, &signed)?;
        let tickets = kind.resumed.then(keys::tickets).transpose()?;
        let fleet = vec![(SERVER_NAME.to_owned(), pki.certificate.clone(), key)];
        let config = keys::fleet_config(keys::provider(parking), fleet, tickets)?;
        let mut client = client_config(Some(&pki.ca), kind.tls, &Verified::default())?;
        if kind.resumed {
            client.resumption = Resumption::in_memory_sessions(1);
        }
        Ok(Self {
            listener: TcpListener::bind(("127.0.0.1", 0))?,
            poll: Poll::new()?,
            events: Events::with_capacity(16),
            pool: JobPool::new(),
            context: SslContext::server(Arc::new(config)).parking(parking.strictly()),
            client: Arc::new(client),
            name: ServerName::try_from(SERVER_NAME).expect("a DNS name"),
            signed,
            resumes: kind.resumed,
            live: LiveCounters::default(),
        })
    }

    fn measure(&mut self, handshakes: usize) -> Result<HandshakeTimes, CalibrateError> {
        let mut costs = HandshakeTimes::default();
        for _ in 0..WARM_UP {
            self.handshake(&mut HandshakeTimes::default())?;
        }
        for _ in 0..handshakes {
            self.handshake(&mut costs)?;
        }
        // Of the warm-up only the first was in full.
        if self.resumes && !costs.sign.is_empty() {
            return Err(CalibrateError::NotResumed);
        }
        Ok(costs)
    }

    fn handshake(&mut self, costs: &mut HandshakeTimes) -> Result<(), CalibrateError> {
        let socket = TcpStream::connect(self.listener.local_addr()?)?;
        socket.set_nonblocking(true)?;
        // With a reset at the end no connection stays behind in TIME_WAIT.
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))
            .map_err(io::Error::from)?;
        let mut client = TlsClient::new(socket, &self.client, &self.name)?;
        client.drive()?;

        let begun = thread_cpu();
        let mut server = self.accept()?;
        let (mut hello, mut finish) = (thread_cpu() - begun, Duration::ZERO);
        for _ in 0..TURNS {
            let answered_before = server.milestone() >= Milestone::Answered;
            let begun = thread_cpu();
            self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
            let progress = server.advance(&self.live)?;
            let ended = progress == SessionProgress::Ended;
            let spent = if ended {
                // The goodbye is the server's last, and the socket closes with it.
                drop(server);
                finish += thread_cpu() - begun;
                costs.finish.push(finish);
                costs.hello.push(hello);
                return if goodbye(&mut client)? { Ok(()) } else { Err(CalibrateError::Stuck) };
            } else {
                thread_cpu() - begun
            };
            let signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner).take();
            match signed {
                Some((asked, signed)) => {
                    hello += asked - begun;
                    costs.sign.push(signed - asked);
                    costs.answer.push(begun + spent - signed);
                }
                None if answered_before => finish += spent,
                None => hello += spent,
            }
            client.drive()?;
        }
        Err(CalibrateError::Stuck)
    }

    /// As the event loop takes up a connection.
    fn accept(&mut self) -> Result<Connection<mio::net::TcpStream>, CalibrateError> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        let (socket, _) = self.listener.accept()?;
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        socket.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(0), interest)?;
        let ssl = Ssl::accept(&self.context, &self.pool, socket)?;
        Ok(Connection::new(ssl, Service::HandshakeOnly, None))
    }
}

/// The client takes up the server's goodbye, which is there already.
fn goodbye(client: &mut TlsClient<TcpStream>) -> Result<bool, CalibrateError> {
    let mut turns = (0..TURNS).map(|_| client.drive());
    Ok(turns.find(|driven| !matches!(driven, Ok(false))).transpose()?.is_some())
}
