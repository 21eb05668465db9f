//! Handshakes that do not finish leave nothing behind.

use engine_core::{CheckFailed, DeviceError, EngineError};
use job_core::JobPool;
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use ssl_async::{ClosedDuring, Outcome, Ssl, SslError};
use wait_ctx::Status;

use crate::support::{Fixture, KeyType, Pipe, PlainPeer, fixture, pipe};

fn parked(fixture: &Fixture, pool: &JobPool) -> (Ssl<Pipe>, PlainPeer) {
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let mut ssl = Ssl::accept(&fixture.server, pool, ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    (ssl, client)
}

fn assert_ledger_is_zero(fixture: &Fixture, pool: &JobPool) {
    let (jobs, engine) = (pool.stats(), fixture.engine.stats());
    assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0));
    assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
}

#[test]
fn l15_a_failed_signature_ends_the_session_with_its_cause() {
    for version in [&TLS12, &TLS13] {
        let fixture = fixture(KeyType::P256, 4);
        let pool = JobPool::new();
        let (ours, theirs) = pipe();
        let mut client = fixture.client(version, theirs);
        client.step();
        let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.fail();
        assert_eq!(ssl.async_status(), Status::Err);
        let cause = EngineError::Device(DeviceError::Failed("told to"));
        for _ in 0..3 {
            assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(c)) if c == cause));
            assert!(matches!(ssl.read(&mut [0; 8]), Err(SslError::Failed(c)) if c == cause));
        }
        assert_eq!(ssl.failure(), Some(&cause));
        let told = client.try_step().unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::InternalError));
        assert_ledger_is_zero(&fixture, &pool);
    }
}

#[test]
fn l12_a_wrong_rsa_signature_never_leaves_the_engine() {
    let fixture = fixture(KeyType::Rsa2048, 4);
    let pool = JobPool::new();
    let (mut ssl, _client) = parked(&fixture, &pool);
    fixture.device.answer_wrongly();
    let Err(SslError::Failed(EngineError::Invalid(CheckFailed(_)))) = ssl.do_handshake() else {
        panic!("the wrong signature was sent")
    };
    assert_eq!(fixture.engine.stats().check_failures, 1);
    assert_ledger_is_zero(&fixture, &pool);
}

#[test]
fn the_peers_close_is_noticed_while_parked_and_cancels() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (mut ssl, client) = parked(&fixture, &pool);
    assert!(ssl.watch_peer().is_ok());
    drop(client);
    let closed = ssl.watch_peer();
    assert!(matches!(closed, Err(SslError::PeerClosed(ClosedDuring::Handshake))));
    assert_eq!((pool.stats().live, fixture.engine.stats().cancelled), (0, 1));
    // The device still has the request; its late result is discarded.
    fixture.device.answer();
    assert_eq!(fixture.engine.stats().late, 1);
    assert_ledger_is_zero(&fixture, &pool);
}

#[test]
fn bytes_received_while_parked_are_not_lost() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (mut ssl, mut client) = parked(&fixture, &pool);
    // Not TLS: it must leave the read-ahead buffer in order, and be refused.
    std::io::Write::write_all(&mut client.io, b"this is not a record").unwrap();
    ssl.watch_peer().unwrap();
    fixture.device.answer();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Tls(_))));
    assert_ledger_is_zero(&fixture, &pool);
}

#[test]
fn l5_dropping_a_parked_session_cancels_it() {
    let fixture = fixture(KeyType::P256, 1);
    let pool = JobPool::new();
    let (first, _client1) = parked(&fixture, &pool);
    let (second, _client2) = parked(&fixture, &pool);
    assert_eq!(fixture.engine.stats().waiters.now, 1, "the ring holds one; the second waits");
    drop(second);
    assert_eq!(fixture.engine.stats().waiters.now, 0);
    drop(first);
    assert_eq!(fixture.device.held(), 1, "what the device owns stays there");
    fixture.device.answer();
    assert_ledger_is_zero(&fixture, &pool);
}

#[test]
fn l5_a_dropped_session_returns_its_job_to_a_bounded_pool() {
    let fixture = fixture(KeyType::P256, 8);
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    for _ in 0..5 {
        let (gone, _client) = parked(&fixture, &pool);
        let (ours, theirs) = pipe();
        let mut client = fixture.client(&TLS13, theirs);
        client.step();
        let mut next = Ssl::accept(&fixture.server, &pool, ours).unwrap();
        assert_eq!(next.do_handshake().unwrap(), Outcome::WantAsyncJob);
        drop(gone);
        assert_eq!(next.do_handshake().unwrap(), Outcome::WantAsync);
        // The first result belongs to the dropped session.
        fixture.device.answer();
        fixture.device.answer();
        assert_eq!(next.do_handshake().unwrap(), Outcome::WantRead);
    }
    assert_ledger_is_zero(&fixture, &pool);
}

#[test]
fn garbage_and_half_a_hello_end_only_their_own_session() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (ours, mut theirs) = pipe();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    std::io::Write::write_all(&mut theirs, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Tls(_))));

    let (ours, mut theirs) = pipe();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    std::io::Write::write_all(&mut theirs, &[0x16, 3, 1, 0, 200, 1, 0]).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    drop(theirs);
    assert!(matches!(ssl.do_handshake(), Err(SslError::PeerClosed(ClosedDuring::Handshake))));
    assert_ledger_is_zero(&fixture, &pool);
}
