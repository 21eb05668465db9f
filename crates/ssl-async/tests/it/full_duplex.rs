//! Packets that park after the handshake, with data under way in both directions.
//!
//! After a handshake rustls reaches none of this crate's hooks, but still calls some that a program may have replaced: a
//! client's ticket store, and the cipher at a change of keys. Those of this file wait for a device each time.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use engine_core::{CheckFailed, Engine, Kind, Work};
use job_core::JobPool;
use proptest::prelude::*;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs::cipher_suite};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ConnectionTrafficSecrets, NamedGroup, SupportedCipherSuite, Tls13CipherSuite};
use ssl_async::{ClosedDuring, Outcome, Ssl, SslContext, SslError};

use crate::support::{
    Fixture, KeyType, ManualDevice, Pipe, PlainPeer, client_config, fixture, localhost, pipe,
    provider, server_config,
};

/// The work of this file's hooks.
struct Leave;

impl Work for Leave {
    type Output = ();

    fn kind(&self) -> Kind {
        Kind::new("leave")
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }
}

thread_local! {
    /// The engine of the hooks; none during a handshake.
    static ASKED: RefCell<Option<Arc<Engine<Leave>>>> = const { RefCell::new(None) };
}

fn ask() {
    if let Some(engine) = ASKED.with_borrow(Clone::clone) {
        assert!(job_core::current().is_some(), "a packet is processed in a job");
        // Fails if the session was dropped; none of these hooks can return an error.
        let _given_up = engine.run(Leave);
    }
}

#[derive(Debug)]
struct SlowStore(ClientSessionMemoryCache);

impl ClientSessionStore for SlowStore {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        ask();
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}

/// A cipher that waits for the device before it takes a key for reading.
struct SlowCipher(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for SlowCipher {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        ask();
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

/// rustls takes cipher suites as `&'static`.
static SLOW_SUITE: LazyLock<Tls13CipherSuite> = LazyLock::new(|| {
    let SupportedCipherSuite::Tls13(suite) = cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        panic!("a suite of TLS 1.3")
    };
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    Tls13CipherSuite {
        common: CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: Box::leak(Box::new(SlowCipher(suite.aead_alg))),
        quic: None,
    }
});

fn slow_provider() -> CryptoProvider {
    let cipher_suites = vec![SupportedCipherSuite::Tls13(LazyLock::force(&SLOW_SUITE))];
    CryptoProvider { cipher_suites, ..provider() }
}

/// Tickets that a server sends after the handshake.
const TICKETS: usize = 3;

/// A session and its peer after the handshake, with the data sent and received since.
struct World {
    device: Arc<ManualDevice<Leave>>,
    engine: Arc<Engine<Leave>>,
    pool: JobPool,
    ssl: Ssl<Pipe>,
    peer: PlainPeer,
    // The key of the server, be it session or peer.
    _fixture: Fixture,
    ours: Vec<u8>,
    ours_arrived: Vec<u8>,
    theirs: Vec<u8>,
    theirs_arrived: Vec<u8>,
}

impl World {
    fn new(is_server: bool) -> Self {
        ASKED.set(None);
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        fixture.device.set_answers_at_once(true);
        let (ours, theirs) = pipe();
        let (mut ssl, mut peer) = if is_server {
            let config = server_config(slow_provider(), &[&TLS13], &fixture.identity, &fixture.key);
            let context = SslContext::server(Arc::new(config));
            let ssl = Ssl::accept(&context, &pool, ours).unwrap();
            (ssl, fixture.client(&TLS13, theirs))
        } else {
            let mut config = client_config(slow_provider(), &TLS13, &fixture.identity);
            let store = SlowStore(ClientSessionMemoryCache::new(8));
            config.resumption = Resumption::store(Arc::new(store));
            let context = SslContext::client(Arc::new(config));
            let mut server = fixture.server_config(&[&TLS13]);
            server.send_tls13_tickets = TICKETS;
            let ssl = Ssl::connect(&context, &pool, localhost(), ours);
            (ssl, PlainPeer::server(server, theirs))
        };
        for _ in 0..4 {
            let _outcome = ssl.do_handshake().unwrap();
            peer.step();
        }
        assert!(!ssl.is_handshaking() && !peer.tls.is_handshaking());
        let device = ManualDevice::doing(64, |_: &Leave| Ok(()));
        let engine = Engine::builder(device.clone()).build();
        ASKED.set(Some(Arc::clone(&engine)));
        let (ours, ours_arrived, theirs, theirs_arrived) = Default::default();
        Self {
            device,
            engine,
            pool,
            ssl,
            peer,
            _fixture: fixture,
            ours,
            ours_arrived,
            theirs,
            theirs_arrived,
        }
    }

    /// The value of a call, which must not fail, and must wait for the device exactly if a packet is parked.
    fn checked<T: Copy + PartialEq + core::fmt::Debug>(
        &self,
        result: Result<Outcome<T>, SslError>,
    ) -> Option<T> {
        let outcome = result.expect("the peer and the device did nothing wrong");
        let is_parked = self.device.held() > 0;
        assert_eq!(outcome == Outcome::WantAsync, is_parked, "{outcome:?}");
        assert_eq!(self.ssl.waiting_for_async(), is_parked);
        assert_eq!(self.ssl.connection().is_none(), is_parked);
        assert_eq!(self.pool.stats().live, usize::from(is_parked));
        assert!(!self.ssl.is_handshaking());
        outcome.ready()
    }

    fn read(&mut self, len: usize) -> Option<usize> {
        let mut buffer = vec![UNTOUCHED; len];
        let result = self.ssl.read(&mut buffer);
        let n = self.checked(result);
        let (new, rest) = buffer.split_at(n.unwrap_or(0));
        assert!(rest.iter().all(|byte| *byte == UNTOUCHED));
        self.theirs_arrived.extend_from_slice(new);
        n
    }

    fn write(&mut self, data: &[u8]) -> Option<usize> {
        let result = self.ssl.write(data);
        let n = self.checked(result)?;
        self.ours.extend_from_slice(&data[..n]);
        Some(n)
    }

    fn peer_writes(&mut self, data: &[u8]) {
        self.peer.send(data);
        self.theirs.extend_from_slice(data);
    }

    /// Parks the session when it reads that.
    fn peer_updates_keys(&mut self) {
        self.peer.tls.refresh_traffic_keys().unwrap();
        self.peer.step();
    }

    fn peer_reads(&mut self) {
        self.ours_arrived.extend(self.peer.received());
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Read(len) => {
                let _n = self.read(len);
            }
            Action::Peek(len) => {
                let mut buffer = vec![UNTOUCHED; len];
                let result = self.ssl.peek(&mut buffer);
                let n = self.checked(result).unwrap_or(0);
                assert!(self.theirs[self.theirs_arrived.len()..].starts_with(&buffer[..n]));
            }
            Action::Write(len) => {
                let _n = self.write(&pattern(self.ours.len(), len));
            }
            Action::Flush => {
                let result = self.ssl.flush();
                self.checked(result);
            }
            Action::Handshake => {
                let result = self.ssl.do_handshake();
                self.checked(result);
            }
            Action::KeyUpdate => {
                let result = self.ssl.key_update();
                self.checked(result);
            }
            Action::WatchPeer => self.ssl.watch_peer().unwrap(),
            Action::Answer if self.device.held() > 0 => self.device.answer(),
            Action::Answer => {}
            Action::PeerReads => self.peer_reads(),
            Action::PeerWrites(len) => self.peer_writes(&pattern(self.theirs.len(), len)),
            Action::PeerUpdatesKeys => self.peer_updates_keys(),
        }
    }

    /// Reads until nothing more has arrived, or the stream has ended.
    fn read_on(&mut self) {
        for _ in 0..10_000 {
            match self.read(512) {
                Some(0) => return,
                Some(_) => {}
                None if self.device.held() > 0 => self.device.answer(),
                None => return,
            }
        }
        panic!("there is no end to what is read");
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        self.read_on();
        assert!(self.theirs_arrived == self.theirs);
        for _ in 0..8 {
            let _sent = self.ssl.flush().unwrap();
            self.peer_reads();
        }
        assert!(self.ours_arrived == self.ours);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        ASKED.set(None);
    }
}

/// A byte that no peer sends.
const UNTOUCHED: u8 = 0xff;

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|n| (n % 251) as u8).collect()
}

#[derive(Clone, Debug)]
enum Action {
    Read(usize),
    Peek(usize),
    Write(usize),
    Flush,
    Handshake,
    KeyUpdate,
    WatchPeer,
    Answer,
    PeerReads,
    PeerWrites(usize),
    PeerUpdatesKeys,
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (1..300_usize).prop_map(Action::Read),
        1 => (1..300_usize).prop_map(Action::Peek),
        3 => (1..3000_usize).prop_map(Action::Write),
        1 => Just(Action::Flush),
        1 => Just(Action::Handshake),
        1 => Just(Action::KeyUpdate),
        1 => Just(Action::WatchPeer),
        2 => Just(Action::Answer),
        1 => Just(Action::PeerReads),
        3 => (1..3000_usize).prop_map(Action::PeerWrites),
        2 => Just(Action::PeerUpdatesKeys),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn data_arrives_both_ways_whatever_parks_and_waiting_is_never_an_error(
        is_server in any::<bool>(),
        actions in prop::collection::vec(any_action(), 1..60),
    ) {
        let mut world = World::new(is_server);
        for action in &actions {
            world.act(action);
        }
        world.settle();
        prop_assert_eq!((world.pool.stats().live, world.engine.stats().requests.now), (0, 0));
    }
}

#[test]
fn while_a_ticket_or_a_key_is_awaited_every_call_waits_and_no_data_is_lost_or_repeated() {
    for (is_server, parks) in [(true, 1), (false, TICKETS + 1)] {
        let mut world = World::new(is_server);
        assert_eq!(world.write(b"sent before"), Some(11));
        world.peer_writes(b"read before");
        world.peer_updates_keys();
        world.peer_writes(b" and behind");
        for _ in 0..parks {
            let sent = world.peer.io.peek();
            for _ in 0..2 {
                assert_eq!((world.read(8), world.write(b"refused")), (None, None));
                assert_eq!(world.ssl.do_handshake().unwrap(), Outcome::WantAsync);
                assert_eq!(world.ssl.peek(&mut [0; 8]).unwrap(), Outcome::WantAsync);
                assert_eq!(world.ssl.flush().unwrap(), Outcome::WantAsync);
                assert_eq!(world.ssl.key_update().unwrap(), Outcome::WantAsync);
                assert_eq!(world.ssl.shutdown().unwrap(), Outcome::WantAsync);
            }
            assert_eq!(world.peer.io.peek(), sent);
            world.device.answer();
        }
        assert_eq!(world.write(b", sent behind"), Some(13));
        world.settle();
        assert_eq!(world.ours, b"sent before, sent behind");
        assert_eq!(world.engine.stats().accepted, parks as u64, "law L2");
    }
}

#[test]
fn a_close_behind_a_parked_packet_counts_after_its_data_was_read() {
    for (is_server, in_order) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::new(is_server);
        world.peer_updates_keys();
        world.peer_writes(b"last words");
        if in_order {
            world.peer.tls.send_close_notify();
            world.peer.step();
        }
        assert_eq!(world.read(4), None);
        world.peer.io.close();
        for _ in 0..2 {
            world.ssl.watch_peer().unwrap();
            assert_eq!(world.read(4), None);
        }
        while world.device.held() > 0 {
            world.device.answer();
            let _n = world.read(4);
        }
        while world.theirs_arrived.len() < world.theirs.len() {
            assert!(world.read(4).is_some());
        }
        match world.ssl.read(&mut [0; 4]) {
            Ok(outcome) => assert!(in_order && outcome == Outcome::Ready(0), "{outcome:?}"),
            Err(SslError::PeerClosed(ClosedDuring::Data)) => assert!(!in_order),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn l5_a_session_cleared_with_a_packet_parked_after_its_handshake_leaves_nothing() {
    for is_server in [false, true] {
        let mut world = World::new(is_server);
        world.peer_updates_keys();
        assert_eq!(world.read(4), None);
        let (unused, _) = pipe();
        let cleared = world.ssl.clear(unused);
        assert!(cleared.is_ok() && world.ssl.is_handshaking());
        assert_eq!((world.pool.stats().live, world.pool.stats().quarantined), (0, 0));
        world.device.answer();
        let counted = world.engine.stats();
        assert_eq!((counted.cancelled, counted.late, counted.requests.now), (1, 1, 0));
    }
}
