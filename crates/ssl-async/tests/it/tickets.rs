//! Session tickets sealed and opened by an engine.

use core::time::Duration;
use std::sync::Arc;

use engine_core::Engine;
use job_core::JobPool;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use ssl_async::{Ssl, SslContext, offload};

use crate::support::{
    Fixture, KeyType, ManualDevice, PlainPeer, TestClock, Version, exchange_data, fixture, pipe,
    provider, shake,
};

const PERIOD: Duration = Duration::from_secs(3600);

/// A server that offloads only its tickets to `device`.
struct World {
    fixture: Fixture,
    clock: TestClock,
    device: Arc<ManualDevice>,
    context: SslContext,
    client: Arc<ClientConfig>,
}

impl World {
    fn new(version: Version) -> Self {
        let (fixture, clock) = (fixture(KeyType::P256, 4), TestClock::default());
        fixture.device.set_answers_at_once(true);
        let device = ManualDevice::new(Arc::clone(&fixture.keys), 16);
        let engine = Engine::builder(device.clone()).clock(Arc::new(clock.clone())).build();
        let ticketer = offload::tickets(engine, &provider(), PERIOD).unwrap();
        assert!(ticketer.enabled());
        assert_eq!(ticketer.lifetime(), 3600);
        let mut config = fixture.server_config(&[version]);
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        let client = Arc::new(fixture.client_config(version));
        let context = SslContext::server(Arc::new(config));
        Self { fixture, clock, device, context, client }
    }

    /// Completes a handshake, and sends data so that the client reads the ticket. Returns the kind of the handshake, and how
    /// often the session parked.
    fn connect(&self) -> (HandshakeKind, usize) {
        let (ours, theirs) = pipe();
        let mut peer = PlainPeer::client(Arc::clone(&self.client), theirs);
        let mut ssl = Ssl::accept(&self.context, &JobPool::new(), ours).unwrap();
        let parked = shake(&mut ssl, &mut peer, &self.device).unwrap();
        assert!(parked.iter().all(|kind| *kind == "ticket"));
        exchange_data(&mut ssl, &mut peer);
        (peer.tls.handshake_kind().unwrap(), parked.len())
    }
}

#[test]
fn a_ticket_parks_when_it_is_sealed_and_when_it_is_opened_and_resumes_the_session() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        assert_eq!(world.connect(), (HandshakeKind::Full, 1));
        let signed = world.fixture.engine.stats().accepted;
        assert_eq!(world.connect(), (HandshakeKind::Resumed, 2), "{version:?}");
        assert_eq!(world.fixture.engine.stats().accepted, signed, "no signature was needed");
    }
}

#[test]
fn a_ticket_opens_for_one_rotation_and_then_leads_to_a_full_handshake() {
    let world = World::new(&TLS13);
    assert_eq!(world.connect().0, HandshakeKind::Full);
    world.clock.advance(PERIOD);
    assert_eq!(world.connect().0, HandshakeKind::Resumed, "the key before opens it");
    world.clock.advance(2 * PERIOD);
    assert_eq!(world.connect(), (HandshakeKind::Full, 1), "nothing is left to ask the engine");
}

#[test]
fn a_failing_engine_costs_the_ticket_and_never_the_session() {
    for version in [&TLS12, &TLS13] {
        let world = World::new(version);
        let (ours, theirs) = pipe();
        let mut peer = PlainPeer::client(Arc::clone(&world.client), theirs);
        let mut ssl = Ssl::accept(&world.context, &JobPool::new(), ours).unwrap();
        let mut failures = 0;
        for _ in 0..10 {
            peer.step();
            if ssl.do_handshake().unwrap() == ssl_async::Outcome::WantAsync {
                world.device.fail();
                failures += 1;
            }
        }
        assert_eq!(failures, 1);
        exchange_data(&mut ssl, &mut peer);
        assert_eq!(world.connect().0, HandshakeKind::Full, "there was no ticket to resume with");
    }
}
