//! Sessions that park by replay: no fiber, and nothing else changes (law L16: replay is invisible).

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use job_core::JobPool;
use rustls::crypto::{CryptoProvider, aws_lc_rs::kx_group};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, AlertDescription, Error, ServerConfig};
use ssl_async::{
    Acceptor, Outcome, Parking, Ssl, SslContext, SslError, offload, replayable, resolve,
};

use crate::support::{
    Fixture, KeyType, Pipe, PlainPeer, Version, exchange_data, fixture, pipe, provider,
    server_config, shake, turn,
};

/// `internal_error`, fatal, in the clear.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

fn replayable_config(fixture: &Fixture) -> ServerConfig {
    server_config(replayable(provider()), ALL_VERSIONS, &fixture.identity, &fixture.key)
}

fn session(config: ServerConfig, parking: Parking, pool: &JobPool, io: Pipe) -> Ssl<Pipe> {
    let context = SslContext::server(Arc::new(config)).parking(parking);
    Ssl::accept(&context, pool, io).unwrap()
}

#[test]
fn a_replay_starts_no_job() {
    let _turn = turn();
    for parking in [Parking::Auto, Parking::Replay] {
        for version in VERSIONS {
            let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
            let (ours, theirs) = pipe();
            let mut ssl = session(replayable_config(&fixture), parking, &pool, ours);
            let mut client = fixture.client(version, theirs);
            let parked = shake(&mut ssl, &mut client, &fixture.device).unwrap();
            assert_eq!(parked, ["sign-ecdsa-p256"]);
            exchange_data(&mut ssl, &mut client);
            assert_eq!(pool.stats().started, 0, "{parking:?} {version:?}");
        }
    }
}

#[test]
fn a_hello_in_pieces_is_parked_by_replay() {
    let _turn = turn();
    for version in VERSIONS {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let ((ours, theirs), (mut wire, client_io)) = (pipe(), pipe());
        let mut ssl = session(replayable_config(&fixture), Parking::Replay, &pool, ours);
        let mut client = fixture.client(version, client_io);
        client.step();
        // One record for each byte of the hello.
        let mut theirs = theirs;
        let mut hello = vec![0; wire.peek().len()];
        std::io::Read::read_exact(&mut wire, &mut hello).unwrap();
        for byte in &hello[5..] {
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
            theirs.write_all(&[22, 3, 1, 0, 1, *byte]).unwrap();
        }
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.answer();
        client.io = theirs;
        shake(&mut ssl, &mut client, &fixture.device).unwrap();
        assert_eq!(pool.stats().started, 0);
    }
}

/// A resolver that records the thread of each call, and needs more stack than a fiber has.
#[derive(Debug)]
struct OnThisThread(Arc<CertifiedKey>, Mutex<Vec<ThreadId>>);

impl ResolvesServerCert for OnThisThread {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let large = std::hint::black_box([1_u8; 512 * 1024]);
        assert_eq!(large.len(), large.iter().map(|&byte| usize::from(byte)).sum::<usize>());
        assert!(job_core::current().is_none());
        self.1.lock().unwrap().push(thread::current().id());
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn l16_a_resolver_is_asked_once_and_on_the_stack_of_the_caller() {
    let _turn = turn();
    for version in VERSIONS {
        let fixture = fixture(KeyType::P256, 4);
        let chain = vec![fixture.identity.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&fixture.key)));
        let resolver = Arc::new(OnThisThread(certified, Mutex::default()));
        let mut config = replayable_config(&fixture);
        config.cert_resolver = resolver.clone();
        let (ours, theirs) = pipe();
        let mut ssl = session(config, Parking::Auto, &JobPool::new(), ours);
        shake(&mut ssl, &mut fixture.client(version, theirs), &fixture.device).unwrap();
        assert_eq!(*resolver.1.lock().unwrap(), [thread::current().id()]);
    }
}

#[test]
fn a_handshake_that_needs_a_fiber_fails_where_only_replay_is_allowed() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let not_replayable = fixture.server_config(ALL_VERSIONS);
    let mut seals = replayable_config(&fixture);
    let engine = Arc::clone(&fixture.engine);
    seals.ticketer = offload::tickets(engine, &provider(), Duration::from_secs(3600)).unwrap();
    for (config, by_a_hello) in [(not_replayable, false), (seals, true)] {
        let context = SslContext::server(Arc::new(config)).parking(Parking::Replay);
        let pool = JobPool::new();
        for accepts in [false, true] {
            let (ours, theirs) = pipe();
            let mut client = fixture.client(&TLS13, theirs);
            client.step();
            let mut ssl = match accepts {
                false => Ssl::accept(&context, &pool, ours).unwrap(),
                true => {
                    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
                    accepted.into_session(&context, &pool)
                }
            };
            let error = ssl.do_handshake().unwrap_err();
            assert!(matches!(error, SslError::NeedsFiber(_)), "{by_a_hello}: {error}");
            assert_eq!(client.io.peek(), INTERNAL_ERROR);
            let told = client.try_step().unwrap_err();
            assert_eq!(told, Error::AlertReceived(AlertDescription::InternalError));
        }
        assert_eq!((pool.stats().started, fixture.device.held()), (0, 0));
    }
}

#[test]
fn a_hello_that_is_too_long_for_a_replay_is_served_on_a_fiber() {
    let _turn = turn();
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    for parking in [Parking::Auto, Parking::Replay] {
        let (ours, theirs) = pipe();
        let mut ssl = session(replayable_config(&fixture), parking, &pool, ours);
        let mut config = fixture.client_config(&TLS13);
        config.alpn_protocols = vec![vec![b'x'; 250]; 160];
        let mut client = PlainPeer::client(config, theirs);
        match shake(&mut ssl, &mut client, &fixture.device) {
            Ok(parked) => {
                assert_eq!((parking, parked), (Parking::Auto, vec!["sign-ecdsa-p256"]));
                exchange_data(&mut ssl, &mut client);
            }
            Err(error) => {
                assert!(matches!(error, SslError::NeedsFiber(_)), "{error}");
                assert_eq!(parking, Parking::Replay);
            }
        }
    }
}

#[test]
fn a_session_that_does_not_park_blocks_instead_of_replaying() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let (ours, theirs) = pipe();
    let mut ssl = session(replayable_config(&fixture), Parking::Auto, &JobPool::new(), ours);
    ssl.set_async_mode(false);
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let answering = fixture.device.answer_in_background();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    answering.join().unwrap();
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
}

#[test]
fn a_shutdown_before_the_hello_tells_the_client() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let (ours, theirs) = pipe();
    let mut ssl = session(replayable_config(&fixture), Parking::Replay, &JobPool::new(), ours);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    assert_eq!(ssl.flush().unwrap(), Outcome::Ready(()));
    assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()));
    // `close_notify`, a warning in the clear.
    assert_eq!(theirs.peek()[5..], [1, 0]);
}

/// A client that was asked for another hello, by one of our ways of parking. What it was sent lies in its pipe.
fn asked_for_another_hello(fixture: &Fixture, parking: Parking) -> (Ssl<Pipe>, Pipe) {
    let groups = vec![kx_group::SECP384R1];
    let provider = replayable(CryptoProvider { kx_groups: groups, ..provider() });
    let config = server_config(provider, &[&TLS13], &fixture.identity, &fixture.key);
    let (ours, theirs) = pipe();
    let mut ssl = session(config, parking, &JobPool::new(), ours);
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    (ssl, client.io)
}

#[test]
fn a_shutdown_after_a_hello_retry_request_tells_the_client() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    for parking in [Parking::Fiber, Parking::Replay] {
        let (mut ssl, theirs) = asked_for_another_hello(&fixture, parking);
        let before = theirs.peek().len();
        assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()), "{parking:?}");
        assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()), "once more");
        assert_eq!(theirs.peek()[before..], [21, 3, 3, 0, 2, 1, 0], "{parking:?}");
    }
}

#[test]
fn keys_are_not_updated_before_the_handshake_is_complete() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    for parking in [Parking::Fiber, Parking::Replay] {
        let (ours, _theirs) = pipe();
        let mut new = session(replayable_config(&fixture), parking, &JobPool::new(), ours);
        let (retried, _theirs) = asked_for_another_hello(&fixture, parking);
        for ssl in [&mut new, &mut { retried }] {
            let refused = ssl.key_update();
            let expected: Result<Outcome<()>, _> = Err(SslError::Tls(Error::HandshakeNotComplete));
            assert_eq!(format!("{refused:?}"), format!("{expected:?}"), "{parking:?}");
        }
    }
}

#[test]
fn a_client_is_told_internal_error_after_a_hello_retry_request_by_replay() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let groups = vec![kx_group::SECP384R1];
    let provider = replayable(CryptoProvider { kx_groups: groups, ..provider() });
    let config = server_config(provider, &[&TLS13], &fixture.identity, &fixture.key);
    let (ours, theirs) = pipe();
    let mut ssl = session(config, Parking::Replay, &JobPool::new(), ours);
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.fail();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(_))));
    assert_eq!(client.io.peek(), INTERNAL_ERROR);
}

/// A session that is parked before its signature, and whose client still has to be asked for a second hello.
#[test]
fn a_resolver_that_waits_is_asked_for_each_hello() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let groups = vec![kx_group::SECP384R1];
    let provider = replayable(CryptoProvider { kx_groups: groups, ..provider() });
    let mut config = server_config(provider, &[&TLS13], &fixture.identity, &fixture.key);
    let chain = vec![fixture.identity.certificate.clone()];
    let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&fixture.key)));
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = Arc::clone(&asked);
    config.cert_resolver = resolve::server_certificate(async move |offer| {
        asking.fetch_add(1, Ordering::Relaxed);
        assert!(offer.signature_schemes.len() > 1 && offer.cipher_suites.len() > 1);
        let mut waited = false;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if core::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Some(certified)
    });
    let (ours, theirs) = pipe();
    let pool = JobPool::new();
    let mut ssl = session(config, Parking::Replay, &pool, ours);
    let mut client = fixture.client(&TLS13, theirs);
    for n in 1..=2 {
        client.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        assert_eq!((asked.load(Ordering::Relaxed), fixture.device.held()), (n, 0));
        let next = if n == 1 { Outcome::WantRead } else { Outcome::WantAsync };
        assert_eq!(ssl.do_handshake().unwrap(), next);
    }
    fixture.device.answer();
    shake(&mut ssl, &mut client, &fixture.device).unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), pool.stats().started), (2, 0));
}
