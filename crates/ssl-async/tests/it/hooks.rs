//! Hooks of rustls as `async fn`, parked until a future of the test is ready.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::sync::{Arc, Mutex};

use job_core::JobPool;
use rustls::client::WebPkiServerVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, CertificateError, ClientConfig, ServerConfig};
use ssl_async::{Outcome, Ssl, SslContext, SslError, TlsError, resolve, verify};
use wait_ctx::{ReadyQueue, Reason, Route, Status, Token};

use crate::support::{Fixture, KeyType, Pipe, PlainPeer, fixture, localhost, pipe, provider};

/// A future that waits until the test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    async fn pass(&self) {
        poll_fn(|cx| {
            let mut gate = self.0.lock().unwrap();
            gate.1 = Some(cx.waker().clone());
            if gate.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        if let Some(waker) = gate.1.take() {
            drop(gate);
            waker.wake();
        }
    }
}

/// Checks that the session parks at the gate, is woken when it opens, and completes its handshake.
fn parks_once(mut ssl: Ssl<Pipe>, mut peer: PlainPeer, gate: &Gate) {
    let mut ready = ReadyQueue::new().unwrap();
    ssl.wait_ctx().notifier().set_route(Route::Ready(ready.sender(), Token(3)));
    let mut parked = 0;
    for _ in 0..12 {
        peer.step();
        if ssl.do_handshake().unwrap() == Outcome::WantAsync {
            parked += 1;
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            gate.open();
            let mut tokens = Vec::new();
            ready.drain(&mut tokens);
            assert_eq!(tokens, [Token(3)]);
        }
    }
    assert_eq!((parked, ssl.is_handshaking(), peer.tls.is_handshaking()), (1, false, false));
}

fn fixture_at_once() -> Fixture {
    let fixture = fixture(KeyType::P256, 4);
    fixture.device.set_answers_at_once(true);
    fixture
}

/// A server whose certificate comes from an async function.
fn asking_server(fixture: &Fixture, gate: &Gate) -> Arc<ServerConfig> {
    let chain = vec![fixture.identity.certificate.clone()];
    let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&fixture.key)));
    let gate = gate.clone();
    let resolver = resolve::server_certificate(async move |offer| {
        gate.pass().await;
        assert_eq!(offer.server_name.as_deref(), Some("localhost"));
        Some(Arc::clone(&certified))
    });
    let config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    Arc::new(config)
}

#[test]
fn a_certificate_is_awaited_while_the_session_is_parked() {
    for version in [&TLS12, &TLS13] {
        let (fixture, gate) = (fixture_at_once(), Gate::default());
        let context = SslContext::server(asking_server(&fixture, &gate));
        let (ours, theirs) = pipe();
        let peer = fixture.client(version, theirs);
        parks_once(Ssl::accept(&context, &JobPool::new(), ours).unwrap(), peer, &gate);
    }
}

#[test]
fn awaiting_a_future_does_not_change_the_status() {
    let (fixture, gate) = (fixture_at_once(), Gate::default());
    let context = SslContext::server(asking_server(&fixture, &gate));
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    peer.step();
    let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    ssl.set_async_callback(Some(Arc::new(move |_, why| {
        tell.lock().unwrap().push((why.reason, why.status));
    })));
    assert_eq!(ssl.async_status(), Status::Unsupported);
    gate.open();
    assert_eq!(*told.lock().unwrap(), [(Reason::Future, Status::Unsupported)]);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    assert_eq!(ssl.async_status(), Status::Ok, "the signature was one");
}

#[test]
fn without_async_mode_an_awaited_certificate_blocks_the_thread() {
    let (fixture, gate) = (fixture_at_once(), Gate::default());
    let context = SslContext::server(asking_server(&fixture, &gate)).async_mode(false);
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
    peer.step();
    let opening = std::thread::spawn(move || gate.open());
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    opening.join().unwrap();
    peer.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
}

#[test]
fn l5_a_session_dropped_at_the_gate_drops_its_future() {
    let (fixture, gate) = (fixture_at_once(), Gate::default());
    let (context, pool) = (SslContext::server(asking_server(&fixture, &gate)), JobPool::new());
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    peer.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    drop(ssl);
    assert_eq!((pool.stats().live, pool.stats().quarantined), (0, 0));
    // A waker that is still held wakes no session.
    gate.open();
}

#[test]
fn a_servers_certificate_is_judged_while_the_clients_session_is_parked() {
    for version in [&TLS12, &TLS13] {
        for verdict in [Ok(()), Err(TlsError::from(CertificateError::Revoked))] {
            let (fixture, gate) = (fixture_at_once(), Gate::default());
            let inner = WebPkiServerVerifier::builder_with_provider(
                fixture.identity.roots(),
                Arc::new(provider()),
            );
            let (waits, answer) = (gate.clone(), verdict.clone());
            let verifier = verify::server_certificate(inner.build().unwrap(), async move |peer| {
                assert_eq!(peer.server_name, Some(&localhost()));
                waits.pass().await;
                answer.clone()
            });
            let config = ClientConfig::builder_with_provider(Arc::new(provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            let context = SslContext::client(Arc::new(config));
            let (ours, theirs) = pipe();
            let mut peer = PlainPeer::server(Arc::clone(fixture.server.config()), theirs);
            let mut ssl = Ssl::connect(&context, &JobPool::new(), localhost(), ours);
            match verdict {
                Ok(()) => parks_once(ssl, peer, &gate),
                Err(expected) => {
                    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
                    peer.step();
                    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
                    gate.open();
                    assert!(matches!(ssl.do_handshake(), Err(SslError::Tls(e)) if e == expected));
                    let alert = peer.try_step().unwrap_err();
                    assert!(matches!(alert, TlsError::AlertReceived(_)), "{alert}");
                }
            }
        }
    }
}

#[test]
fn a_clients_certificate_is_judged_while_the_servers_session_is_parked() {
    for version in [&TLS12, &TLS13] {
        let (fixture, gate) = (fixture_at_once(), Gate::default());
        let inner = WebPkiClientVerifier::builder_with_provider(
            fixture.identity.roots(),
            Arc::new(provider()),
        );
        let waits = gate.clone();
        let verifier = verify::client_certificate(inner.build().unwrap(), async move |peer| {
            assert!(peer.server_name.is_none() && peer.intermediates.is_empty());
            waits.pass().await;
            Ok(())
        });
        let config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(fixture.identity.certified(Arc::clone(&fixture.key)));
        let context = SslContext::server(Arc::new(config));
        let client = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(fixture.identity.roots())
            .with_client_cert_resolver(fixture.identity.certified(Arc::clone(&fixture.key)));
        let (ours, theirs) = pipe();
        let peer = PlainPeer::client(client, theirs);
        parks_once(Ssl::accept(&context, &JobPool::new(), ours).unwrap(), peer, &gate);
    }
}

#[test]
fn a_certificate_that_the_inner_verifier_refuses_is_not_passed_on() {
    let (fixture, stranger) = (fixture_at_once(), fixture(KeyType::P256, 4));
    let inner = WebPkiServerVerifier::builder_with_provider(
        stranger.identity.roots(),
        Arc::new(provider()),
    );
    let verifier = verify::server_certificate(inner.build().unwrap(), async |_peer| {
        panic!("a certificate from nowhere was let through")
    });
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let (ours, theirs) = pipe();
    let mut peer = PlainPeer::server(Arc::clone(fixture.server.config()), theirs);
    let context = SslContext::client(Arc::new(config));
    let mut ssl = Ssl::connect(&context, &JobPool::new(), localhost(), ours);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    peer.step();
    let refused = ssl.do_handshake();
    assert!(matches!(refused, Err(SslError::Tls(TlsError::InvalidCertificate(_)))));
}
