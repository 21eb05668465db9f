//! What fails, and what needs a fiber.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SupportedKxGroup};
use rustls::server::ServerConnection;
use rustls::{Error, NamedGroup, ServerConfig};
use tls_replay::{
    MAX_HELLO, NotReplayable, ReplayConfig, ReplayError, Reply, Session, SessionOptions,
    SessionStage, WaitingHook, postpone, replayable,
};

use crate::world::{Pair, V12, V13, Want, World};

fn session(world: &World) -> Session {
    Session::new(world.replay(), SessionOptions::default())
}

#[test]
fn nonsense_gets_the_alert_that_rustls_gives() {
    let world = World::new(Want::default());
    let mut bad_share = {
        let mut pair = world.pair();
        pair.client_turn().unwrap();
        pair.to_server
    };
    // The key share of X25519 is a point of small order.
    let at = bad_share.windows(4).position(|bytes| bytes == [0, 0x1d, 0, 0x20]).unwrap();
    bad_share[at + 4..at + 36].fill(0);
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![22, 3, 1, 0, 5, 2, 0, 0, 1, 0],
        vec![21, 3, 3, 0, 2, 2, 40],
        bad_share,
    ] {
        let mut expected = Vec::new();
        let mut plain = ServerConnection::new(Arc::new(world.server.clone())).unwrap();
        plain.read_tls(&mut &bytes[..]).unwrap();
        let error = plain.process_new_packets().unwrap_err();
        while plain.wants_write() {
            plain.write_tls(&mut expected).unwrap();
        }
        let (mut session, mut out) = (session(&world), Vec::new());
        assert_eq!(session.hear(&bytes, &mut out), Err(ReplayError::Tls(error)));
        assert_eq!(out, expected);
    }
    assert_eq!(world.device.signed(), 0, "the key is not asked");
}

#[test]
fn a_wrong_signature_is_the_clients_to_refuse() {
    let world = World::new(Want::default());
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    assert_eq!(pair.resume(vec![0; 70]), Ok(SessionStage::Established));
    assert!(pair.client_turn().is_err());
}

#[test]
fn a_reply_of_another_kind_or_without_a_question_changes_nothing() {
    let world = World::new(Want::default());
    let mut pair = world.pair();
    assert_eq!(pair.resume(vec![]), Err(ReplayError::NotParked));
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    assert_eq!(pair.resume(Reply::Certificate(None)), Err(ReplayError::WrongReply));
    pair.handshake(&world.device).unwrap();
}

#[test]
fn a_failed_signature_says_internal_error_to_the_client() {
    let world = World::new(Want::default());
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let mut out = Vec::new();
    pair.session().abort(&mut out);
    pair.to_client = out;
    let alert = rustls::AlertDescription::InternalError;
    assert_eq!(pair.client_turn(), Err(Error::AlertReceived(alert)));
    assert_eq!(pair.session().hear(b"more", &mut Vec::new()), Err(ReplayError::Closed));
}

#[test]
fn a_hello_without_end_is_refused() {
    let world = World::new(Want::default());
    let (mut session, mut out) = (session(&world), Vec::new());
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(0x4000, 0);
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend(message);
    assert_eq!(session.hear(&record, &mut out), Ok(SessionStage::NeedsPeer));
    record.truncate(MAX_HELLO - record.len());
    assert_eq!(session.hear(&record, &mut out), Ok(SessionStage::NeedsPeer));
    assert_eq!(session.hear(&[0], &mut out), Err(ReplayError::TooLong));
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 50]);
}

#[test]
fn bytes_that_come_while_parked_are_kept_up_to_a_bound() {
    let world = World::new(Want::default());
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let (session, mut out) = (pair.session(), Vec::new());
    assert_eq!(session.hear(&[0; MAX_HELLO], &mut out), Ok(SessionStage::Parked));
    assert_eq!(session.hear(&[0; MAX_HELLO], &mut out), Err(ReplayError::TooLong));
}

#[test]
fn a_configuration_of_another_provider_is_refused_by_the_part() {
    let world = World::new(Want::default());
    let with = |provider: CryptoProvider| {
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_protocol_versions(V13)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&world.resolver) as _);
        ReplayConfig::new(config).map(|_| ())
    };
    assert_eq!(with(default_provider()), Err(NotReplayable::Provider));
    let mut provider = replayable(default_provider());
    provider.kx_groups.push(kx_group::SECP256R1);
    assert_eq!(with(provider), Err(NotReplayable::Group(NamedGroup::secp256r1)));
    let mut provider = replayable(default_provider());
    provider.cipher_suites.push(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let suite = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
    assert_eq!(with(provider), Err(NotReplayable::CipherSuite(suite)));
    assert_eq!(with(replayable(default_provider())), Ok(()));
}

#[test]
fn hooks_that_need_a_fiber_are_refused_with_the_configuration() {
    let mut world = World::new(Want::default());
    let with = |world: &World, hook| {
        ReplayConfig::with_waiting_hooks(world.server.clone(), &[hook]).map(|_| ())
    };
    assert_eq!(with(&world, WaitingHook::ClientVerifier), Err(NotReplayable::ClientVerifier));
    assert_eq!(with(&world, WaitingHook::TicketSealing), Ok(()), "no tickets are sealed");
    world.server.ticketer = Ticketer::new().unwrap();
    assert_eq!(with(&world, WaitingHook::TicketSealing), Err(NotReplayable::TicketSealing));
}

/// A group that waits whenever it may.
#[derive(Debug)]
struct Waiting;

impl SupportedKxGroup for Waiting {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        match postpone(()) {
            Ok(()) => Err(Error::General("ignored".to_owned())),
            Err(()) => kx_group::X25519.start(),
        }
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        kx_group::X25519.start_and_complete(peer)
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[test]
fn a_tls12_key_exchange_that_waits_is_told_before_anything_is_sent() {
    let provider = CryptoProvider { kx_groups: vec![&Waiting], ..default_provider() };
    let client_groups = Some(vec![kx_group::X25519]);
    let world = World::new(Want { provider, client_groups, versions: V12, ..Want::default() });
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    let hello = pair.to_server.clone();
    let refused = Err(ReplayError::NotReplayable(NotReplayable::Tls12KeyExchange));
    assert_eq!(pair.server_turn(), refused);
    assert!(pair.sent.is_empty());
    let crate::world::Server::Replay(session) = pair.server else { panic!("replay") };
    assert_eq!(session.into_received(), Some(hello), "for a fiber");
    // Outside of a session the group does not wait.
    let server = Arc::new(world.server.clone());
    let mut pair = Pair::plain(&server, &Arc::new(world.client.clone()), "localhost");
    pair.handshake(&world.device).unwrap();
    assert_eq!(world.device.signed.load(Ordering::SeqCst), 1);
}
