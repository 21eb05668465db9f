//! Early data in both roles against plain rustls: accepted and refused, parked and not.

use std::io::{Read, Write};
use std::sync::{Arc, MutexGuard};

use engine_core::Engine;
use job_core::{JobPool, wait_for};
use proptest::prelude::*;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP384R1, X25519};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, Connection, ServerConfig};
use ssl_async::{Acceptor, Outcome, Ssl, SslContext, SslError, offload};

use crate::support::{
    Fixture, KeyType, ManualDevice, Pipe, PlainPeer, client_config, fixture, localhost, pipe,
    provider, server_config, turn,
};

/// The server's limit.
const MOST: usize = 1000;

/// A client with a ticket of a server that accepts early data. The key exchange of either side may be on `device`.
struct World {
    device: Arc<ManualDevice>,
    engine: Arc<Engine<crypto_ops::CryptoOp>>,
    server: ServerConfig,
    client: Arc<ClientConfig>,
    _fixture: Fixture,
    /// Last, so that no key of the device is left when others have their turn.
    _turn: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> Self {
        let turn = turn();
        let fixture = fixture(KeyType::P256, 4);
        fixture.device.set_answers_at_once(true);
        let device = ManualDevice::new(Arc::clone(&fixture.keys), 4);
        let engine = Engine::builder(device.clone()).build();
        let groups = |kx_groups| offload::key_exchange(CryptoProvider { kx_groups, ..provider() });
        let server = groups(vec![X25519, SECP384R1]);
        let mut server = server_config(server, &[&TLS13], &fixture.identity, &fixture.key);
        server.max_early_data_size = u32::try_from(MOST).unwrap();
        server.send_tls13_tickets = 4;
        let mut client = client_config(groups(vec![X25519, SECP384R1]), &TLS13, &fixture.identity);
        client.enable_early_data = true;
        let world = Self {
            device,
            engine,
            server,
            client: Arc::new(client),
            _fixture: fixture,
            _turn: turn,
        };
        let (ours, theirs) = pipe();
        let mut client = PlainPeer::client(Arc::clone(&world.client), theirs);
        let mut server = PlainPeer::server(world.server.clone(), ours);
        for _ in 0..3 {
            client.step();
            server.step();
        }
        client.step();
        assert!(!server.tls.is_handshaking());
        world
    }

    /// A server's session whose key exchange parks.
    fn accept(&self, config: ServerConfig, io: Pipe) -> Ssl<Pipe> {
        let context = SslContext::server(Arc::new(config)).key_exchange(Arc::clone(&self.engine));
        Ssl::accept(&context, &JobPool::new(), io).unwrap()
    }

    fn connect(&self, io: Pipe) -> Ssl<Pipe> {
        let context =
            SslContext::client(Arc::clone(&self.client)).key_exchange(Arc::clone(&self.engine));
        Ssl::connect(&context, &JobPool::new(), localhost(), io)
    }

    /// A server that cannot accept early data, because it requests a second hello.
    fn retrying(&self) -> ServerConfig {
        let groups = CryptoProvider { kx_groups: vec![SECP384R1], ..provider() };
        let fixture = &self._fixture;
        let mut config = server_config(groups, &[&TLS13], &fixture.identity, &fixture.key);
        config.session_storage = Arc::clone(&self.server.session_storage);
        config.max_early_data_size = self.server.max_early_data_size;
        config
    }

    /// A server that no longer accepts early data.
    fn refusing(&self) -> ServerConfig {
        let mut config = self.server.clone();
        config.max_early_data_size = 0;
        config
    }
}

/// Repeats the call while it is parked; the device answers.
fn answered<T>(device: &ManualDevice, mut call: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    for _ in 0..10 {
        match call() {
            Outcome::WantAsync => device.answer(),
            outcome => return outcome,
        }
    }
    panic!("the call does not end")
}

fn client_of(tls: &mut Connection) -> &mut rustls::ClientConnection {
    match tls {
        Connection::Client(client) => client,
        Connection::Server(_) => panic!("a server"),
    }
}

fn early_of(tls: &mut Connection) -> Vec<u8> {
    let Connection::Server(server) = tls else { panic!("a client") };
    let mut early = Vec::new();
    if let Some(mut reader) = server.early_data() {
        reader.read_to_end(&mut early).unwrap();
    }
    early
}

#[test]
fn a_client_sends_early_data_up_to_the_limit_and_the_rest_after_the_handshake() {
    for size in [1, 500, MOST, MOST + 1, 3 * MOST] {
        let world = World::new();
        let (ours, theirs) = pipe();
        let mut ssl = world.connect(ours);
        let mut server = PlainPeer::server(world.server.clone(), theirs);
        let data: Vec<u8> = (0..size).map(|n| n as u8).collect();
        // The key share is made first, and parks.
        assert_eq!(ssl.write_early_data(&data).unwrap(), Outcome::WantAsync);
        let taken = answered(&world.device, || ssl.write_early_data(&data).unwrap());
        let taken = taken.ready().unwrap();
        assert_eq!(taken, size.min(MOST));
        assert!(!ssl.is_early_data_accepted(), "it is not known yet");
        // More than is allowed.
        let more = ssl.write_early_data(&[7; 2 * MOST]).unwrap();
        let extra = MOST - taken;
        assert_eq!(more, Outcome::Ready(extra));
        assert_eq!(ssl.write_early_data(b"more").unwrap(), Outcome::Ready(0));
        server.step();
        assert_eq!(early_of(&mut server.tls), [&data[..taken], &vec![7; extra]].concat());

        while answered(&world.device, || ssl.do_handshake().unwrap()) != Outcome::Ready(()) {
            server.step();
        }
        assert!(ssl.is_early_data_accepted());
        assert_eq!(ssl.write_early_data(b"late").unwrap(), Outcome::Ready(0));
        let left = size - taken;
        if left > 0 {
            assert_eq!(ssl.write(&data[taken..]).unwrap(), Outcome::Ready(left));
        }
        assert_eq!(server.received(), data[taken..]);
        assert_eq!(early_of(&mut server.tls), b"", "and not twice");
    }
}

#[test]
fn a_client_whose_early_data_is_refused_sends_it_again() {
    for is_retry in [false, true] {
        let world = World::new();
        let config = if is_retry { world.retrying() } else { world.refusing() };
        let (ours, theirs) = pipe();
        let mut ssl = world.connect(ours);
        let mut server = PlainPeer::server(config, theirs);
        let taken = answered(&world.device, || ssl.write_early_data(b"question").unwrap());
        assert_eq!(taken, Outcome::Ready(8));
        server.step();
        while answered(&world.device, || ssl.do_handshake().unwrap()) != Outcome::Ready(()) {
            server.step();
        }
        assert!(!ssl.is_early_data_accepted());
        assert_eq!(ssl.write(b"question").unwrap(), Outcome::Ready(8));
        assert_eq!(server.received(), b"question", "once");
        assert_eq!(early_of(&mut server.tls), b"");
    }
}

/// With early data under way an alert in the clear would break the protocol; rustls's encrypted one is sent.
#[test]
fn a_failed_key_exchange_with_early_data_under_way_sends_an_encrypted_alert() {
    let world = World::new();
    let (ours, theirs) = pipe();
    let mut ssl = world.connect(ours);
    let mut server = PlainPeer::server(world.server.clone(), theirs);
    answered(&world.device, || ssl.write_early_data(b"question").unwrap()).ready().unwrap();
    server.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    world.device.fail();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(_))));
    let told = server.try_step().unwrap_err();
    assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::IllegalParameter));
}

#[test]
fn without_an_allowance_no_early_data_is_taken() {
    let fixture = fixture(KeyType::P256, 4);
    fixture.device.set_answers_at_once(true);
    let (ours, theirs) = pipe();
    let pool = JobPool::new();
    let mut client = fixture.session(&pool, ours);
    let mut server = Ssl::accept(&fixture.server, &pool, theirs).unwrap();
    assert_eq!(client.write_early_data(b"early").unwrap(), Outcome::Ready(0));
    assert_eq!(client.read_early_data(&mut [0; 8]).unwrap(), Outcome::Ready(0));
    assert_eq!(server.write_early_data(b"early").unwrap(), Outcome::Ready(0));
    assert_eq!(server.read_early_data(&mut [0; 8]).unwrap(), Outcome::Ready(0));
    for _ in 0..3 {
        let _outcome = client.do_handshake().unwrap();
        let _outcome = server.do_handshake().unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert!(!client.is_early_data_accepted() && !server.is_early_data_accepted());
    assert_eq!(server.read_early_data(&mut [0; 8]).unwrap(), Outcome::Ready(0));
}

/// A session store whose `put` waits for the test.
#[derive(Debug)]
struct Slow(Arc<ServerSessionMemoryCache>, gate::Gate);

/// A gate for hooks, without a runtime.
mod gate {
    use core::pin::Pin;
    use core::task::{Context, Poll, Waker};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Debug, Default)]
    pub(super) struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

    impl Gate {
        pub(super) fn open(&self) {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            if let Some(waker) = state.1.take() {
                drop(state);
                waker.wake();
            }
        }
    }

    impl Future for Gate {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap();
            state.1 = Some(cx.waker().clone());
            if state.0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }
}

impl StoresServerSessions for Slow {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        wait_for(core::pin::pin!(self.1.clone())).is_ok() && self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[test]
fn a_server_reads_early_data_while_the_handshake_is_parked() {
    let mut world = World::new();
    let cache = ServerSessionMemoryCache::new(64);
    let gate = gate::Gate::default();
    world.server.session_storage = cache.clone();
    // A session to resume, with that store.
    let (ours, theirs) = pipe();
    let mut client = PlainPeer::client(Arc::clone(&world.client), theirs);
    let mut server = PlainPeer::server(world.server.clone(), ours);
    for _ in 0..3 {
        client.step();
        server.step();
    }
    client.step();

    let mut config = world.server.clone();
    config.session_storage = Arc::new(Slow(cache, gate.clone()));
    let (ours, theirs) = pipe();
    let mut client = PlainPeer::client(Arc::clone(&world.client), theirs);
    client_of(&mut client.tls).early_data().unwrap().write_all(b"one").unwrap();
    while client.tls.wants_write() {
        client.tls.write_tls(&mut client.io).unwrap();
    }
    let mut ssl = world.accept(config, ours);
    let mut buffer = [0; 64];
    // Parked in the hello, it cannot be decrypted yet.
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::WantAsync);
    world.device.answer();
    assert_eq!(ssl.read_early_data(&mut buffer[..2]).unwrap(), Outcome::Ready(2));
    assert!(ssl.is_early_data_accepted() && ssl.is_handshaking());
    assert_eq!(ssl.read_early_data(&mut []).unwrap(), Outcome::Ready(0));
    assert_eq!(ssl.read_early_data(&mut buffer[2..]).unwrap(), Outcome::Ready(1));
    assert_eq!(&buffer[..3], b"one");
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::WantRead);

    // More of it, its end, and Finished arrive together; Finished makes the store wait.
    client_of(&mut client.tls).early_data().unwrap().write_all(b"two").unwrap();
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert!(ssl.waiting_for_async());
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::Ready(3));
    assert_eq!(&buffer[..3], b"two");
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::WantAsync);
    gate.open();
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::Ready(0));
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    client.send(b"three");
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(5));
    assert_eq!(&buffer[..5], b"three");
}

#[test]
fn a_server_that_refuses_early_data_gets_it_once_from_a_client_that_sends_it_again() {
    for is_retry in [false, true] {
        let world = World::new();
        let config = if is_retry { world.retrying() } else { world.refusing() };
        let (ours, theirs) = pipe();
        let mut client = PlainPeer::client(Arc::clone(&world.client), theirs);
        client_of(&mut client.tls).early_data().unwrap().write_all(b"question").unwrap();
        client.step();
        let mut ssl = world.accept(config, ours);
        let mut buffer = [0; 64];
        let early = answered(&world.device, || ssl.read_early_data(&mut buffer).unwrap());
        assert_eq!(early, Outcome::Ready(0));
        for _ in 0..4 {
            let _outcome = answered(&world.device, || ssl.do_handshake().unwrap());
            client.step();
        }
        assert!(!ssl.is_handshaking() && !ssl.is_early_data_accepted());
        assert!(!client_of(&mut client.tls).is_early_data_accepted());
        client.send(b"question");
        assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(8));
        assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::Ready(0));
    }
}

#[test]
fn early_data_is_readable_after_an_acceptor() {
    let world = World::new();
    let (ours, theirs) = pipe();
    let mut client = PlainPeer::client(Arc::clone(&world.client), theirs);
    client_of(&mut client.tls).early_data().unwrap().write_all(b"question").unwrap();
    client.step();
    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
    let context = SslContext::server(Arc::new(world.server.clone()));
    let mut ssl = accepted.into_session(&context, &JobPool::new());
    let mut buffer = [0; 64];
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::Ready(8));
    assert_eq!(&buffer[..8], b"question");
}

#[test]
fn a_cleared_session_has_no_early_data_of_the_one_before() {
    let world = World::new();
    let (ours, theirs) = pipe();
    let mut client = PlainPeer::client(Arc::clone(&world.client), theirs);
    client_of(&mut client.tls).early_data().unwrap().write_all(b"question").unwrap();
    client.step();
    let mut ssl = world.accept(world.server.clone(), ours);
    let mut buffer = [0; 4];
    let early = answered(&world.device, || ssl.read_early_data(&mut buffer).unwrap());
    assert_eq!(early, Outcome::Ready(4));
    let (ours, _theirs) = pipe();
    drop(ssl.clear(ours).unwrap());
    assert!(!ssl.is_early_data_accepted());
    assert_eq!(ssl.read_early_data(&mut buffer).unwrap(), Outcome::WantRead);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    /// Two of our sessions, both key exchanges parked, any sizes, reads and segmentation: the server gets every byte once,
    /// in order.
    #[test]
    fn every_byte_arrives_once_in_order(
        pieces in prop::collection::vec(1..400usize, 1..6),
        reads in prop::collection::vec(1..300usize, 1..6),
        cuts in prop::collection::vec(1..200usize, 1..8),
        is_refused in prop::bool::weighted(0.3),
    ) {
        let world = World::new();
        let config = if is_refused { world.refusing() } else { world.server.clone() };
        let ((client_io, mut from_client), (mut to_server, server_io)) = (pipe(), pipe());
        let (mut client, mut server) = (world.connect(client_io), world.accept(config, server_io));
        let (mut early, mut sent) = (Vec::new(), 0u8);
        for piece in pieces {
            let data: Vec<u8> = (0..piece).map(|n| sent.wrapping_add(n as u8)).collect();
            let taken = answered(&world.device, || client.write_early_data(&data).unwrap());
            let taken = taken.ready().unwrap();
            sent = sent.wrapping_add(taken as u8);
            early.extend_from_slice(&data[..taken]);
        }
        let (mut got, mut reads, mut cuts) = (Vec::new(), reads.iter().cycle(), cuts.iter().cycle());
        let mut replayed = false;
        for _ in 0..4000 {
            // The network, segmented towards the server.
            let mut cut = vec![0; *cuts.next().unwrap()];
            if let Ok(n) = from_client.read(&mut cut) {
                to_server.write_all(&cut[..n]).unwrap();
            }
            let mut into = vec![0; *reads.next().unwrap()];
            match server.read_early_data(&mut into).unwrap() {
                Outcome::WantAsync => world.device.answer(),
                Outcome::Ready(0) => {
                    if server.do_handshake().unwrap() == Outcome::WantAsync {
                        world.device.answer();
                    }
                    if !server.is_handshaking()
                        && let Outcome::Ready(n) = server.read(&mut into).unwrap()
                    {
                        got.extend_from_slice(&into[..n]);
                    }
                }
                Outcome::Ready(n) => got.extend_from_slice(&into[..n]),
                _ => {}
            }
            let mut back = [0; 4096];
            if let Ok(n) = to_server.read(&mut back) {
                from_client.write_all(&back[..n]).unwrap();
            }
            match client.do_handshake().unwrap() {
                Outcome::WantAsync => world.device.answer(),
                Outcome::Ready(()) if !replayed => {
                    replayed = true;
                    prop_assert_eq!(client.is_early_data_accepted(), !is_refused);
                    let again: &[u8] = if is_refused { &early } else { b"" };
                    prop_assert_eq!(client.write(again).unwrap(), Outcome::Ready(again.len()));
                }
                _ => {}
            }
            if got.len() == early.len() && replayed && !server.is_handshaking() {
                break;
            }
        }
        prop_assert_eq!(got, early);
        prop_assert_eq!(server.is_early_data_accepted(), !is_refused);
    }
}
