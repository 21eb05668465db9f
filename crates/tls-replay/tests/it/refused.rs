//! What fails, and what needs a fiber.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::server::ServerConnection;
use rustls::{Error, NamedGroup, ServerConfig};
use tls_replay::{
    MAX_HELLO, NotReplayable, ReplayConfig, ReplayError, Reply, Session, SessionOptions,
    SessionStage, replayable,
};

use crate::servers::Server;
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
fn options_do_not_print_the_data_for_resumption() {
    let options = SessionOptions { resumption_data: vec![201, 202, 203], ..Default::default() };
    let printed = format!("{options:?}");
    assert!(printed.contains("resumption_data") && !printed.contains("201"), "{printed}");
}

/// A record that is refused lies behind the hello. The flight is made first, and the caller may process the record itself.
#[test]
fn records_behind_the_hello_can_be_left_to_the_caller() {
    const REFUSED: [u8; 7] = [23, 3, 3, 0, 2, 1, 1];
    for versions in [V12, V13] {
        let world = World::new(Want { versions, ..Want::default() });
        for stops_at_flight in [false, true] {
            let mut pair = world.pair();
            let options = SessionOptions { stops_at_flight, ..SessionOptions::default() };
            *pair.session() = Session::new(world.replay(), options);
            pair.client_turn().unwrap();
            pair.to_server.extend(REFUSED);
            assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
            let signature = world.device.answer(pair.session());
            let resumed = pair.resume(signature);
            assert_eq!(resumed.is_ok(), stops_at_flight, "{resumed:?}");
            assert!(pair.sent.len() > 500, "the flight was made");
            let Server::Replay(session) = pair.server else { panic!("a server by replay") };
            let (_, behind) = session.into_connection().unwrap();
            assert_eq!(behind, if stops_at_flight { &REFUSED[..] } else { &[] });
        }
    }
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
fn a_hello_that_is_too_long_is_refused_even_if_it_comes_at_once() {
    let mut world = World::new(Want::default());
    world.client.alpn_protocols = vec![vec![b'a'; 250]; 140];
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert!(pair.to_server.len() > MAX_HELLO);
    let (mut session, mut out) = (session(&world), Vec::new());
    assert_eq!(session.hear(&pair.to_server, &mut out), Err(ReplayError::TooLong));
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 50]);
}

/// A TLS 1.2 server that has sent its flight.
fn awaits_key_exchange() -> Pair {
    let world = World::new(Want { versions: V12, ..Want::default() });
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let signature = world.device.answer(pair.session());
    assert_eq!(pair.resume(signature), Ok(SessionStage::Established));
    pair
}

#[test]
fn a_message_that_overflows_the_buffer_of_rustls_ends_the_handshake() {
    let mut pair = awaits_key_exchange();
    // A ClientKeyExchange of 60,000 bytes in records of one byte.
    let mut message = vec![16, 0, 0xea, 0x60];
    message.resize(4 + 60_000, 0);
    let records: Vec<u8> = message.iter().flat_map(|&byte| [22, 3, 3, 0, 1, byte]).collect();
    let session = pair.session();
    let failed = records.chunks(4096).find_map(|piece| session.hear(piece, &mut Vec::new()).err());
    assert!(matches!(failed, Some(ReplayError::Tls(_))), "{failed:?}");
    assert!(matches!(session.hear(b"more", &mut Vec::new()), Err(ReplayError::Tls(_))));
}

#[test]
fn records_that_the_connection_has_no_room_for_are_kept_up_to_a_bound() {
    let world = World::new(Want::default());
    let mut pair = world.pair();
    pair.handshake(&world.device).unwrap();
    let mut message = Vec::new();
    let mut heard = 0;
    let refused = loop {
        assert!(heard < 40, "the session keeps without end");
        if message.is_empty() {
            std::io::Write::write_all(&mut pair.client.writer(), &[1; 8192]).unwrap();
            pair.client_turn().unwrap();
            message = std::mem::take(&mut pair.to_server);
        }
        if let Err(error) = pair.session().hear(&message, &mut Vec::new()) {
            break error;
        }
        message.clear();
        heard += 1;
    };
    assert_eq!(refused, ReplayError::PlaintextUnread);
    // Nothing is lost: with the plaintext read, the same bytes are taken.
    let mut plaintext = Vec::new();
    let mut read = |pair: &mut Pair| {
        // `WouldBlock` ends it.
        let _ =
            std::io::Read::read_to_end(&mut pair.connection().unwrap().reader(), &mut plaintext);
        plaintext.len()
    };
    while read(&mut pair) < 8192 * (heard + 1) {
        pair.session().hear(&std::mem::take(&mut message), &mut Vec::new()).unwrap();
    }
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
    let Server::Replay(session) = pair.server else { panic!("replay") };
    assert_eq!(session.into_received(), None, "its hooks were asked");
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
