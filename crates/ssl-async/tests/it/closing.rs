//! Peers that hang up, close after their data, or are refused.

use std::io::{self, Read, Write};
use std::sync::Arc;

use job_core::JobPool;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::version::{TLS12, TLS13};
use ssl_async::{Acceptor, ClosedDuring, Outcome, Ssl, SslContext, SslError};

use crate::support::{
    Fixture, KeyType, Pipe, PlainPeer, client_config, fixture, localhost, pipe, provider,
    server_config, shake,
};

/// A server's session parked in its signature, and its client.
fn parked(
    fixture: &Fixture,
    pool: &JobPool,
    mut client: PlainPeer,
    ours: Pipe,
) -> (Ssl<Pipe>, PlainPeer) {
    client.step();
    let mut ssl = Ssl::accept(&fixture.server, pool, ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    (ssl, client)
}

#[test]
fn a_hang_up_is_noticed_while_parked() {
    for more in [0, 1, 20_000, 60_000, 100_000, 1_000_000] {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, theirs) = pipe();
        let client = fixture.client(&TLS13, theirs);
        let (mut ssl, mut client) = parked(&fixture, &pool, client, ours);
        client.io.write_all(&vec![23; more]).unwrap();
        client.io.close();
        let error = ssl.watch_peer().unwrap_err();
        if more <= 64 * 1024 {
            let closed = matches!(error, SslError::PeerClosed(ClosedDuring::Handshake));
            assert!(closed, "{more}: {error}");
        } else {
            assert!(matches!(error, SslError::Tls(_)), "{more}: {error}");
            assert_eq!(client.io.peek(), [21, 3, 3, 0, 2, 2, 10], "an alert");
        }
        assert_eq!((pool.stats().live, fixture.engine.stats().cancelled), (0, 1));
    }
}

#[test]
fn a_hang_up_is_noticed_after_a_hello_retry_request_too() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    // The client's key share is for a group that the server does not have.
    let of = |groups| CryptoProvider { kx_groups: groups, ..provider() };
    let identity = &fixture.identity;
    let config = server_config(of(vec![kx_group::X25519]), &[&TLS13], identity, &fixture.key);
    let context = SslContext::server(Arc::new(config));
    let client = client_config(of(vec![kx_group::SECP384R1, kx_group::X25519]), &TLS13, identity);
    let (ours, theirs) = pipe();
    let mut client = PlainPeer::client(client, theirs);
    client.step();
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead, "the request has left");
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    client.io.close();
    let error = ssl.watch_peer().unwrap_err();
    assert!(matches!(error, SslError::PeerClosed(ClosedDuring::Handshake)), "{error}");
    assert_eq!((pool.stats().live, fixture.engine.stats().cancelled), (0, 1));
}

/// Passes at most two bytes per call, and blocks at every other write.
struct Narrow {
    inner: Pipe,
    blocks: bool,
}

impl Read for Narrow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into)
    }
}

impl Write for Narrow {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.blocks = !self.blocks;
        if self.blocks {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.inner.write(&data[..data.len().min(2)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn narrow() -> (Narrow, Pipe) {
    let (inner, theirs) = pipe();
    (Narrow { inner, blocks: false }, theirs)
}

/// Calls until there is an error. Every other result must be a wait for the transport.
fn refusal<T>(mut call: impl FnMut() -> Result<Outcome<T>, SslError>) -> SslError {
    for _ in 0..100 {
        match call() {
            Err(error) => return error,
            Ok(outcome) => assert_eq!(outcome.map(drop), Outcome::WantWrite),
        }
    }
    panic!("the alert does not leave")
}

#[test]
fn an_alert_is_sent_whole_over_a_narrow_transport() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let request = b"GET / HTTP/1.1\r\n\r\n";

    // No hello, read by a session and by an acceptor.
    let (ours, mut theirs) = narrow();
    theirs.write_all(request).unwrap();
    theirs.close();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    let error = refusal(|| ssl.do_handshake());
    assert!(matches!(error, SslError::Tls(_)), "{error}");
    assert_eq!(theirs.peek().len(), 7);
    let again = ssl.read(&mut [0; 8]).unwrap_err();
    assert_eq!(again.to_string(), error.to_string(), "law L15");

    let (ours, mut theirs) = narrow();
    theirs.write_all(request).unwrap();
    let mut acceptor = Acceptor::new(ours);
    let error = refusal(|| acceptor.accept());
    assert!(matches!(error, SslError::Tls(_)), "{error}");
    assert_eq!(theirs.peek().len(), 7);

    // A hello that the configuration refuses.
    let (ours, theirs) = narrow();
    let mut client = fixture.client(&TLS12, theirs);
    client.step();
    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
    let mut ssl = accepted.into_session(&fixture.server_of(&TLS13), &pool);
    let error = refusal(|| ssl.do_handshake());
    assert!(matches!(error, SslError::Tls(_)), "{error}");
    let refused = client.try_step().unwrap_err();
    assert!(matches!(refused, rustls::Error::AlertReceived(_)), "{refused}");

    // A signature that fails.
    let (ours, theirs) = narrow();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.fail();
    let error = refusal(|| ssl.do_handshake());
    assert!(matches!(error, SslError::Failed(_)), "{error}");
    assert!(ssl.failure().is_some());
    let refused = client.try_step();
    assert!(refused.is_err() || client.tls.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn good_data_before_a_corrupt_record_is_read_first() {
    for version in [&TLS12, &TLS13] {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, theirs) = pipe();
        let mut client = fixture.client(version, theirs);
        let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
        shake(&mut ssl, &mut client, &fixture.device).unwrap();
        client.send(b"good");
        client.io.write_all(&[23, 3, 3, 0, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        client.io.write_all(&[0; 10]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(ssl.peek(&mut buffer).unwrap(), Outcome::Ready(4));
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
        assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(4));
        assert_eq!(&buffer[..4], b"good");
        for _ in 0..2 {
            let error = ssl.read(&mut buffer).unwrap_err();
            assert!(matches!(error, SslError::Tls(rustls::Error::DecryptError)), "{error}");
        }
        let refused = client.try_step().unwrap_err();
        assert!(matches!(refused, rustls::Error::AlertReceived(_)), "{refused}");
    }
}

#[test]
fn bytes_behind_the_last_record_are_returned_with_the_transport() {
    for version in [&TLS12, &TLS13] {
        // Behind close_notify, in the same read or not.
        for at_once in [true, false] {
            let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
            let (ours, theirs) = pipe();
            let mut client = fixture.client(version, theirs);
            let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
            shake(&mut ssl, &mut client, &fixture.device).unwrap();
            client.send(b"last");
            client.tls.send_close_notify();
            client.step();
            if at_once {
                client.io.write_all(b"next protocol").unwrap();
            }
            let mut buffer = [0; 16];
            assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(4));
            assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(0));
            assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(0));
            if !at_once {
                client.io.write_all(b"next protocol").unwrap();
            }
            let (mut io, mut next) = ssl.into_io();
            let _until_would_block = io.read_to_end(&mut next);
            assert_eq!(next, b"next protocol");
        }
    }
}

#[test]
fn bytes_behind_the_handshake_are_returned_with_the_transport() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let client = fixture.client(&TLS13, theirs);
    let (mut ssl, mut client) = parked(&fixture, &pool, client, ours);
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    client.io.write_all(b"next protocol").unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(ssl.into_io().1, b"next protocol");
}

/// A transport that fails every write, as after a reset, and still has received bytes to read.
struct Deaf(Pipe, bool);

impl Read for Deaf {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Err(_) | Ok(0) if self.1 => Err(io::ErrorKind::ConnectionReset.into()),
            read => read,
        }
    }
}

impl Write for Deaf {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.1 { Err(io::ErrorKind::BrokenPipe.into()) } else { self.0.write(data) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_refusing_servers_alert_is_read_although_the_server_has_reset_the_connection() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (ours, theirs) = pipe();
    // It refuses the version.
    let mut server = PlainPeer::server(fixture.server_config(&[&TLS12]), theirs);
    let context = SslContext::client(Arc::new(fixture.client_config(&TLS13)));
    let mut ssl = Ssl::connect(&context, &pool, localhost(), Deaf(ours, false));
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    let _refuses = server.try_step().unwrap_err();
    while server.tls.wants_write() {
        server.tls.write_tls(&mut server.io).unwrap();
    }
    ssl.io_mut().1 = true;
    let error = ssl.do_handshake().unwrap_err();
    assert!(matches!(error, SslError::Tls(rustls::Error::AlertReceived(_))), "{error}");
}

#[test]
fn into_io_returns_the_hello_and_the_bytes_behind_it() {
    let fixture = fixture(KeyType::P256, 4);
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    client.io.write_all(b"and more").unwrap();
    let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
    let (_io, bytes) = accepted.into_io();
    assert_eq!((bytes[0], bytes[5]), (22, 1), "a hello");
    assert!(bytes.ends_with(b"and more"));
}
