//! Hooks of the user's around hooks of this crate: under replay, too, the answer of the outer one counts.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use job_core::JobPool;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind, NamedGroup};
use ssl_async::{Parking, Ssl, SslContext, SslError, offload, replayable, resolve};

use crate::support::{
    Fixture, KeyType, PlainPeer, exchange_data, fixture, pipe, provider, server_config, shake,
};

fn fixture_at_once() -> Fixture {
    let fixture = fixture(KeyType::P256, 8);
    fixture.device.set_answers_at_once(true);
    fixture
}

fn replayable_config(fixture: &Fixture) -> ServerConfig {
    server_config(replayable(provider()), ALL_VERSIONS, &fixture.identity, &fixture.key)
}

/// Handshakes with `context`, which is for `parking`, and returns the client.
fn connect(
    fixture: &Fixture,
    config: &ServerConfig,
    client: &Arc<ClientConfig>,
    parking: Parking,
) -> Result<PlainPeer, SslError> {
    let context = SslContext::server(Arc::new(config.clone())).parking(parking);
    let (ours, theirs) = pipe();
    let mut peer = PlainPeer::client(Arc::clone(client), theirs);
    let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
    shake(&mut ssl, &mut peer, &fixture.device)?;
    exchange_data(&mut ssl, &mut peer);
    Ok(peer)
}

/// Takes what the resolver finds, if the policy allows it, or else the default.
#[derive(Debug)]
struct Policy {
    inner: Arc<dyn ResolvesServerCert>,
    allows: bool,
    default: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Policy {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.inner.resolve(hello).filter(|_| self.allows).or_else(|| self.default.clone())
    }
}

#[test]
fn a_policy_around_a_resolver_that_waits_takes_effect() {
    for version in [&TLS12, &TLS13] {
        for (allows, has_default, expected) in
            [(true, false, Some(1)), (false, true, Some(2)), (false, false, None)]
        {
            let fixture = fixture_at_once();
            let certificate = &fixture.identity.certificate;
            let chain = |len| {
                Arc::new(CertifiedKey::new(vec![certificate.clone(); len], fixture.key.clone()))
            };
            let found = chain(1);
            let inner = resolve::server_certificate(async move |_| Some(found));
            let default = has_default.then(|| chain(2));
            let mut config = replayable_config(&fixture);
            config.cert_resolver = Arc::new(Policy { inner, allows, default });
            let client = Arc::new(fixture.client_config(version));
            for parking in [Parking::Auto, Parking::Fiber] {
                let sent = connect(&fixture, &config, &client, parking)
                    .ok()
                    .map(|peer| peer.tls.peer_certificates().unwrap().len());
                assert_eq!(sent, expected, "{parking:?}");
            }
            let refused = connect(&fixture, &config, &client, Parking::Replay);
            let Err(SslError::NeedsFiber(why)) = refused.map(drop) else { panic!("not refused") };
            assert!(why.contains("inside another hook"), "{why}");
        }
    }
}

/// Seals with the newer ticketer, opens with either, and then checks what it has opened.
#[derive(Debug)]
struct Rotated {
    newer: Arc<dyn ProducesTickets>,
    older: Arc<dyn ProducesTickets>,
    accepts: AtomicBool,
}

impl ProducesTickets for Rotated {
    fn enabled(&self) -> bool {
        self.newer.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.newer.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        // The mark stands for something that the check finds.
        let mut marked = plain.to_vec();
        marked.push(7);
        self.newer.encrypt(&marked)
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let opened = self.newer.decrypt(sealed).or_else(|| self.older.decrypt(sealed));
        let mut marked = opened.filter(|_| self.accepts.load(Ordering::Relaxed))?;
        (marked.pop() == Some(7)).then_some(marked)
    }
}

#[test]
fn two_ticketers_and_a_check_behind_them_take_effect() {
    for version in [&TLS12, &TLS13] {
        let fixture = fixture_at_once();
        let ticketer = || {
            let period = Duration::from_secs(3600);
            offload::tickets(Arc::clone(&fixture.engine), &provider(), period).unwrap()
        };
        let (first, second) = (ticketer(), ticketer());
        let rotated = |newer: &Arc<dyn ProducesTickets>, older: &Arc<dyn ProducesTickets>| {
            let (newer, older) = (Arc::clone(newer), Arc::clone(older));
            Arc::new(Rotated { newer, older, accepts: AtomicBool::new(true) })
        };
        let mut config = replayable_config(&fixture);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        let client = Arc::new(fixture.client_config(version));
        let kind = |config: &ServerConfig| {
            let peer = connect(&fixture, config, &client, Parking::Auto).unwrap();
            peer.tls.handshake_kind().unwrap()
        };
        config.ticketer = rotated(&first, &second);
        assert_eq!(kind(&config), HandshakeKind::Full);
        assert_eq!(kind(&config), HandshakeKind::Resumed);
        let rotated = rotated(&second, &first);
        config.ticketer = Arc::clone(&rotated) as _;
        assert_eq!(kind(&config), HandshakeKind::Resumed, "the older one opened it");
        rotated.accepts.store(false, Ordering::Relaxed);
        assert_eq!(kind(&config), HandshakeKind::Full, "{version:?}");
    }
}

/// A client that is asked for another hello cannot be served on a fiber any more.
#[test]
fn after_a_retry_a_ticket_that_another_ticketer_opens_is_not_opened() {
    let fixture = fixture_at_once();
    let period = Duration::from_secs(3600);
    let ticketer = offload::tickets(Arc::clone(&fixture.engine), &provider(), period).unwrap();
    let (newer, older) = (Arc::clone(&ticketer), ticketer);
    let ticketer = Arc::new(Rotated { newer, older, accepts: AtomicBool::new(true) });
    let client = Arc::new(fixture.client_config(&TLS13));
    // The client remembers the group of its last handshake, and begins with it.
    for group in [NamedGroup::secp384r1, NamedGroup::secp256r1] {
        let mut provider = provider();
        provider.kx_groups.retain(|known| known.name() == group);
        let (identity, key) = (&fixture.identity, &fixture.key);
        let mut config = server_config(replayable(provider), ALL_VERSIONS, identity, key);
        config.ticketer = Arc::clone(&ticketer) as _;
        let peer = connect(&fixture, &config, &client, Parking::Auto).unwrap();
        let kind = peer.tls.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::FullWithHelloRetryRequest));
    }
}
