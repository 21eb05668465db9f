//! Peers that hang up, close after their data, or are refused: what tasks notice, read and send.

use std::io::{self, Write};
use std::sync::Arc;

use job_core::JobPool;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};
use ssl_async::task::{Shards, StartHandshake, TlsAcceptor, TlsConnector};
use ssl_async::{ClosedDuring, SslError, replayable};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::support::{
    KeyType, Version, client_config, fixture, localhost, provider, server_config,
};
use crate::world::{current_thread, until, wire, world, world_on, worlds};

/// A server of plain rustls that sends data together with its last flight, then closes.
async fn serve_data_with_last_flight(
    version: Version,
    mut io: DuplexStream,
    config: Arc<ServerConfig>,
) {
    let mut tls = rustls::ServerConnection::new(config).unwrap();
    let mut buffer = [0; 4096];
    let mut sent = false;
    while tls.is_handshaking() {
        let mut flight = Vec::new();
        // Half-RTT data, in TLS 1.3.
        if version == &TLS13 && tls.wants_write() && !sent {
            tls.writer().write_all(b"220 banner\r\n").unwrap();
            tls.send_close_notify();
            sent = true;
        }
        while tls.wants_write() {
            tls.write_tls(&mut flight).unwrap();
        }
        io.write_all(&flight).await.unwrap();
        if sent {
            break;
        }
        let n = io.read(&mut buffer).await.unwrap();
        tls.read_tls(&mut &buffer[..n]).unwrap();
        tls.process_new_packets().unwrap();
    }
    let mut flight = Vec::new();
    if !sent {
        tls.writer().write_all(b"220 banner\r\n").unwrap();
        tls.send_close_notify();
    }
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    io.write_all(&flight).await.unwrap();
    io.shutdown().await.unwrap();
    // Until the client hangs up.
    let _ = io.read_to_end(&mut Vec::new()).await;
}

#[test]
fn a_client_reads_what_the_server_has_sent_before_it_closed() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        for version in [&TLS12, &TLS13] {
            let mut server = world.fixture.server_config(&[version]);
            server.send_half_rtt_data = true;
            let server = Arc::new(server);
            let mut client = world.fixture.client_config(version);
            client.resumption = rustls::client::Resumption::disabled();
            let connector = TlsConnector::new(Arc::new(client), &world.shards);
            for _ in 0..100 {
                let (ours, theirs) = wire();
                let server =
                    tokio::spawn(serve_data_with_last_flight(version, theirs, Arc::clone(&server)));
                let mut tls = connector.connect(localhost(), ours).await.unwrap();
                let mut text = String::new();
                tls.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "220 banner\r\n", "{version:?}");
                drop(tls);
                server.await.unwrap();
            }
        }
    });
}

#[test]
fn a_client_learns_why_it_is_refused() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        for _ in 0..100 {
            // An alert, and the banner of another protocol.
            for (bytes, alert) in [(&[21, 3, 3, 0, 2, 2, 40][..], true), (b"220 mail\r\n", false)] {
                let (ours, mut theirs) = wire();
                let client = tokio::spawn(world.client(ours));
                theirs.write_all(bytes).await.unwrap();
                theirs.shutdown().await.unwrap();
                let error = client.await.unwrap().unwrap_err();
                match error {
                    SslError::Tls(rustls::Error::AlertReceived(_)) => assert!(alert),
                    SslError::Tls(rustls::Error::InvalidMessage(_)) => assert!(!alert),
                    other => panic!("{other}"),
                }
            }
        }
    });
}

#[test]
fn a_request_of_another_protocol_that_is_half_closed_gets_its_alert() {
    current_thread().block_on(async {
        for world in worlds(4) {
            for _ in 0..100 {
                let (ours, mut theirs) = wire();
                let server = tokio::spawn(world.acceptor.accept(ours));
                theirs.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
                theirs.shutdown().await.unwrap();
                let error = server.await.unwrap().unwrap_err();
                assert!(matches!(error, SslError::Tls(_)), "{error}");
                let mut received = Vec::new();
                theirs.read_to_end(&mut received).await.unwrap();
                assert_eq!((received.len(), received[0]), (7, 21));
            }
        }
    });
}

#[test]
fn a_hang_up_is_noticed_while_a_signature_is_awaited_however_much_was_sent_before() {
    current_thread().block_on(async {
        for world in worlds(16) {
            for more in [0, 1, 20_000, 60_000, 100_000, 1_000_000] {
                let (ours, mut theirs) = duplex(4096);
                let server = tokio::spawn(world.acceptor.accept(ours));
                theirs.write_all(&world.client_hello(&TLS13)).await.unwrap();
                until(|| world.fixture.device.held() == 1).await;
                // Fails when the server ends early.
                let _ = theirs.write_all(&vec![23; more]).await;
                let _ = theirs.shutdown().await;
                let error = server.await.unwrap().unwrap_err();
                if more <= 64 * 1024 {
                    let closed = matches!(error, SslError::PeerClosed(ClosedDuring::Handshake));
                    assert!(closed, "{more}: {error}");
                } else {
                    assert!(matches!(error, SslError::Tls(_)), "{more}: {error}");
                    let mut received = Vec::new();
                    theirs.read_to_end(&mut received).await.unwrap();
                    assert_eq!(received, [21, 3, 3, 0, 2, 2, 10], "an alert");
                }
                assert_eq!(world.assert_empty().await.waiters.now, 0);
            }
        }
    });
}

#[test]
fn a_hang_up_is_noticed_after_a_hello_retry_request_too() {
    current_thread().block_on(async {
        let of = |groups| CryptoProvider { kx_groups: groups, ..provider() };
        let usual = of(vec![kx_group::X25519]);
        for provider in [usual.clone(), replayable(usual)] {
            let world = world(4);
            let (identity, key) = (&world.fixture.identity, &world.fixture.key);
            let config = server_config(provider, &[&TLS13], identity, key);
            let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
            let groups = of(vec![kx_group::SECP384R1, kx_group::X25519]);
            let client = client_config(groups, &TLS13, identity);
            let connector = TlsConnector::new(Arc::new(client), &world.shards);
            let (ours, theirs) = wire();
            let server = tokio::spawn(acceptor.accept(ours));
            let client = tokio::spawn(connector.connect(localhost(), theirs));
            until(|| world.fixture.device.held() == 1).await;
            client.abort();
            let error = server.await.unwrap().unwrap_err();
            assert!(matches!(error, SslError::PeerClosed(ClosedDuring::Handshake)), "{error}");
            assert_eq!(world.assert_empty().await.cancelled, 1);
        }
    });
}

/// Reads to the end, two bytes at a time.
async fn receive_slowly(mut io: DuplexStream) -> Vec<u8> {
    let mut received = Vec::new();
    let mut buffer = [0; 2];
    loop {
        tokio::task::yield_now().await;
        match io.read(&mut buffer).await.unwrap() {
            0 => return received,
            n => received.extend_from_slice(&buffer[..n]),
        }
    }
}

#[test]
fn an_alert_is_sent_whole_over_a_transport_with_a_small_buffer() {
    current_thread().block_on(async {
        for world in worlds(4) {
            // A TLS 1.2 hello to a TLS 1.3 server, and a request of another protocol; with and without `StartHandshake`.
            let server = Arc::new(world.fixture.server_config(&[&TLS13]));
            let acceptor = TlsAcceptor::new(server, &world.shards);
            for bytes in [world.client_hello(&TLS12), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
                for reads_hello_first in [false, true] {
                    let (ours, mut theirs) = duplex(2);
                    let acceptor = acceptor.clone();
                    let server = tokio::spawn(async move {
                        if reads_hello_first {
                            StartHandshake::read(ours).await?.accept(&acceptor).await
                        } else {
                            acceptor.accept(ours).await
                        }
                    });
                    theirs.write_all(&bytes[..5]).await.unwrap();
                    // Fails when the server refuses the first bytes.
                    let _ = theirs.write_all(&bytes[5..]).await;
                    let received = receive_slowly(theirs).await;
                    assert_eq!((received.len(), received[0]), (7, 21), "{reads_hello_first}");
                    let error = server.await.unwrap().unwrap_err();
                    assert!(matches!(error, SslError::Tls(_)), "{error}");
                }
            }
            world.assert_empty().await;
        }
    });
}

#[test]
fn a_client_whose_certificate_is_refused_gets_the_alert() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        // The server does not trust the client's root.
        let other = fixture(KeyType::P256, 4);
        other.device.set_answers_at_once(true);
        let verifier = WebPkiClientVerifier::builder_with_provider(
            world.fixture.identity.roots(),
            Arc::new(provider()),
        );
        let verifier = verifier.build().unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(world.fixture.identity.certified(Arc::clone(&world.fixture.key)));
        let client = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_root_certificates(world.fixture.identity.roots())
            .with_client_cert_resolver(other.identity.certified(Arc::clone(&other.key)));
        let acceptor = TlsAcceptor::new(Arc::new(server), &world.shards);
        let connector = TlsConnector::new(Arc::new(client), &world.shards);
        for _ in 0..100 {
            let (ours, theirs) = wire();
            let server = tokio::spawn(acceptor.accept(ours));
            let refused = connector.connect(localhost(), theirs).await.unwrap_err();
            let alert = matches!(refused, SslError::Tls(rustls::Error::AlertReceived(_)));
            assert!(alert, "{refused}");
            assert!(server.await.unwrap().is_err());
        }
    });
}

#[test]
fn good_data_before_a_corrupt_record_is_read_first() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
        let (mut server, client) = (server.unwrap(), client.unwrap());
        let (io, mut tls) = client.into_inner();
        let (mut io, _) = io.into_parts();
        tls.writer().write_all(b"good").unwrap();
        let mut records = Vec::new();
        tls.write_tls(&mut records).unwrap();
        records.extend_from_slice(&[23, 3, 3, 0, 20]);
        records.extend_from_slice(&[0; 20]);
        io.write_all(&records).await.unwrap();
        let mut received = [0; 16];
        assert_eq!(server.read(&mut received).await.unwrap(), 4);
        for _ in 0..2 {
            let error = server.read(&mut received).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        // The alert.
        let mut answer = [0; 256];
        let n = io.read(&mut answer).await.unwrap();
        tls.read_tls(&mut &answer[..n]).unwrap();
        let refused = tls.process_new_packets().unwrap_err();
        assert!(matches!(refused, rustls::Error::AlertReceived(_)), "{refused}");
    });
}

#[test]
fn bytes_after_the_last_record_are_read_first_from_the_transport() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        for reads in [true, false] {
            for _ in 0..50 {
                let (ours, theirs) = wire();
                let server = tokio::spawn(world.acceptor.accept(ours));
                let client = world.client(theirs).await.unwrap();
                let (io, mut tls) = client.into_inner();
                let (mut io, _) = io.into_parts();
                let mut records = Vec::new();
                if reads {
                    tls.writer().write_all(b"last").unwrap();
                    tls.send_close_notify();
                    while tls.wants_write() {
                        tls.write_tls(&mut records).unwrap();
                    }
                }
                records.extend_from_slice(b"next protocol");
                io.write_all(&records).await.unwrap();
                io.shutdown().await.unwrap();
                let mut server = server.await.unwrap().unwrap();
                let mut text = String::new();
                if reads {
                    server.read_to_string(&mut text).await.unwrap();
                    assert_eq!(text, "last");
                    text.clear();
                }
                let (mut io, _tls) = server.into_inner();
                io.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "next protocol", "{reads}");
            }
        }
    });
}

#[test]
fn a_hello_that_was_read_is_read_again_from_the_returned_transport() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        let (ours, theirs) = duplex(100);
        let client = world.client(theirs);
        let client = tokio::spawn(async move {
            let mut text = String::new();
            client.await?.read_to_string(&mut text).await?;
            Ok::<_, io::Error>(text)
        });
        let start = StartHandshake::read(ours).await.unwrap();
        assert_eq!(start.client_hello().server_name(), Some("localhost"));
        // Another server accepts it.
        let server = world.acceptor.accept(start.into_io()).await;
        let mut server = server.unwrap();
        server.write_all(b"hello").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap().unwrap(), "hello");
    });
}

/// There is one job, and it is taken. A client that hangs up after its hello is forgotten at once; a request of another
/// protocol gets its alert when the job is free.
#[test]
fn a_hang_up_is_noticed_while_the_packet_waits_for_a_job() {
    current_thread().block_on(async {
        let jobs = JobPool::builder().max_jobs(1);
        let world = world_on(8, Shards::builder().threads(1).jobs(jobs).build().unwrap());
        let hello = world.client_hello(&TLS13);
        let begin = async |bytes: Vec<u8>| {
            let (ours, mut theirs) = wire();
            theirs.write_all(&bytes).await.unwrap();
            (tokio::spawn(world.acceptor.accept(ours)), theirs)
        };
        let (first, _theirs) = begin(hello.clone()).await;
        until(|| world.fixture.device.held() == 1).await;
        let (second, mut theirs) = begin(hello).await;
        let (third, mut request) = begin(b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;
        until(|| world.shards.n_packets() == 3).await;
        theirs.shutdown().await.unwrap();
        request.shutdown().await.unwrap();
        let error = second.await.unwrap().unwrap_err();
        assert!(matches!(error, SslError::PeerClosed(ClosedDuring::Handshake)), "{error}");
        assert!(!third.is_finished());
        world.fixture.device.answer();
        let error = third.await.unwrap().unwrap_err();
        assert!(matches!(error, SslError::Tls(_)), "{error}");
        let mut received = Vec::new();
        request.read_to_end(&mut received).await.unwrap();
        assert_eq!((received.len(), received[0]), (7, 21));
        first.abort();
        let _ = first.await;
        world.assert_empty().await;
    });
}

/// Over TCP, where closing a socket with unread bytes resets the connection.
#[test]
fn over_tcp_a_refused_client_gets_the_alert_and_a_reset_ends_a_parked_handshake() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for world in worlds(16) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = Arc::new(world.fixture.server_config(&[&TLS12]));
            let acceptor = TlsAcceptor::new(server, &world.shards);
            for _ in 0..100 {
                let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
                let client = tokio::spawn(world.connector.connect(localhost(), tcp));
                let (tcp, _) = listener.accept().await.unwrap();
                assert!(acceptor.accept(tcp).await.is_err());
                let refused = client.await.unwrap().unwrap_err();
                let alert = matches!(refused, SslError::Tls(rustls::Error::AlertReceived(_)));
                assert!(alert, "{refused}");
            }
            for more in [0, 20_000] {
                let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
                let (tcp, _) = listener.accept().await.unwrap();
                let server = tokio::spawn(world.acceptor.accept(tcp));
                client.write_all(&world.client_hello(&TLS13)).await.unwrap();
                until(|| world.fixture.device.held() == 1).await;
                client.write_all(&vec![23; more]).await.unwrap();
                client.set_zero_linger().unwrap();
                drop(client);
                let error = server.await.unwrap().unwrap_err();
                assert!(matches!(error, SslError::Io(_)), "{error}");
                world.assert_empty().await;
            }
        }
    });
}
