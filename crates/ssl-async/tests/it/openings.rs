//! A hello with hundreds of tickets.

use core::time::Duration;
use std::io::{self, Write};
use std::sync::Arc;

use engine_core::Engine;
use job_core::JobPool;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP384R1, X25519};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use ssl_async::{Acceptor, Outcome, Ssl, SslContext, offload};

use crate::support::{
    Fixture, KeyType, ManualDevice, Pipe, PlainPeer, TestClock, fixture, localhost, pipe, provider,
    server_config, shake,
};

/// The limit of openings per hello.
const MOST: u64 = 4;

/// A server that offloads only its tickets to `device`, and a client that has one of them.
struct World {
    device: Arc<ManualDevice>,
    engine: Arc<Engine<crypto_ops::CryptoOp>>,
    config: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    _fixture: Fixture,
}

impl World {
    /// A server that may request a second hello.
    fn new(is_retry: bool) -> Self {
        let fixture = fixture(KeyType::P256, 4);
        fixture.device.set_answers_at_once(true);
        let device = ManualDevice::new(Arc::clone(&fixture.keys), 16);
        // It stands still: outside a session, what belongs to one hello is told by the time.
        let engine = Engine::builder(device.clone()).clock(Arc::new(TestClock::default())).build();
        let kx_groups = if is_retry { vec![SECP384R1] } else { vec![X25519] };
        let groups = CryptoProvider { kx_groups, ..provider() };
        let mut config = server_config(groups, &[&TLS13], &fixture.identity, &fixture.key);
        let hour = Duration::from_secs(3600);
        config.ticketer = offload::tickets(Arc::clone(&engine), &provider(), hour).unwrap();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 4;
        let kx_groups = vec![X25519, SECP384R1];
        let groups = CryptoProvider { kx_groups, ..provider() };
        let client = crate::support::client_config(groups, &TLS13, &fixture.identity);
        let world = Self {
            device,
            engine,
            config: Arc::new(config),
            client: Arc::new(client),
            _fixture: fixture,
        };
        let (ours, theirs) = pipe();
        let mut peer = PlainPeer::client(Arc::clone(&world.client), theirs);
        let mut ssl = Ssl::accept(&world.context(), &JobPool::new(), ours).unwrap();
        shake(&mut ssl, &mut peer, &world.device).unwrap();
        peer.step();
        world
    }

    fn context(&self) -> SslContext {
        SslContext::server(Arc::clone(&self.config))
    }

    fn hello(&self) -> Vec<u8> {
        let mut tls = ClientConnection::new(Arc::clone(&self.client), localhost()).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        hello
    }

    /// The number of operations submitted so far.
    fn asked(&self) -> u64 {
        self.engine.stats().accepted
    }

    /// Answers operations until the session has sent its flight.
    fn serve(&self, ssl: &mut Ssl<Pipe>) {
        for _ in 0..2000 {
            match ssl.do_handshake().unwrap() {
                Outcome::WantAsync => self.device.answer(),
                outcome => return assert_eq!(outcome, Outcome::WantRead),
            }
        }
        panic!("the packet does not end");
    }
}

/// The hello with its last ticket replaced by `n` forged ones of the same key.
fn forged(hello: &[u8], n: usize) -> Vec<u8> {
    let message = &hello[5..];
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + length(&message[at..]);
    at += 1 + usize::from(message[at]);
    let (extensions, mut next) = (at, at + 2);
    while message[next..next + 2] != [0, 41] {
        next += 4 + length(&message[next + 2..]);
    }
    // RFC 8446, 4.2.11: identities with their ages, and a binder for each.
    let name = &message[next + 8..][..16];
    let identity = [&[0, 44][..], name, &[7; 28], &[0; 4]].concat();
    let binder = [&[32][..], &[9; 32]].concat();
    let (identities, binders) = (identity.repeat(n), binder.repeat(n));
    let offer = [with_length(&identities), with_length(&binders)].concat();
    let psk = [&[0, 41][..], &with_length(&offer)].concat();
    let all = with_length(&[&message[extensions + 2..next], &psk].concat());
    let body = [&message[4..extensions], &all].concat();
    let [_, a, b, c] = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1, a, b, c], &body[..]].concat();
    message.chunks(16_000).flat_map(|part| [&[22, 3, 1][..], &with_length(part)].concat()).collect()
}

fn length(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// How many tickets fit into a hello.
const MANY: usize = 700;

#[test]
fn a_hello_with_hundreds_of_tickets_makes_four_operations() {
    let world = World::new(false);
    for async_mode in [true, false] {
        world.device.set_answers_at_once(!async_mode);
        let (ours, mut theirs) = pipe();
        theirs.write_all(&forged(&world.hello(), MANY)).unwrap();
        let context = world.context().async_mode(async_mode);
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        let before = world.asked();
        world.serve(&mut ssl);
        assert_eq!(world.asked() - before, MOST, "async mode {async_mode}");
    }
    // Each hello has its own limit.
    world.device.set_answers_at_once(true);
    let (ours, mut theirs) = pipe();
    theirs.write_all(&forged(&world.hello(), 3)).unwrap();
    let mut ssl = Ssl::accept(&world.context(), &JobPool::new(), ours).unwrap();
    let before = world.asked();
    world.serve(&mut ssl);
    assert_eq!(world.asked() - before, 3);
}

#[test]
fn a_hello_read_by_an_acceptor_makes_four_operations_too() {
    let world = World::new(false);
    let (ours, mut theirs) = pipe();
    theirs.write_all(&forged(&world.hello(), MANY)).unwrap();
    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
    let mut ssl = accepted.into_session(&world.context(), &JobPool::new());
    let before = world.asked();
    world.serve(&mut ssl);
    assert_eq!(world.asked() - before, MOST);
}

/// rustls driven without a session of this crate.
#[test]
fn a_hello_to_a_plain_rustls_server_makes_four_operations_too() {
    let world = World::new(false);
    world.device.set_answers_at_once(true);
    let mut tls = ServerConnection::new(Arc::clone(&world.config)).unwrap();
    let before = world.asked();
    let hello = forged(&world.hello(), MANY);
    let mut rest = &hello[..];
    while !rest.is_empty() {
        tls.read_tls(&mut rest).unwrap();
        tls.process_new_packets().unwrap();
    }
    assert_eq!(world.asked() - before, MOST);
    assert!(tls.wants_write());
}

#[test]
fn an_honest_client_resumes() {
    let world = World::new(false);
    world.device.set_answers_at_once(true);
    let (ours, theirs) = pipe();
    let mut peer = PlainPeer::client(Arc::clone(&world.client), theirs);
    let mut ssl = Ssl::accept(&world.context(), &JobPool::new(), ours).unwrap();
    shake(&mut ssl, &mut peer, &world.device).unwrap();
    assert_eq!(peer.tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[test]
fn the_second_hello_of_a_handshake_is_limited_too() {
    let world = World::new(true);
    let (ours, mut theirs) = pipe();
    let mut ssl = Ssl::accept(&world.context(), &JobPool::new(), ours).unwrap();
    let before = world.asked();
    theirs.write_all(&forged(&world.hello(), MANY)).unwrap();
    world.serve(&mut ssl);
    assert!(world.asked() - before <= MOST);
    let _told: io::Result<usize> = io::Read::read(&mut theirs, &mut [0; 4096]);
    // It may be invalid: only the number of operations matters.
    theirs.write_all(&forged(&world.hello(), MANY)).unwrap();
    for _ in 0..2000 {
        match ssl.do_handshake() {
            Ok(Outcome::WantAsync) => world.device.answer(),
            _ => break,
        }
    }
    assert!(world.asked() - before <= 2 * MOST);
}
