//! The alert when an operation fails: `internal_error`, wherever the protocol allows it (law L15: a failed operation ends its
//! session, and the peer is told).

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use engine_core::Engine;
use job_core::JobPool;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs::kx_group};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, ServerConfig};
use ssl_async::{Acceptor, Outcome, Ssl, SslContext, SslError, offload};

use crate::support::{
    Fixture, KeyType, ManualDevice, Pipe, PlainPeer, Version, client_config, fixture, localhost,
    pipe, provider, turn,
};

/// `internal_error`, fatal, in the clear.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

fn with_groups(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
    CryptoProvider { kx_groups: groups.to_vec(), ..provider() }
}

/// Fails operation number `nth` and answers those before it. Returns the session's error and the peer's.
fn fail(
    ssl: &mut Ssl<Pipe>,
    peer: &mut PlainPeer,
    device: &ManualDevice,
    nth: usize,
) -> (String, Option<Error>) {
    let mut asked = 0;
    for _ in 0..40 {
        match ssl.do_handshake() {
            Ok(Outcome::WantAsync) if asked == nth => {
                asked += 1;
                device.fail();
            }
            Ok(Outcome::WantAsync) => {
                asked += 1;
                device.answer();
            }
            Ok(_) => peer.step(),
            Err(error) => {
                assert!(matches!(error, SslError::Failed(_)), "{error}");
                assert_eq!(ssl.do_handshake().unwrap_err().to_string(), error.to_string());
                return (device.held().to_string(), peer.try_step().err());
            }
        }
    }
    panic!("operation {nth} is not asked for: {ssl:?}")
}

fn assert_told(told: (String, Option<Error>), alert: AlertDescription, case: &str) {
    assert_eq!(told, ("0".to_owned(), Some(Error::AlertReceived(alert))), "{case}");
}

/// A server that offloads everything to `engine`, with one version and these groups.
fn server(
    fixture: &Fixture,
    version: Version,
    groups: &[&'static dyn SupportedKxGroup],
) -> SslContext {
    let provider = offload::key_exchange(with_groups(groups));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(fixture.identity.certified(Arc::clone(&fixture.key)));
    SslContext::server(Arc::new(config)).key_exchange(Arc::clone(&fixture.engine))
}

#[test]
fn l15_a_client_is_told_internal_error_whichever_operation_of_the_server_fails() {
    let _turn = turn();
    // TLS 1.2: start of the key exchange, signature, completion. TLS 1.3: key exchange, signature.
    for (version, n_operations) in [(&TLS12, 3), (&TLS13, 2)] {
        for nth in 0..n_operations {
            let fixture = fixture(KeyType::P256, 4);
            let (ours, theirs) = pipe();
            let context = server(&fixture, version, &[kx_group::X25519]);
            let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
            let mut peer = fixture.client(version, theirs);
            peer.step();
            let told = fail(&mut ssl, &mut peer, &fixture.device, nth);
            assert_told(told, AlertDescription::InternalError, &format!("{version:?} {nth}"));
        }
    }
}

#[test]
fn l15_nothing_of_the_flight_that_failed_is_sent() {
    for version in VERSIONS {
        let fixture = fixture(KeyType::P256, 4);
        let (ours, theirs) = pipe();
        let mut ssl = Ssl::accept(&fixture.server, &JobPool::new(), ours).unwrap();
        let mut client = fixture.client(version, theirs);
        client.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.fail();
        assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(_))));
        assert_eq!(client.io.peek(), INTERNAL_ERROR, "{version:?}");
    }
}

#[test]
fn l15_a_client_is_told_internal_error_after_a_hello_retry_request() {
    let _turn = turn();
    for nth in 0..2 {
        let fixture = fixture(KeyType::P256, 4);
        let (ours, theirs) = pipe();
        let context = server(&fixture, &TLS13, &[kx_group::SECP384R1]);
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        let groups = with_groups(&[kx_group::X25519, kx_group::SECP384R1]);
        let config = client_config(groups, &TLS13, &fixture.identity);
        let mut peer = PlainPeer::client(config, theirs);
        peer.step();
        let told = fail(&mut ssl, &mut peer, &fixture.device, nth);
        assert_told(told, AlertDescription::InternalError, &format!("operation {nth}"));
    }
}

/// A client's session that offloads everything to a device, and a plain rustls server that requests its certificate.
fn client(
    fixture: &Fixture,
    version: Version,
    groups: &[&'static dyn SupportedKxGroup],
) -> (Ssl<Pipe>, PlainPeer, Arc<ManualDevice>) {
    fixture.device.set_answers_at_once(true);
    let provider_of_server = Arc::new(with_groups(&[kx_group::SECP384R1]));
    let roots = fixture.identity.roots();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider_of_server));
    let config = ServerConfig::builder_with_provider(provider_of_server)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(fixture.identity.certified(Arc::clone(&fixture.key)));
    let (ours, theirs) = pipe();
    let peer = PlainPeer::server(config, theirs);

    let device = ManualDevice::new(Arc::clone(&fixture.keys), 4);
    let engine = Engine::builder(device.clone()).build();
    let handle = fixture.keys.load_pem(&fixture.identity.pem).unwrap();
    let key = offload::key_handle(Arc::clone(&engine), handle);
    let provider = Arc::new(offload::key_exchange(with_groups(groups)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(fixture.identity.roots())
        .with_client_cert_resolver(fixture.identity.certified(key));
    let context = SslContext::client(Arc::new(config)).key_exchange(engine);
    (Ssl::connect(&context, &JobPool::new(), localhost(), ours), peer, device)
}

#[test]
fn l15_a_server_is_told_internal_error_when_an_operation_of_the_client_fails() {
    let _turn = turn();
    let p384: &[&'static dyn SupportedKxGroup] = &[kx_group::SECP384R1];
    let retry: &[&'static dyn SupportedKxGroup] = &[kx_group::X25519, kx_group::SECP384R1];
    // TLS 1.2: start, signature, completion. TLS 1.3: start, completion; start, start again, completion.
    for (version, groups, n_operations) in
        [(&TLS12, p384, 3), (&TLS13, p384, 2), (&TLS13, retry, 3)]
    {
        for nth in 0..n_operations {
            let fixture = fixture(KeyType::P256, 4);
            let (mut ssl, mut peer, device) = client(&fixture, version, groups);
            let told = fail(&mut ssl, &mut peer, &device, nth);
            assert_told(told, AlertDescription::InternalError, &format!("{version:?} {nth}"));
        }
    }
}

#[test]
fn l15_a_tls13_clients_failed_signature_is_told_by_close_notify_alone() {
    let _turn = turn();
    let fixture = fixture(KeyType::P256, 4);
    let (mut ssl, mut peer, device) = client(&fixture, &TLS13, &[kx_group::SECP384R1]);
    let (_, told) = fail(&mut ssl, &mut peer, &device, 2);
    // An alert in the clear would break the protocol.
    assert_eq!(told, Some(Error::AlertReceived(AlertDescription::CloseNotify)));
}

/// The client's error when the session is given up now.
fn timed_out(ssl: &mut Ssl<Pipe>, client: &mut PlainPeer) -> Option<Error> {
    let limit = Duration::from_secs(60);
    for _ in 0..2 {
        assert!(matches!(ssl.time_out(limit), SslError::TimedOut(after) if after == limit));
        assert!(matches!(ssl.do_handshake(), Err(SslError::TimedOut(_))));
    }
    client.try_step().err()
}

#[test]
fn a_handshake_that_times_out_sends_an_alert_at_every_stage() {
    let internal_error = Some(Error::AlertReceived(AlertDescription::InternalError));
    for version in VERSIONS {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::builder().max_jobs(1));
        let pool = pool.build().unwrap();
        let open = || {
            let (ours, theirs) = pipe();
            let ssl = Ssl::accept(&fixture.server_of(version), &pool, ours).unwrap();
            (ssl, fixture.client(version, theirs))
        };
        // Nothing was received.
        let (mut ssl, mut client) = open();
        assert_eq!(timed_out(&mut ssl, &mut client), internal_error);
        let (mut parked, mut client) = open();
        client.step();
        assert_eq!(parked.do_handshake().unwrap(), Outcome::WantAsync);
        // Waiting for a job.
        let (mut ssl, mut other) = open();
        other.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsyncJob);
        assert_eq!(timed_out(&mut ssl, &mut other), internal_error);
        // Parked in its signature.
        assert_eq!(timed_out(&mut parked, &mut client), internal_error);
        assert_eq!((pool.stats().live, fixture.engine.stats().cancelled), (0, 1));
        fixture.device.answer();
        // Waiting for the client's last flight.
        let (mut ssl, mut client) = open();
        client.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.answer();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        if version == &TLS12 {
            assert_eq!(timed_out(&mut ssl, &mut client), internal_error);
        } else {
            // The client has the keys and completes its handshake; then it receives the close.
            assert_eq!(timed_out(&mut ssl, &mut client), None);
            assert!(client.tls.process_new_packets().unwrap().peer_has_closed());
        }
        // An earlier error stays.
        drop(client);
        let (mut ssl, client) = open();
        drop(client);
        assert!(matches!(ssl.do_handshake(), Err(SslError::PeerClosed(_))));
        assert!(matches!(ssl.time_out(Duration::ZERO), SslError::PeerClosed(_)));
    }
}

#[test]
fn a_client_gets_an_alert_when_a_hook_of_the_server_panics() {
    for async_mode in [true, false] {
        let fixture = fixture(KeyType::P256, 4);
        let context = fixture.context_with_a_panicking_key().async_mode(async_mode);
        let (ours, theirs) = pipe();
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        let mut client = fixture.client(&TLS13, theirs);
        client.step();
        let panic = catch_unwind(AssertUnwindSafe(|| ssl.do_handshake())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a bug in a key"));
        assert_eq!(client.io.peek(), INTERNAL_ERROR);
        assert!(matches!(ssl.do_handshake(), Err(SslError::Panicked)));
    }
}

#[test]
fn a_client_gets_an_alert_when_its_hello_or_the_choice_of_a_configuration_takes_too_long() {
    let (fixture, limit) = (fixture(KeyType::P256, 4), Duration::from_secs(60));
    let (ours, mut theirs) = pipe();
    let mut acceptor = Acceptor::new(ours);
    theirs.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    assert!(matches!(acceptor.accept().unwrap(), Outcome::WantRead));
    assert!(matches!(acceptor.time_out(limit), SslError::TimedOut(after) if after == limit));
    assert_eq!(theirs.peek(), INTERNAL_ERROR);

    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
    assert!(matches!(accepted.time_out(limit), SslError::TimedOut(after) if after == limit));
    assert_eq!(client.io.peek(), INTERNAL_ERROR);
}
