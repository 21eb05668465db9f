//! Key exchange by an engine: its operations, how it finds the engine, and that no handle leaks.

use std::sync::Arc;

use crypto_ops::{CryptoOp, device_handles};
use engine_core::Engine;
use job_core::JobPool;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs::kx_group};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, NamedGroup, ServerConfig};
use ssl_async::{Outcome, Ssl, SslContext, SslError, offload, replayable};

use crate::support::{
    Fixture, Identity, KeyType, ManualDevice, Pipe, PlainPeer, Version, client_config,
    exchange_data, fixture, localhost, pipe, provider, server_config, shake, turn,
};

const GROUPS: [&dyn SupportedKxGroup; 4] =
    [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768];

/// The provider restricted to these groups.
fn with_groups(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
    CryptoProvider { kx_groups: groups.to_vec(), ..provider() }
}

/// A server's session whose signature and key exchange are on the fixture's device.
fn server(fixture: &Fixture, pool: &JobPool, io: Pipe) -> Ssl<Pipe> {
    let provider = offload::key_exchange(with_groups(&GROUPS));
    let versions = [&TLS12, &TLS13];
    let config = server_config(provider, &versions, &fixture.identity, &fixture.key);
    let context = SslContext::server(Arc::new(config)).key_exchange(Arc::clone(&fixture.engine));
    Ssl::accept(&context, pool, io).unwrap()
}

/// A client's session whose key exchange is on a device, with these groups.
fn client(
    groups: &[&'static dyn SupportedKxGroup],
    version: Version,
    identity: &Identity,
    engine: &Arc<Engine<CryptoOp>>,
    io: Pipe,
) -> Ssl<Pipe> {
    let config = client_config(offload::key_exchange(with_groups(groups)), version, identity);
    let context = SslContext::client(Arc::new(config)).key_exchange(Arc::clone(engine));
    Ssl::connect(&context, &JobPool::new(), localhost(), io)
}

#[test]
fn a_tls13_servers_key_exchange_is_one_operation_in_every_group() {
    let _turn = turn();
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let kinds = ["agree-x25519", "agree-p256", "agree-p384", "agree-x25519mlkem768"];
    for (group, kind) in GROUPS.into_iter().zip(kinds) {
        let (ours, theirs) = pipe();
        let config = client_config(with_groups(&[group]), &TLS13, &fixture.identity);
        let mut peer = PlainPeer::client(config, theirs);
        let mut ssl = server(&fixture, &pool, ours);
        let parked = shake(&mut ssl, &mut peer, &fixture.device).unwrap();
        assert_eq!(parked, [kind, "sign-ecdsa-p256"]);
        let used = ssl.connection().unwrap().negotiated_key_exchange_group().unwrap();
        assert_eq!(used.name(), group.name());
        exchange_data(&mut ssl, &mut peer);
    }
    assert_eq!(device_handles().now, 0);
}

#[test]
fn a_tls12_servers_key_exchange_starts_before_its_signature_and_completes_in_the_next_packet() {
    let _turn = turn();
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS12, theirs);
    let mut ssl = server(&fixture, &pool, ours);
    let parked = shake(&mut ssl, &mut peer, &fixture.device).unwrap();
    assert_eq!(parked, ["agree-x25519", "sign-ecdsa-p256", "agree-x25519"]);
    exchange_data(&mut ssl, &mut peer);
    assert_eq!(device_handles().now, 0);
}

#[test]
fn a_clients_key_exchange_starts_when_it_is_created_and_completes_with_the_servers_answer() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    fixture.device.set_answers_at_once(true);
    let device = ManualDevice::new(Arc::clone(&fixture.keys), 4);
    let engine = Engine::builder(device.clone()).build();
    for version in [&TLS12, &TLS13] {
        for group in GROUPS {
            if version == &TLS12 && !group.usable_for_version(version.version) {
                continue;
            }
            let (ours, theirs) = pipe();
            let config = Arc::clone(fixture.server.config());
            let mut peer = PlainPeer::server(config, theirs);
            let mut ssl = client(&[group], version, &fixture.identity, &engine, ours);
            let parked = shake(&mut ssl, &mut peer, &device).unwrap();
            assert_eq!(parked.len(), 2, "start and complete: {version:?} {group:?}");
            exchange_data(&mut ssl, &mut peer);
        }
    }
    assert_eq!(device_handles().now, 0);
}

/// A client's handshake with a server that has only `server_group`: its operations, and its kind.
fn against(
    server_group: &'static dyn SupportedKxGroup,
    client_groups: &[&'static dyn SupportedKxGroup],
) -> (Vec<&'static str>, Option<HandshakeKind>) {
    let fixture = fixture(KeyType::P256, 4);
    fixture.device.set_answers_at_once(true);
    let device = ManualDevice::new(Arc::clone(&fixture.keys), 4);
    let engine = Engine::builder(device.clone()).build();
    let (ours, theirs) = pipe();
    let provider = with_groups(&[server_group]);
    let config = server_config(provider, &[&TLS13], &fixture.identity, &fixture.key);
    let mut peer = PlainPeer::server(config, theirs);
    let mut ssl = client(client_groups, &TLS13, &fixture.identity, &engine, ours);
    let parked = shake(&mut ssl, &mut peer, &device).unwrap();
    (parked, ssl.connection().unwrap().handshake_kind())
}

#[test]
fn a_server_may_choose_the_classical_half_of_a_clients_hybrid_share() {
    let _turn = turn();
    let (parked, kind) = against(kx_group::X25519, &[kx_group::X25519MLKEM768, kx_group::X25519]);
    assert_eq!(parked, ["agree-x25519mlkem768", "agree-x25519"]);
    assert_eq!(kind, Some(HandshakeKind::Full), "no second hello was needed");
    assert_eq!(device_handles().now, 0);
}

#[test]
fn a_hello_retry_request_costs_a_client_one_more_key_and_both_are_freed() {
    let _turn = turn();
    let (parked, kind) = against(kx_group::SECP384R1, &[kx_group::X25519, kx_group::SECP384R1]);
    assert_eq!(parked, ["agree-x25519", "agree-p384", "agree-p384"]);
    assert_eq!(kind, Some(HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(device_handles().now, 0);
}

#[test]
fn l8_a_client_dropped_between_the_two_operations_frees_its_device_handle() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let (ours, _theirs) = pipe();
    let groups = [kx_group::X25519];
    let mut ssl = client(&groups, &TLS13, &fixture.identity, &fixture.engine, ours);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    assert_eq!(device_handles().now, 1, "the result waits to be collected");
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    assert_eq!(device_handles().now, 1);
    drop(ssl);
    assert_eq!(device_handles().now, 0);

    // Dropped while parked: the late result is freed on arrival.
    let (ours, _theirs) = pipe();
    let mut ssl = client(&groups, &TLS13, &fixture.identity, &fixture.engine, ours);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    drop(ssl);
    fixture.device.answer();
    assert_eq!((device_handles().now, fixture.engine.stats().requests.now), (0, 0));
}

#[test]
fn without_an_engine_or_with_async_mode_off_the_same_provider_computes_inline() {
    let _turn = turn();
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let provider = offload::key_exchange(with_groups(&GROUPS));
    let config = Arc::new(server_config(provider, &[&TLS13], &fixture.identity, &fixture.key));
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&SslContext::server(config.clone()), &pool, ours).unwrap();
    assert_eq!(shake(&mut ssl, &mut peer, &fixture.device).unwrap(), ["sign-ecdsa-p256"]);

    fixture.device.set_answers_at_once(true);
    let context =
        SslContext::server(config).key_exchange(Arc::clone(&fixture.engine)).async_mode(false);
    let before = fixture.engine.stats().accepted;
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    assert!(shake(&mut ssl, &mut peer, &fixture.device).unwrap().is_empty());
    assert_eq!(fixture.engine.stats().accepted, before + 1, "the signature alone");
}

#[test]
fn l15_a_failed_key_exchange_ends_the_session_with_its_cause() {
    let _turn = turn();
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    peer.step();
    let mut ssl = server(&fixture, &pool, ours);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.fail();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(_))));
    assert_eq!(pool.stats().live, 0);
    // rustls treats every failure here as a bad key share; the client must not be blamed.
    let told = peer.try_step().unwrap_err();
    assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::InternalError));
}

#[test]
fn a_wrong_secret_fails_at_the_peer() {
    let _turn = turn();
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    peer.step();
    let mut ssl = server(&fixture, &pool, ours);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer_wrongly();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    assert_eq!(peer.try_step(), Err(rustls::Error::DecryptError));
    let _sends_its_alert = peer.try_step();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Tls(_))));
}

#[test]
fn wrapping_twice_or_in_several_providers_gives_one_wrapper_per_group() {
    let once = offload::key_exchange(provider());
    let twice = offload::key_exchange(once.clone());
    let anew = offload::key_exchange(provider());
    for ((a, b), c) in once.kx_groups.iter().zip(&twice.kx_groups).zip(&anew.kx_groups) {
        assert!(core::ptr::addr_eq(*a, *b) && core::ptr::addr_eq(*a, *c));
        assert_ne!(a.name(), NamedGroup::Unknown(0));
    }
}

/// A hook that runs a handshake of its own, with another engine, before it returns.
#[derive(Debug)]
struct HandshakesFirst {
    context: SslContext,
    client: Arc<ClientConfig>,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for HandshakesFirst {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (ours, theirs) = pipe();
        let mut peer = PlainPeer::client(Arc::clone(&self.client), theirs);
        let mut ssl = Ssl::accept(&self.context, &JobPool::new(), ours).expect("a session");
        while peer.tls.is_handshaking() {
            peer.step();
            let _outcome = ssl.do_handshake().expect("its engine answers at once");
        }
        Some(Arc::clone(&self.certified))
    }
}

#[test]
fn a_session_inside_a_hook_of_another_uses_its_own_engine_only() {
    let _turn = turn();
    let (outer, inner) = (fixture(KeyType::P256, 4), fixture(KeyType::P256, 4));
    inner.device.set_answers_at_once(true);
    for (async_mode, replays) in [(false, false), (true, false), (false, true), (true, true)] {
        let provider = || offload::key_exchange(with_groups(&[kx_group::X25519]));
        let inners = if replays { replayable(provider()) } else { provider() };
        let inner_config = server_config(inners, &[&TLS13], &inner.identity, &inner.key);
        let chain = vec![outer.identity.certificate.clone()];
        let hook = HandshakesFirst {
            context: SslContext::server(Arc::new(inner_config))
                .key_exchange(Arc::clone(&inner.engine))
                .async_mode(async_mode),
            client: Arc::new(inner.client_config(&TLS13)),
            certified: Arc::new(CertifiedKey::new(chain, Arc::clone(&outer.key))),
        };
        let config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(hook));
        let context = SslContext::server(Arc::new(config)).key_exchange(Arc::clone(&outer.engine));
        let (ours, theirs) = pipe();
        let mut peer = outer.client(&TLS13, theirs);
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        let before = inner.engine.stats().accepted;
        let parked = shake(&mut ssl, &mut peer, &outer.device).unwrap();
        assert_eq!(parked, ["agree-x25519", "sign-ecdsa-p256"]);
        assert_eq!(inner.engine.stats().accepted, before + 2, "agreement and signature");
    }
}
