//! Features of TLS beyond a plain handshake, with sessions that park.

use std::sync::Arc;

use job_core::JobPool;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ServerConfig};
use ssl_async::{Outcome, Ssl, SslContext, SslError};

use crate::support::{
    KeyType, PlainPeer, exchange_data, fixture, localhost, pipe, provider, shake,
};

#[test]
fn every_kind_of_key_signs_in_both_versions() {
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let (fixture, pool) = (fixture(key_type, 4), JobPool::new());
        for version in [&TLS12, &TLS13] {
            let (ours, theirs) = pipe();
            let mut peer = fixture.client(version, theirs);
            let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
            let parked = shake(&mut ssl, &mut peer, &fixture.device).unwrap();
            assert_eq!(parked.len(), 1);
            exchange_data(&mut ssl, &mut peer);
        }
    }
}

#[test]
fn a_clients_certificate_key_signs_on_a_device_too() {
    for version in [&TLS12, &TLS13] {
        let (server, client) = (fixture(KeyType::P256, 4), fixture(KeyType::Rsa2048, 4));
        server.device.set_answers_at_once(true);
        let verifier = WebPkiClientVerifier::builder_with_provider(
            client.identity.roots(),
            Arc::new(provider()),
        );
        let theirs_config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(server.identity.certified(Arc::clone(&server.key)));
        let ours_config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(server.identity.roots())
            .with_client_cert_resolver(client.identity.certified(Arc::clone(&client.key)));
        let (ours, theirs) = pipe();
        let mut peer = PlainPeer::server(theirs_config, theirs);
        let context = SslContext::client(Arc::new(ours_config));
        let mut ssl = Ssl::connect(&context, &JobPool::new(), localhost(), ours);
        assert_eq!(shake(&mut ssl, &mut peer, &client.device).unwrap(), ["sign-rsa"]);
        assert_eq!(
            peer.tls.peer_certificates().unwrap(),
            std::slice::from_ref(&client.identity.certificate)
        );
        exchange_data(&mut ssl, &mut peer);
    }
}

#[test]
fn a_resumed_session_needs_no_signature_and_never_parks() {
    for version in [&TLS12, &TLS13] {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let config = Arc::new(fixture.client_config(version));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (ours, theirs) = pipe();
            let mut peer = PlainPeer::client(Arc::clone(&config), theirs);
            let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
            let parked = shake(&mut ssl, &mut peer, &fixture.device).unwrap();
            assert_eq!(parked.is_empty(), kind == HandshakeKind::Resumed);
            exchange_data(&mut ssl, &mut peer);
            assert_eq!(ssl.connection().unwrap().handshake_kind(), Some(kind));
        }
    }
}

#[test]
fn a_hello_retry_request_comes_before_the_one_signature() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let only_p384 = CryptoProvider { kx_groups: vec![kx_group::SECP384R1], ..provider() };
    let config =
        crate::support::server_config(only_p384, &[&TLS13], &fixture.identity, &fixture.key);
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let context = SslContext::server(Arc::new(config));
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    assert_eq!(shake(&mut ssl, &mut peer, &fixture.device).unwrap().len(), 1);
    let kind = ssl.connection().unwrap().handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::FullWithHelloRetryRequest));
    exchange_data(&mut ssl, &mut peer);
}

#[test]
fn alpn_and_server_name_are_available_after_the_packet() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let mut config = fixture.server_config(&[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = fixture.client_config(&TLS13);
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (ours, theirs) = pipe();
    let mut peer = PlainPeer::client(client, theirs);
    let mut ssl = Ssl::accept(&SslContext::server(Arc::new(config)), &pool, ours).unwrap();
    peer.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert!(ssl.connection().is_none(), "the connection is away with its packet");
    shake(&mut ssl, &mut peer, &fixture.device).unwrap();
    let connection = ssl.connection().unwrap();
    assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    let rustls::Connection::Server(server) = connection else { panic!("this is a server") };
    assert_eq!(server.server_name(), Some("localhost"));
}

#[test]
fn either_side_updates_keys_and_data_continues() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    shake(&mut ssl, &mut peer, &fixture.device).unwrap();
    for _ in 0..3 {
        assert_eq!(ssl.key_update().unwrap(), Outcome::Ready(()));
        exchange_data(&mut ssl, &mut peer);
        peer.tls.refresh_traffic_keys().unwrap();
        exchange_data(&mut ssl, &mut peer);
    }

    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS12, theirs);
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    shake(&mut ssl, &mut peer, &fixture.device).unwrap();
    assert!(ssl.key_update().is_err(), "TLS 1.2 has no key update");
    exchange_data(&mut ssl, &mut peer);
}

#[test]
fn shutdown_by_either_side_ends_both_directions_in_order() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    shake(&mut ssl, &mut peer, &fixture.device).unwrap();
    assert_eq!(ssl.write(b"last words").unwrap(), Outcome::Ready(10));
    assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()));
    assert!(matches!(ssl.write(b"too late"), Err(SslError::ShutDown)));
    assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()), "once is enough");
    peer.step();
    assert!(peer.tls.process_new_packets().unwrap().peer_has_closed());
    assert_eq!(peer.received(), b"last words");
    peer.send(b"I heard");
    peer.tls.send_close_notify();
    peer.step();
    let mut buffer = [0; 16];
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(7));
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(0));
}
