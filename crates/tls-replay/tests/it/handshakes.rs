//! Every kind of handshake between rustls and rustls.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ConnectionTrafficSecrets, HandshakeKind, NamedGroup};
use tls_replay::SessionStage;

use crate::servers::Server;
use crate::world::{Pair, V12, V13, Want, World};

/// One full handshake and some messages; every hook is asked once per hello, and both sides log the same secrets.
fn whole(world: &World) -> Pair {
    let asked = world.resolver.names.lock().unwrap().len();
    let signed = world.device.signed();
    let mut pair = world.pair();
    pair.handshake(&world.device).unwrap();
    pair.exchange_messages();
    let kind = pair.client.handshake_kind().unwrap();
    assert_eq!(pair.connection().unwrap().handshake_kind(), Some(kind));
    assert_eq!((pair.parked, world.device.signed() - signed), (1, 1));
    let hellos = 1 + usize::from(kind == HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(world.resolver.names.lock().unwrap().len() - asked, hellos);
    let log = world.server_log.take_sorted();
    assert_eq!(log, world.client_log.take_sorted());
    assert!(!log.is_empty());
    pair
}

fn groups(groups: Vec<&'static dyn SupportedKxGroup>) -> CryptoProvider {
    CryptoProvider { kx_groups: groups, ..default_provider() }
}

#[test]
fn every_kind_of_key() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        for versions in [V13, V12] {
            whole(&World::new(Want { algorithm, versions, ..Want::default() }));
        }
    }
}

/// aws-lc's, and with the feature `ring` ring's.
fn providers() -> Vec<CryptoProvider> {
    vec![
        default_provider(),
        #[cfg(feature = "ring")]
        rustls::crypto::ring::default_provider(),
    ]
}

#[test]
fn every_group_of_each_provider() {
    for provider in providers() {
        for &group in &provider.kx_groups {
            for versions in [V13, V12] {
                if !group.usable_for_version(versions[0].version) {
                    continue;
                }
                let provider = CryptoProvider { kx_groups: vec![group], ..provider.clone() };
                let mut pair = whole(&World::new(Want { provider, versions, ..Want::default() }));
                let used = pair.connection().unwrap().negotiated_key_exchange_group();
                assert_eq!(used.unwrap().name(), group.name());
            }
        }
    }
}

#[test]
fn every_suite_of_each_provider_with_client_certificates() {
    for provider in providers() {
        for &suite in &provider.cipher_suites {
            let versions = if suite.tls13().is_some() { V13 } else { V12 };
            let algorithm = match format!("{:?}", suite.suite()) {
                name if name.contains("_RSA_") => &rcgen::PKCS_RSA_SHA256,
                _ => &rcgen::PKCS_ECDSA_P256_SHA256,
            };
            let provider = CryptoProvider { cipher_suites: vec![suite], ..provider.clone() };
            let want = Want { provider, versions, algorithm, client_auth: true, ..Want::default() };
            let mut pair = whole(&World::new(want));
            let server = pair.connection().unwrap();
            assert_eq!(server.peer_certificates().unwrap().len(), 1);
            assert_eq!(server.negotiated_cipher_suite().unwrap().suite(), suite.suite());
        }
    }
}

fn retrying() -> Want {
    Want {
        provider: groups(vec![kx_group::SECP384R1]),
        client_groups: Some(vec![kx_group::X25519, kx_group::SECP384R1]),
        ..Want::default()
    }
}

#[test]
fn a_hello_retry_request() {
    let pair = whole(&World::new(retrying()));
    assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
}

#[test]
fn hellos_in_pieces_and_in_many_records() {
    for want in [Want::default, retrying] {
        for fragment in [None, Some(32), Some(64)] {
            let mut world = World::new(want());
            world.client.max_fragment_size = fragment;
            for piece in [1, 7, 100] {
                let mut pair = world.pair();
                pair.piece = piece;
                pair.handshake(&world.device).unwrap();
                pair.exchange_messages();
            }
        }
    }
}

#[test]
fn the_server_name_reaches_resolver_and_connection() {
    let world = World::new(Want::default());
    let mut pair = whole(&world);
    assert_eq!(pair.connection().unwrap().server_name(), Some("localhost"));
    assert_eq!(world.resolver.names.lock().unwrap()[0].as_deref(), Some("localhost"));
}

#[test]
fn an_application_protocol() {
    let mut world = World::new(Want::default());
    world.server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    world.client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut pair = whole(&world);
    assert_eq!(pair.client.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(pair.connection().unwrap().alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn resumption_by_ticket_and_by_store_and_after_both_are_forgotten() {
    for versions in [V13, V12] {
        for stateless in [true, false] {
            let mut world = World::new(Want { versions, ..Want::default() });
            world.client.resumption = Resumption::in_memory_sessions(8);
            let forget = |world: &mut World| {
                if stateless {
                    world.server.ticketer = Ticketer::new().unwrap();
                } else {
                    world.server.session_storage = ServerSessionMemoryCache::new(8);
                }
            };
            forget(&mut world);
            let (server, client) = (world.replay(), Arc::new(world.client.clone()));
            for n in 0..4 {
                let mut pair = Pair::new(&server, &client, "localhost");
                pair.handshake(&world.device).unwrap();
                pair.exchange_messages();
                let kind = if n == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
                assert_eq!(pair.client.handshake_kind(), Some(kind), "{n} {stateless}");
                assert_eq!(world.device.signed(), 1);
                let mut log = world.server_log.take_sorted();
                // rustls's server logs this one whenever it resumes, its client only with early data.
                log.retain(|(label, _)| label != "CLIENT_EARLY_TRAFFIC_SECRET");
                assert_eq!(log, world.client_log.take_sorted());
            }
            forget(&mut world);
            let mut pair = Pair::new(&world.replay(), &client, "localhost");
            pair.handshake(&world.device).unwrap();
            pair.exchange_messages();
            assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(world.device.signed(), 2);
        }
    }
}

/// A client's store to which all server names are one, and that forgets the group.
#[derive(Debug)]
struct OneName(ClientSessionMemoryCache);

impl ClientSessionStore for OneName {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(ServerName::try_from("localhost").unwrap(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&ServerName::try_from("localhost").unwrap())
    }
}

/// The ticket can be opened, but is for another name: opened once, refused, and a signature is needed.
#[test]
fn a_ticket_for_another_name() {
    for stored in [true, false] {
        let mut world = World::new(Want::default());
        world.client.resumption =
            Resumption::store(Arc::new(OneName(ClientSessionMemoryCache::new(8))));
        if stored {
            world.server.session_storage = ServerSessionMemoryCache::new(8);
        } else {
            world.server.ticketer = Ticketer::new().unwrap();
        }
        let (server, client) = (world.replay(), Arc::new(world.client.clone()));
        for (name, signed) in [("localhost", 1), ("other.localhost", 2)] {
            let mut pair = Pair::new(&server, &client, name);
            pair.handshake(&world.device).unwrap();
            pair.exchange_messages();
            assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(world.device.signed(), signed);
        }
    }
}

#[test]
fn a_hello_retry_request_with_a_ticket() {
    for known in [true, false] {
        let mut world = World::new(retrying());
        world.client.resumption =
            Resumption::store(Arc::new(OneName(ClientSessionMemoryCache::new(8))));
        world.server.ticketer = Ticketer::new().unwrap();
        let client = Arc::new(world.client.clone());
        let mut server = world.replay();
        Pair::new(&server, &client, "localhost").handshake(&world.device).unwrap();
        if !known {
            world.server.ticketer = Ticketer::new().unwrap();
            server = world.replay();
        }
        let mut pair = Pair::new(&server, &client, "localhost");
        pair.client_turn().unwrap();
        assert_eq!(pair.server_turn(), Ok(SessionStage::NeedsPeer), "asks for another hello");
        pair.handshake(&world.device).unwrap();
        pair.exchange_messages();
        let resumed = pair.client.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!((resumed, world.device.signed()), (known, 2 - usize::from(known)));
    }
}

#[test]
fn early_data_accepted_and_refused() {
    let mut world = World::new(Want::default());
    world.client.resumption = Resumption::in_memory_sessions(8);
    world.client.enable_early_data = true;
    world.server.session_storage = ServerSessionMemoryCache::new(8);
    world.server.max_early_data_size = 1000;
    let client = Arc::new(world.client.clone());
    let mut server = world.replay();
    Pair::new(&server, &client, "localhost").handshake(&world.device).unwrap();
    for accept in [true, false] {
        if !accept {
            // The session is forgotten: a signature is needed while early data lies in the same bytes.
            world.server.session_storage = ServerSessionMemoryCache::new(8);
            server = world.replay();
        }
        let mut pair = Pair::new(&server, &client, "localhost");
        pair.client.early_data().expect("a session for early data").write_all(b"early").unwrap();
        pair.handshake(&world.device).unwrap();
        assert_eq!(pair.client.is_early_data_accepted(), accept);
        if accept {
            let mut early = [0; 5];
            pair.connection().unwrap().early_data().unwrap().read_exact(&mut early).unwrap();
            assert_eq!(&early, b"early");
        }
        pair.exchange_messages();
        assert_eq!(world.device.signed(), 2 - usize::from(accept));
    }
}

#[test]
fn early_data_before_a_second_hello_is_kept_up_to_the_size_that_was_offered() {
    let mut world = World::new(retrying());
    world.client.resumption =
        Resumption::store(Arc::new(OneName(ClientSessionMemoryCache::new(8))));
    world.client.enable_early_data = true;
    world.server.session_storage = ServerSessionMemoryCache::new(8);
    world.server.max_early_data_size = 100_000;
    let client = Arc::new(world.client.clone());
    Pair::new(&world.replay(), &client, "localhost").handshake(&world.device).unwrap();
    let mut pair = Pair::new(&world.replay(), &client, "localhost");
    pair.client.set_buffer_limit(None);
    let mut early = pair.client.early_data().expect("a session for early data");
    early.write_all(&[1; 90_000]).unwrap();
    pair.piece = 4096;
    pair.client_turn().unwrap();
    assert!(pair.to_server.len() > 90_000);
    assert_eq!(pair.server_turn(), Ok(SessionStage::NeedsPeer));
    pair.handshake(&world.device).unwrap();
    assert!(!pair.client.is_early_data_accepted());
    pair.exchange_messages();
}

#[test]
fn secrets_for_the_kernel() {
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        ..default_provider()
    };
    let mut world = World::new(Want { provider, ..Want::default() });
    world.server.enable_secret_extraction = true;
    world.client.enable_secret_extraction = true;
    let mut pair = world.pair();
    pair.handshake(&world.device).unwrap();
    pair.exchange_messages();
    let theirs = pair.client.dangerous_extract_secrets().unwrap();
    let Server::Replay(session) = pair.server else { panic!("replay") };
    let (connection, unread) = session.into_connection().unwrap();
    assert!(unread.is_empty());
    let ours = connection.dangerous_extract_secrets().unwrap();
    let key = |secrets: ConnectionTrafficSecrets| match secrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
            (key.as_ref().to_vec(), iv.as_ref().to_vec())
        }
        _ => panic!("another suite"),
    };
    assert_eq!((ours.tx.0, ours.rx.0), (theirs.rx.0, theirs.tx.0));
    assert_eq!(key(ours.tx.1), key(theirs.rx.1));
    assert_eq!(key(ours.rx.1), key(theirs.tx.1));
}

#[test]
fn many_at_once_resumed_in_another_order_on_other_threads() {
    let world = World::new(Want::default());
    let (server, client) = (world.replay(), Arc::new(world.client.clone()));
    let mut pairs: Vec<_> = (0..64).map(|_| Pair::new(&server, &client, "localhost")).collect();
    for pair in &mut pairs {
        pair.client_turn().unwrap();
        assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    }
    pairs.reverse();
    std::thread::scope(|scope| {
        for Pair { client, server, .. } in pairs {
            let device = &world.device;
            let Server::Replay(session) = server else { panic!("replay") };
            scope.spawn(move || {
                let mut pair = Pair::of(Server::Replay(session), client);
                let signature = device.answer(pair.session());
                assert_eq!(pair.resume(signature), Ok(SessionStage::Established));
                pair.handshake(device).unwrap();
                pair.exchange_messages();
            });
        }
    });
    assert_eq!(world.device.signed.load(Ordering::SeqCst), 64);
}
