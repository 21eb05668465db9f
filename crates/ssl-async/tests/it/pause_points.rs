//! Every point where a session can pause, and everything that can happen to it there.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crypto_ops::{CryptoOp, SoftwareKeys, device_handles};
use engine_core::{Engine, EngineError, Terms};
use job_core::JobPool;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, ServerConfig};
use ssl_async::{
    Acceptor, Outcome, Ssl, SslContext, SslError, TlsError, offload_key, offload_key_exchange,
    offload_tickets, resolve_async, resolve_client_async, verify_client_async, verify_server_async,
};

use crate::support::{
    Identity, KeyType, ManualDevice, Pipe, PlainPeer, TestClock, Version, exchange_data, localhost,
    pipe, provider, turn,
};

/// Futures of hooks that wait for a verdict, oldest first.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<VecDeque<Gate>>>);

struct Gate {
    name: &'static str,
    verdict: Arc<Mutex<Option<bool>>>,
    waker: Waker,
}

impl Gates {
    async fn ask(&self, name: &'static str) -> bool {
        let verdict = Arc::new(Mutex::new(None));
        let mut asked = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut asked, true) {
                let (verdict, waker) = (Arc::clone(&verdict), cx.waker().clone());
                self.0.lock().unwrap().push_back(Gate { name, verdict, waker });
            }
            verdict.lock().unwrap().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Everything that can be offloaded is.
struct World {
    ours: Identity,
    theirs: Identity,
    keys: Arc<SoftwareKeys>,
    device: Arc<ManualDevice>,
    engine: Arc<Engine<CryptoOp>>,
    key: Arc<dyn SigningKey>,
    clock: TestClock,
    gates: Gates,
    pool: JobPool,
}

const DEADLINE: Duration = Duration::from_secs(5);

impl World {
    fn new() -> Self {
        let (ours, theirs) = (Identity::new(KeyType::P256), Identity::new(KeyType::P256));
        let keys = Arc::new(SoftwareKeys::new());
        let handle = keys.load_pem(&ours.pem).unwrap();
        let device = ManualDevice::new(Arc::clone(&keys), 8);
        let clock = TestClock::default();
        let engine = Engine::builder(device.clone())
            .clock(Arc::new(clock.clone()))
            .terms(Terms::new().deadline(DEADLINE))
            .build();
        let key = offload_key(Arc::clone(&engine), handle);
        let (gates, pool) = (Gates::default(), JobPool::new());
        Self { ours, theirs, keys, device, engine, key, clock, gates, pool }
    }

    /// The usual provider with one group; for a client, perhaps one that its server does not want.
    fn provider(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
        CryptoProvider { kx_groups: groups.to_vec(), ..provider() }
    }

    fn their_key(&self) -> Arc<dyn SigningKey> {
        let key = self.keys.load_pem(&self.theirs.pem).unwrap();
        let inline = Arc::new(engine_core::Inline::new({
            let keys = Arc::clone(&self.keys);
            move |op: &CryptoOp| keys.execute(op).map_err(|_| engine_core::DeviceError::Lost)
        }));
        offload_key(Engine::builder(inline).build(), key)
    }

    fn server(&self, version: Version) -> SslContext {
        let provider = Arc::new(offload_key_exchange(Self::provider(&[kx_group::X25519])));
        let inner =
            WebPkiClientVerifier::builder_with_provider(self.theirs.roots(), provider.clone());
        let gates = self.gates.clone();
        let verifier = verify_client_async(inner.build().unwrap(), async move |_peer| {
            judged(gates.ask("client certificate").await)
        });
        let chain = vec![self.ours.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key)));
        let gates = self.gates.clone();
        let resolver = resolve_async(async move |_hello| {
            gates.ask("resolve").await.then(|| Arc::clone(&certified))
        });
        let period = Duration::from_secs(3600);
        let ticketer = offload_tickets(Arc::clone(&self.engine), &provider, period).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.ticketer = ticketer;
        config.send_tls13_tickets = 1;
        SslContext::server(Arc::new(config)).key_exchange(Arc::clone(&self.engine))
    }

    fn client(&self, version: Version) -> SslContext<ClientConfig> {
        // The server does not want the first group: TLS 1.3 needs a second hello.
        let groups = [kx_group::SECP384R1, kx_group::X25519];
        let provider = Arc::new(offload_key_exchange(Self::provider(&groups)));
        let inner =
            WebPkiServerVerifier::builder_with_provider(self.theirs.roots(), provider.clone());
        let gates = self.gates.clone();
        let verifier = verify_server_async(inner.build().unwrap(), async move |_peer| {
            judged(gates.ask("server certificate").await)
        });
        let chain = vec![self.ours.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key)));
        let gates = self.gates.clone();
        let resolver = resolve_client_async(async move |wanted| {
            assert!(!wanted.authorities.is_empty() && !wanted.schemes.is_empty());
            gates.ask("resolve client").await.then(|| Arc::clone(&certified))
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        SslContext::client(Arc::new(config)).key_exchange(Arc::clone(&self.engine))
    }

    fn plain_client(&self, version: Version, io: Pipe) -> PlainPeer {
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.ours.roots())
            .with_client_cert_resolver(self.theirs.certified(self.their_key()));
        PlainPeer::client(config, io)
    }

    fn plain_server(&self, version: Version, io: Pipe) -> PlainPeer {
        let provider = Arc::new(Self::provider(&[kx_group::X25519]));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.ours.roots(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(self.theirs.certified(self.their_key()));
        PlainPeer::server(config, io)
    }

    fn pair(&self, role: Role, version: Version) -> (Ssl<Pipe>, PlainPeer) {
        let (ours, theirs) = pipe();
        match role {
            Role::Server => {
                let ssl = Ssl::accept(&self.server(version), &self.pool, ours).unwrap();
                (ssl, self.plain_client(version, theirs))
            }
            Role::Accepted => {
                let mut peer = self.plain_client(version, theirs);
                peer.step();
                let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
                (accepted.into_session(&self.server(version), &self.pool), peer)
            }
            Role::Client => {
                let ssl = Ssl::connect(&self.client(version), &self.pool, localhost(), ours);
                (ssl, self.plain_server(version, theirs))
            }
        }
    }

    /// What the session is parked on.
    fn point(&self) -> &'static str {
        let gate = self.gates.0.lock().unwrap().front().map(|gate| gate.name);
        gate.unwrap_or_else(|| self.device.kinds()[0])
    }

    /// Answers what the session is parked on.
    fn answer(&self, well: bool) {
        let gate = self.gates.0.lock().unwrap().pop_front();
        match gate {
            Some(gate) => {
                *gate.verdict.lock().unwrap() = Some(well);
                gate.waker.wake();
            }
            None if well => self.device.answer(),
            None => self.device.fail(),
        }
    }

    /// Carries the handshake on until the session is parked for the `n`th time. None if it is done before.
    fn park(&self, ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer, n: usize) -> Option<&'static str> {
        let mut parked = 0;
        for _ in 0..60 {
            match ssl.do_handshake().unwrap() {
                Outcome::WantAsync if parked == n => return Some(self.point()),
                Outcome::WantAsync => {
                    parked += 1;
                    self.answer(true);
                }
                Outcome::Ready(()) if !peer.tls.is_handshaking() => return None,
                _ => peer.step(),
            }
        }
        panic!("the handshake does not end: {ssl:?}")
    }

    fn finish(&self, ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer) {
        assert_eq!(self.park(ssl, peer, usize::MAX), None);
        exchange_data(ssl, peer);
    }

    /// Nothing is left, whatever happened, once the device has answered what it still holds.
    fn assert_ledger_is_zero(&self, what: &str) {
        while self.device.held() > 0 {
            self.device.answer();
        }
        self.gates.0.lock().unwrap().clear();
        let (jobs, engine) = (self.pool.stats(), self.engine.snapshot());
        assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0), "{what}");
        assert_eq!((engine.requests.now, engine.waiters.now), (0, 0), "{what}");
        assert_eq!(device_handles().now, 0, "{what}");
    }
}

/// Where a TLS 1.3 client pauses before it has sent anything.
const FIRST_OF_A_CLIENT: &str = "agree-p384";

fn judged(good: bool) -> Result<(), TlsError> {
    if good { Ok(()) } else { Err(CertificateError::Revoked.into()) }
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Server,
    /// A server that has read the client's hello before.
    Accepted,
    Client,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Drop,
    PeerCloses,
    OtherCalls,
    SpuriousWakes,
    Failure,
    Deadline,
    Clear,
    ModeOff,
}

const EVENTS: [Event; 8] = [
    Event::Drop,
    Event::PeerCloses,
    Event::OtherCalls,
    Event::SpuriousWakes,
    Event::Failure,
    Event::Deadline,
    Event::Clear,
    Event::ModeOff,
];

fn happens(
    world: &World,
    event: Event,
    point: &str,
    mut ssl: Ssl<Pipe>,
    mut peer: PlainPeer,
    version: Version,
) {
    let is_ticket = point == "ticket";
    match event {
        // The device answers afterwards, in the check of the ledger: a late completion.
        Event::Drop => drop(ssl),
        Event::PeerCloses => {
            peer.io.close();
            // A peer that may have finished from its side is answered first; the close counts then.
            while ssl.watch_peer().is_ok() {
                world.answer(true);
                match ssl.do_handshake() {
                    Ok(Outcome::WantAsync) => {}
                    Ok(_) => break,
                    Err(error) => assert!(matches!(error, SslError::PeerClosed(_)), "{error}"),
                }
            }
        }
        Event::OtherCalls => {
            for _ in 0..2 {
                assert_eq!(ssl.read(&mut [0; 8]).unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.peek(&mut [0; 8]).unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.write(b"early").unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.flush().unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.shutdown().unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.key_update().unwrap(), Outcome::WantAsync);
            }
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
        Event::SpuriousWakes => {
            let accepted = world.engine.snapshot().accepted;
            for _ in 0..5 {
                ssl.wait_ctx().notifier().waker().wake();
                assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            }
            assert_eq!(world.engine.snapshot().accepted, accepted, "law L2");
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
        // A ticket that cannot be made is not missed.
        Event::Failure | Event::Deadline if is_ticket => {
            world.answer(false);
            world.finish(&mut ssl, &mut peer);
        }
        // A client without a certificate goes on, and is turned away.
        Event::Failure if point == "resolve client" => {
            world.answer(false);
            let refused = (0..10).find_map(|_| match ssl.read(&mut [0; 8]) {
                Ok(Outcome::WantAsync) => {
                    world.answer(true);
                    None
                }
                Ok(_) => {
                    let _refuses = peer.try_step();
                    None
                }
                Err(error) => Some(error),
            });
            let alert = matches!(refused, Some(SslError::Tls(TlsError::AlertReceived(_))));
            assert!(alert, "{refused:?}");
        }
        Event::Failure => {
            world.answer(false);
            let first = ssl.do_handshake().unwrap_err().to_string();
            let second = ssl.read(&mut [0; 8]).unwrap_err().to_string();
            assert_eq!(first, second, "law L15");
            // The peer is told, unless it was not spoken to yet: by an alert of its failure, or by a close. (In the
            // clear, before the keys of TLS 1.2 are there, rustls takes note of neither.)
            let told = peer.io.peek().ends_with(&[21, 3, 3, 0, 2, 1, 0])
                || peer.try_step().is_err()
                || peer.tls.process_new_packets().is_ok_and(|state| state.peer_has_closed());
            assert_eq!(told, point != FIRST_OF_A_CLIENT, "{point}");
        }
        Event::Deadline if world.device.held() > 0 => {
            world.clock.advance(2 * DEADLINE);
            let _next = world.engine.poll();
            let failed = ssl.do_handshake();
            assert!(matches!(failed, Err(SslError::Failed(EngineError::Deadline))), "{failed:?}");
        }
        // A future has no deadline but its own.
        Event::Deadline => {
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
        Event::Clear => {
            let (ours, theirs) = pipe();
            drop(ssl.clear(ours).unwrap());
            let is_server = matches!(peer.tls, rustls::Connection::Client(_));
            let mut peer = match is_server {
                true => world.plain_client(version, theirs),
                false => world.plain_server(version, theirs),
            };
            // What is left of the connection before is answered too late.
            while world.device.held() > 0 {
                world.device.answer();
            }
            world.gates.0.lock().unwrap().clear();
            world.finish(&mut ssl, &mut peer);
        }
        Event::ModeOff => {
            ssl.set_async_mode(false);
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            ssl.set_async_mode(true);
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
    }
}

fn every_point(role: Role, version: Version) -> Vec<&'static str> {
    let _turn = turn();
    let world = World::new();
    let mut points = Vec::new();
    for n in 0..20 {
        for event in EVENTS {
            let (mut ssl, mut peer) = world.pair(role, version);
            let Some(point) = world.park(&mut ssl, &mut peer, n) else {
                drop((ssl, peer));
                world.assert_ledger_is_zero("a whole handshake");
                return points;
            };
            if points.len() == n {
                points.push(point);
            }
            happens(&world, event, point, ssl, peer, version);
            world.assert_ledger_is_zero(&format!("{event:?} at {point}"));
        }
    }
    panic!("a handshake cannot pause so often")
}

#[test]
fn a_tls13_server_survives_everything_at_every_pause_point() {
    let expected = ["resolve", "agree-x25519", "sign-ecdsa-p256", "client certificate", "ticket"];
    assert_eq!(every_point(Role::Server, &TLS13), expected);
    assert_eq!(every_point(Role::Accepted, &TLS13), expected);
}

#[test]
fn a_tls12_server_survives_everything_at_every_pause_point() {
    let expected = [
        "resolve",
        "agree-x25519",
        "sign-ecdsa-p256",
        "client certificate",
        "agree-x25519",
        "ticket",
    ];
    assert_eq!(every_point(Role::Server, &TLS12), expected);
    assert_eq!(every_point(Role::Accepted, &TLS12), expected);
}

#[test]
fn a_tls13_client_survives_everything_at_every_pause_point() {
    let points = every_point(Role::Client, &TLS13);
    let expected = [
        "agree-p384",
        "agree-x25519",
        "agree-x25519",
        "resolve client",
        "server certificate",
        "sign-ecdsa-p256",
    ];
    assert_eq!(points, expected);
}

#[test]
fn a_tls12_client_survives_everything_at_every_pause_point() {
    let points = every_point(Role::Client, &TLS12);
    let expected =
        ["resolve client", "server certificate", "agree-x25519", "sign-ecdsa-p256", "agree-x25519"];
    assert_eq!(points, expected);
}
