//! Handshakes that never park: no job, hooks on the caller's stack, and a hook that would wait ends the handshake.

use core::fmt;
use core::future::{pending, ready};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use job_core::{JobPool, Pause, Step};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, AlertDescription, Error, ServerConfig};
use ssl_async::{
    Acceptor, Parking, Ssl, SslContext, SslError, offload, replayable, resolve, verify,
};

use crate::support::{
    Fixture, KeyType, Pipe, Version, exchange_data, fixture, pipe, provider, server_config, shake,
    turn,
};

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

fn session(config: ServerConfig, pool: &JobPool, io: Pipe) -> Ssl<Pipe> {
    let context = SslContext::server(Arc::new(config)).parking(Parking::Never);
    Ssl::accept(&context, pool, io).unwrap()
}

/// The error of a handshake, and the alert that its client was sent: `None` for `close_notify`.
fn refused(fixture: &Fixture, version: Version, config: ServerConfig) -> (SslError, Option<Error>) {
    let (pool, (ours, theirs)) = (JobPool::new(), pipe());
    let mut ssl = session(config, &pool, ours);
    let mut client = fixture.client(version, theirs);
    let error = shake(&mut ssl, &mut client, &fixture.device).unwrap_err();
    assert_eq!(pool.stats().started, 0);
    let told = client.try_step().err();
    let mut closed = || client.tls.process_new_packets().unwrap().peer_has_closed();
    assert!(told.is_some() || closed(), "{version:?}");
    (error, told)
}

fn assert_would_wait(fixture: &Fixture, config: &ServerConfig, expected: &str) {
    for version in VERSIONS {
        let (error, told) = refused(fixture, version, config.clone());
        assert!(matches!(error, SslError::WouldWait(what) if what == expected), "{error}");
        assert!(matches!(told, None | Some(Error::AlertReceived(_))), "{version:?}: {told:?}");
    }
    assert_eq!(fixture.engine.stats().requests.now, fixture.device.held() as u64);
}

#[test]
fn an_operation_that_is_done_at_once_needs_no_job() {
    let _turn = turn();
    for version in VERSIONS {
        for reads_hello_first in [false, true] {
            let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
            fixture.device.set_answers_at_once(true);
            let chain = vec![fixture.identity.certificate.clone()];
            let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&fixture.key)));
            let mut config = fixture.server_config(ALL_VERSIONS);
            config.cert_resolver = resolve::server_certificate(move |_| {
                assert!(job_core::current().is_none());
                ready(Some(Arc::clone(&certified)))
            });
            let context = SslContext::server(Arc::new(config)).parking(Parking::Never);
            let (ours, theirs) = pipe();
            let mut client = fixture.client(version, theirs);
            client.step();
            let mut ssl = match reads_hello_first {
                false => Ssl::accept(&context, &pool, ours).unwrap(),
                true => {
                    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
                    accepted.into_session(&context, &pool)
                }
            };
            assert!(shake(&mut ssl, &mut client, &fixture.device).unwrap().is_empty());
            exchange_data(&mut ssl, &mut client);
            assert_eq!(pool.stats().started, 0);
        }
    }
}

#[test]
fn a_signature_that_is_not_there_at_once_ends_the_handshake() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let config = fixture.server_config(ALL_VERSIONS);
    assert_would_wait(&fixture, &config, "a signature");
    let (error, told) = refused(&fixture, &TLS13, config);
    assert_eq!(told, Some(Error::AlertReceived(AlertDescription::InternalError)));
    assert_eq!(
        error.to_string(),
        "the handshake would have to wait for a signature, which Parking::Never excludes; use Parking::Auto"
    );
}

#[test]
fn a_hook_that_would_wait_ends_the_handshake() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let handle = fixture.keys.load_pem(&fixture.identity.pem).unwrap();
    let keys = Arc::clone(&fixture.keys);
    let software = engine_core::Inline::new(move |op: &crypto_ops::CryptoOp| {
        keys.execute(op).map_err(|_| engine_core::DeviceError::Lost)
    });
    let at_once = engine_core::Engine::builder(Arc::new(software)).build();
    let key = offload::key_handle(at_once, handle);
    let served = server_config(provider(), ALL_VERSIONS, &fixture.identity, &key);

    let mut resolves = served.clone();
    resolves.cert_resolver = resolve::server_certificate(|_| pending());
    assert_would_wait(&fixture, &resolves, "an async hook");

    // rustls would go on without the ticket.
    let mut seals = served.clone();
    let engine = Arc::clone(&fixture.engine);
    seals.ticketer = offload::tickets(engine, &provider(), Duration::from_secs(3600)).unwrap();
    assert_would_wait(&fixture, &seals, "a session ticket");

    let roots = fixture.identity.roots();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider().into());
    let verifier = verifier.build().unwrap();
    let verifies = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verify::client_certificate(verifier, async |_| pending().await))
        .with_cert_resolver(Arc::clone(&served.cert_resolver));
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(fixture.identity.roots())
        .with_client_cert_resolver(fixture.identity.certified(Arc::clone(&key)));
    let (pool, (ours, theirs)) = (JobPool::new(), pipe());
    let mut ssl = session(verifies, &pool, ours);
    let mut client = crate::support::PlainPeer::client(client, theirs);
    let error = shake(&mut ssl, &mut client, &fixture.device).unwrap_err();
    assert!(matches!(error, SslError::WouldWait("an async hook")), "{error}");
    assert!(matches!(client.try_step().unwrap_err(), Error::AlertReceived(_)));

    // The same thread waits again as soon as it may.
    let (ours, theirs) = pipe();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    let parked = shake(&mut ssl, &mut fixture.client(&TLS13, theirs), &fixture.device);
    assert!(parked.unwrap().ends_with(&["sign-ecdsa-p256"]));
}

/// A hook that serves a handshake on a fiber before it returns.
struct ServesFirst {
    inner: Fixture,
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for ServesFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServesFirst")
    }
}

impl ResolvesServerCert for ServesFirst {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let config = Arc::new(self.inner.server_config(&[&TLS13]));
        let context = SslContext::server(config).parking(Parking::Fiber);
        let (ours, theirs) = pipe();
        let mut client = self.inner.client(&TLS13, theirs);
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        let parked = shake(&mut ssl, &mut client, &self.inner.device).unwrap();
        assert_eq!(parked, ["sign-ecdsa-p256"]);
        Some(Arc::clone(&self.certified))
    }
}

#[test]
fn a_session_on_a_fiber_inside_a_hook_may_wait() {
    let _turn = turn();
    let outer = fixture(KeyType::P256, 4);
    outer.device.set_answers_at_once(true);
    let chain = vec![outer.identity.certificate.clone()];
    let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&outer.key)));
    let mut config = outer.server_config(&[&TLS13]);
    let inner = fixture(KeyType::P256, 4);
    config.cert_resolver = Arc::new(ServesFirst { inner, certified });
    let (ours, theirs) = pipe();
    let mut ssl = session(config, &JobPool::new(), ours);
    let mut client = outer.client(&TLS13, theirs);
    assert!(shake(&mut ssl, &mut client, &outer.device).unwrap().is_empty());
}

/// A hook that would pause the job in which its session is driven.
#[derive(Debug)]
struct Pauses {
    answers: Arc<Mutex<Vec<Pause>>>,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Pauses {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.answers.lock().unwrap().push(job_core::pause());
        Some(Arc::clone(&self.certified))
    }
}

/// A pause would let other sessions of the thread find what this one keeps there.
#[test]
fn a_hook_does_not_pause_a_job_of_the_callers_but_on_a_fiber_of_its_session() {
    let _turn = turn();
    for parking in [Parking::Never, Parking::Replay] {
        let fixture = fixture(KeyType::P256, 4);
        fixture.device.set_answers_at_once(true);
        let answers = Arc::<Mutex<Vec<Pause>>>::default();
        let chain = vec![fixture.identity.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&fixture.key)));
        let provider = replayable(provider());
        let mut config = server_config(provider, &[&TLS13], &fixture.identity, &fixture.key);
        config.cert_resolver = Arc::new(Pauses { answers: Arc::clone(&answers), certified });
        let context = SslContext::server(Arc::new(config)).parking(parking);
        let (ours, theirs) = pipe();
        let mut client = fixture.client(&TLS13, theirs);
        let step = JobPool::new().start(move || {
            let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
            let done = shake(&mut ssl, &mut client, &fixture.device);
            assert!(done.is_ok(), "{done:?}");
        });
        assert!(matches!(step, Ok(Step::Finished(()))), "{parking:?}");
        assert_eq!(*answers.lock().unwrap(), [Pause::Blocked], "{parking:?}");
    }
}
