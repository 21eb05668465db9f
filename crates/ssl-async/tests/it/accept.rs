//! A server that reads the client's hello before it chooses its configuration.

use std::io::Write;

use engine_core::{DeviceError, EngineError};
use job_core::JobPool;
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use ssl_async::{Acceptor, ClosedDuring, Outcome, SslError};

use crate::support::{KeyType, fixture, pipe};

#[test]
fn the_hello_chooses_the_configuration_and_the_signature_parks() {
    for version in [&TLS12, &TLS13] {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, theirs) = pipe();
        let mut client = fixture.client(version, theirs);
        let mut acceptor = Acceptor::new(ours);
        assert!(matches!(acceptor.accept().unwrap(), Outcome::WantRead));
        client.step();
        let accepted = acceptor.accept().unwrap().ready().expect("the hello is there");
        assert_eq!(accepted.client_hello().server_name(), Some("localhost"));
        assert!(acceptor.io().is_none());
        let mut ssl = accepted.into_session(&fixture.server, &pool);
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.answer();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        client.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
        client.send(b"hello");
        assert_eq!(ssl.read(&mut [0; 8]).unwrap(), Outcome::Ready(5));
    }
}

#[test]
fn l15_a_failed_signature_after_an_acceptor_sends_internal_error_alone() {
    for version in [&TLS12, &TLS13] {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, theirs) = pipe();
        let mut client = fixture.client(version, theirs);
        client.step();
        let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
        let mut ssl = accepted.into_session(&fixture.server, &pool);
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.fail();
        let cause = EngineError::Device(DeviceError::Failed("told to"));
        for _ in 0..2 {
            assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(c)) if c == cause));
        }
        assert_eq!(client.io.peek(), [21, 3, 3, 0, 2, 2, 80]);
        let told = client.try_step().unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::InternalError));
        assert_eq!(pool.stats().live, 0);
    }
}

#[test]
fn garbage_and_an_early_close_are_different_errors() {
    let (ours, mut theirs) = pipe();
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(Acceptor::new(ours).accept(), Err(SslError::Tls(_))));

    let (ours, mut theirs) = pipe();
    theirs.write_all(&[0x16, 3, 1, 0, 200, 1, 0]).unwrap();
    let mut acceptor = Acceptor::new(ours);
    assert!(matches!(acceptor.accept().unwrap(), Outcome::WantRead));
    drop(theirs);
    let closed = acceptor.accept();
    assert!(matches!(closed, Err(SslError::PeerClosed(ClosedDuring::Handshake))));
}

#[test]
fn a_client_without_a_common_version_gets_the_alert() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS12, theirs);
    client.step();
    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
    let mut ssl = accepted.into_session(&fixture.server_of(&TLS13), &pool);
    assert!(matches!(ssl.do_handshake(), Err(SslError::Tls(_))));
    let refused = client.try_step().unwrap_err();
    assert!(matches!(refused, rustls::Error::AlertReceived(_)), "{refused}");
}
