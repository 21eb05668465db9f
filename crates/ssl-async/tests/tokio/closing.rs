//! Peers that hang up, close behind their data, or are refused: what tasks notice, read and send. It is long because the model
//! and the single cases stand on the same transports and peers.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, Read, Write};
use std::sync::Arc;

use job_core::JobPool;
use proptest::prelude::*;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};
use ssl_async::task::{Shards, StartHandshake, TlsAcceptor, TlsConnector, TlsStream};
use ssl_async::{ClosedDuring, SslError};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

use crate::peer_bytes::clear;
use crate::peer_bytes::closing::{
    ANSWER, End, Outcome, Script, Seen, Wire, any_script, assert_agrees, plain,
};
use crate::peer_bytes::program::Setup;
use crate::peer_bytes::world as clear_world;
use crate::support::{
    KeyType, PlainPeer, Version, client_config, fixture, localhost, pipe, provider, server_config,
    turn,
};
use crate::world::{current_thread, until, wire, world, world_on};

/// The transport of a script, for a task.
struct TaskWire(Wire);

impl AsyncRead for TaskWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.read(into.initialize_unfilled()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.0.wake_when_readable(cx.waker());
                Poll::Pending
            }
            read => Poll::Ready(read.map(|n| into.advance(n))),
        }
    }
}

impl AsyncWrite for TaskWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.0.write(data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a task makes of the script.
fn ours(script: &Script, parks: bool) -> Seen {
    clear::begin_again();
    let world = clear_world::World::new(script.setup);
    world.device.set_answers_at_once(!parks);
    world.gates.set_open(!parks);
    let shards = Shards::builder().threads(1).build().expect("a thread");
    let wire = Wire::new(script);
    let handshake = {
        let io = TaskWire(wire.clone());
        let engine = Arc::clone(&world.engine);
        if script.setup.has(Setup::CLIENT) {
            let mut connector = TlsConnector::new(Arc::clone(world.client.config()), &shards);
            if script.setup.has(Setup::EXCHANGE) {
                connector = connector.key_exchange(engine);
            }
            connector.connect(localhost(), io).into_fallible()
        } else {
            let mut acceptor = TlsAcceptor::new(Arc::clone(world.server.config()), &shards);
            if script.setup.has(Setup::EXCHANGE) {
                acceptor = acceptor.key_exchange(engine);
            }
            acceptor.accept(io).into_fallible()
        }
    };
    let (outcome, read, cancelled) = current_thread().block_on(async {
        let task = tokio::spawn(async move {
            match handshake.await {
                Ok(mut tls) => {
                    let mut read = Vec::new();
                    let outcome = read_all(&mut tls, &mut read).await;
                    (outcome, read)
                }
                Err((error, _io)) => (Outcome::from(&error), Vec::new()),
            }
        });
        let mut answers = script.answers.iter().copied().chain(std::iter::repeat(0));
        for (n, piece) in script.pieces.iter().enumerate() {
            for _ in 0..answers.next().expect("endless") {
                answer_one(&world);
                tokio::task::yield_now().await;
            }
            let last = n + 1 == script.pieces.len();
            wire.arrive(piece, last.then_some(script.end));
            tokio::task::yield_now().await;
        }
        until(|| {
            answer_one(&world);
            task.is_finished()
        })
        .await;
        let (outcome, read) = task.await.expect("no panic");
        shards.quiesce().await;
        let stats = shards.stats().await;
        assert_eq!((stats[0].live, stats[0].stacks_in_use), (0, 0));
        (outcome, read, stats[0].cancelled > 0)
    });
    while world.device.held() > 0 {
        world.device.answer();
    }
    while world.gates.answer(true) {}
    let engine = world.engine.stats();
    assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
    let established = matches!(outcome, Outcome::Closed | Outcome::Truncated) || !read.is_empty();
    Seen { outcome, established, read, sent: wire.sent(), cancelled }
}

fn answer_one(world: &clear_world::World) {
    if world.device.held() > 0 {
        world.device.answer();
    } else {
        let _answered = world.gates.answer(true);
    }
}

/// Reads to the end, and answers if the peer has ended its data in good order.
async fn read_all(tls: &mut TlsStream<TaskWire>, read: &mut Vec<u8>) -> Outcome {
    let mut buffer = [0; 50];
    let outcome = loop {
        match tls.read(&mut buffer).await {
            Ok(0) => break Outcome::Closed,
            Ok(n) => read.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Outcome::Truncated,
            Err(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<SslError>()) {
                    Some(error) => break Outcome::from(error),
                    None => break Outcome::Io,
                }
            }
        }
    };
    if outcome == Outcome::Closed {
        // A reset transport takes nothing.
        let _unheard = tls.write_all(ANSWER).await;
    }
    // An alert that has not left yet goes with the next flush.
    let _unheard = tls.flush().await;
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_task_makes_of_a_peer_that_closes_what_plain_rustls_does(
        script in any_script(&[End::Fin, End::Fin, End::Rst]),
        parks in any::<bool>(),
    ) {
        let _turn = turn();
        let (mut plain, mut ours) = (plain(&script), ours(&script, parks));
        if script.end == End::Rst {
            // How much has left before the reset is a matter of time.
            (plain.sent, ours.sent) = (Vec::new(), Vec::new());
            // The flight that completes the handshake could not leave: there is no stream to read from then.
            if ours.outcome == Outcome::Io && ours.read.is_empty() {
                return Ok(());
            }
        }
        assert_agrees(&script, &ours, &plain);
    }
}

/// A stock rustls server that says something with its last flight and closes: what is written to the transport at once.
async fn speaks_last(version: Version, mut io: DuplexStream, config: Arc<ServerConfig>) {
    let mut tls = rustls::ServerConnection::new(config).unwrap();
    let mut buffer = [0; 4096];
    let mut said = false;
    while tls.is_handshaking() {
        let mut flight = Vec::new();
        // Half-RTT data, in TLS 1.3.
        if version == &TLS13 && tls.wants_write() && !said {
            tls.writer().write_all(b"220 banner\r\n").unwrap();
            tls.send_close_notify();
            said = true;
        }
        while tls.wants_write() {
            tls.write_tls(&mut flight).unwrap();
        }
        io.write_all(&flight).await.unwrap();
        if said {
            break;
        }
        let n = io.read(&mut buffer).await.unwrap();
        tls.read_tls(&mut &buffer[..n]).unwrap();
        tls.process_new_packets().unwrap();
    }
    let mut flight = Vec::new();
    if !said {
        tls.writer().write_all(b"220 banner\r\n").unwrap();
        tls.send_close_notify();
    }
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    io.write_all(&flight).await.unwrap();
    io.shutdown().await.unwrap();
    let _until_it_hangs_up = io.read_to_end(&mut Vec::new()).await;
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
                let server = tokio::spawn(speaks_last(version, theirs, Arc::clone(&server)));
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
fn a_client_hears_why_it_is_refused() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        for _ in 0..100 {
            // An alert, and the banner of another protocol.
            for (said, alert) in [(&[21, 3, 3, 0, 2, 2, 40][..], true), (b"220 mail\r\n", false)] {
                let (ours, mut theirs) = wire();
                let client = tokio::spawn(world.client(ours));
                theirs.write_all(said).await.unwrap();
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
        let world = world(4);
        for _ in 0..100 {
            let (ours, mut theirs) = wire();
            let server = tokio::spawn(world.acceptor.accept(ours));
            theirs.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            theirs.shutdown().await.unwrap();
            let error = server.await.unwrap().unwrap_err();
            assert!(matches!(error, SslError::Tls(_)), "{error}");
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            assert_eq!((heard.len(), heard[0]), (7, 21));
        }
    });
}

#[test]
fn a_hang_up_is_noticed_while_the_key_is_away_whatever_was_sent_before() {
    current_thread().block_on(async {
        let world = world(16);
        for more in [0, 1, 20_000, 60_000, 100_000, 1_000_000] {
            let (ours, mut theirs) = duplex(4096);
            let server = tokio::spawn(world.acceptor.accept(ours));
            let (unused, _) = pipe();
            let mut client = PlainPeer::client(world.fixture.client_config(&TLS13), unused);
            let mut hello = Vec::new();
            client.tls.write_tls(&mut hello).unwrap();
            theirs.write_all(&hello).await.unwrap();
            until(|| world.fixture.device.held() == 1).await;
            // Ends early if the server does.
            let _cut_off = theirs.write_all(&vec![23; more]).await;
            let _cut_off = theirs.shutdown().await;
            let error = server.await.unwrap().unwrap_err();
            if more <= 64 * 1024 {
                let closed = matches!(error, SslError::PeerClosed(ClosedDuring::Handshake));
                assert!(closed, "{more}: {error}");
            } else {
                assert!(matches!(error, SslError::Tls(_)), "{more}: {error}");
                let mut heard = Vec::new();
                theirs.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, [21, 3, 3, 0, 2, 2, 10], "an alert");
            }
            assert_eq!(world.is_empty().await.waiters.now, 0);
        }
    });
}

#[test]
fn a_hang_up_is_noticed_after_a_hello_retry_request_too() {
    current_thread().block_on(async {
        let world = world(4);
        let of = |groups| CryptoProvider { kx_groups: groups, ..provider() };
        let (identity, key) = (&world.fixture.identity, &world.fixture.key);
        let config = server_config(of(vec![kx_group::X25519]), &[&TLS13], identity, key);
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
        assert_eq!(world.is_empty().await.cancelled, 1);
    });
}

/// Reads to the end, a little at a time and not at once.
async fn heard_slowly(mut io: DuplexStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut buffer = [0; 2];
    loop {
        tokio::task::yield_now().await;
        match io.read(&mut buffer).await.unwrap() {
            0 => return heard,
            n => heard.extend_from_slice(&buffer[..n]),
        }
    }
}

#[test]
fn an_alert_is_not_cut_off_by_a_transport_that_takes_little() {
    current_thread().block_on(async {
        let world = world(4);
        // A hello of TLS 1.2 for a server of TLS 1.3, and what is no hello; with and without a look at the hello.
        let server = Arc::new(world.fixture.server_config(&[&TLS13]));
        let acceptor = TlsAcceptor::new(server, &world.shards);
        let (unused, _) = pipe();
        let mut client = PlainPeer::client(world.fixture.client_config(&TLS12), unused);
        let mut hello = Vec::new();
        client.tls.write_tls(&mut hello).unwrap();
        for said in [hello, b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
            for looks in [false, true] {
                let (ours, mut theirs) = duplex(2);
                let acceptor = acceptor.clone();
                let server = tokio::spawn(async move {
                    if looks {
                        StartHandshake::read(ours).await?.accept(&acceptor).await
                    } else {
                        acceptor.accept(ours).await
                    }
                });
                theirs.write_all(&said[..5]).await.unwrap();
                // Whatever is no hello is refused before it has all arrived.
                let _cut_off = theirs.write_all(&said[5..]).await;
                let heard = heard_slowly(theirs).await;
                assert_eq!((heard.len(), heard[0]), (7, 21), "{looks}");
                let error = server.await.unwrap().unwrap_err();
                assert!(matches!(error, SslError::Tls(_)), "{error}");
            }
        }
        world.is_empty().await;
    });
}

#[test]
fn a_client_whose_certificate_is_refused_gets_the_alert() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        // The server wants a certificate of a root of its own.
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
        let (mut io, _nothing) = io.into_parts();
        tls.writer().write_all(b"good").unwrap();
        let mut records = Vec::new();
        tls.write_tls(&mut records).unwrap();
        records.extend_from_slice(&[23, 3, 3, 0, 20]);
        records.extend_from_slice(&[0; 20]);
        io.write_all(&records).await.unwrap();
        let mut heard = [0; 16];
        assert_eq!(server.read(&mut heard).await.unwrap(), 4);
        for _ in 0..2 {
            let error = server.read(&mut heard).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        // The alert for it.
        let mut answer = [0; 256];
        let n = io.read(&mut answer).await.unwrap();
        tls.read_tls(&mut &answer[..n]).unwrap();
        let refused = tls.process_new_packets().unwrap_err();
        assert!(matches!(refused, rustls::Error::AlertReceived(_)), "{refused}");
    });
}

#[test]
fn what_follows_the_last_record_is_the_first_that_is_read_from_the_transport() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        for reads in [true, false] {
            for _ in 0..50 {
                let (ours, theirs) = wire();
                let server = tokio::spawn(world.acceptor.accept(ours));
                let client = world.client(theirs).await.unwrap();
                let (io, mut tls) = client.into_inner();
                let (mut io, _nothing) = io.into_parts();
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
fn a_hello_that_was_looked_at_is_read_again_from_the_transport() {
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
        // Another server goes on with it.
        let server = world.acceptor.accept(start.into_io()).await;
        let mut server = server.unwrap();
        server.write_all(b"hello").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap().unwrap(), "hello");
    });
}

/// The one job is taken: a client that has said hello and hangs up is forgotten at once, and what is no hello gets its alert
/// when it has its turn.
#[test]
fn a_hang_up_is_noticed_while_the_packet_waits_for_a_job() {
    current_thread().block_on(async {
        let jobs = JobPool::builder().max_jobs(1);
        let world = world_on(8, Shards::builder().threads(1).jobs(jobs).build().unwrap());
        let (unused, _) = pipe();
        let mut client = PlainPeer::client(world.fixture.client_config(&TLS13), unused);
        let mut hello = Vec::new();
        client.tls.write_tls(&mut hello).unwrap();
        let begin = async |said: Vec<u8>| {
            let (ours, mut theirs) = wire();
            theirs.write_all(&said).await.unwrap();
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
        let mut heard = Vec::new();
        request.read_to_end(&mut heard).await.unwrap();
        assert_eq!((heard.len(), heard[0]), (7, 21));
        first.abort();
        let _given_up = first.await;
        world.is_empty().await;
    });
}

/// Over TCP, where a close with unread bytes before it is a reset.
#[test]
fn over_tcp_a_refused_client_gets_the_alert_and_a_reset_ends_a_parked_handshake() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = world(16);
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
            let (unused, _) = pipe();
            let mut tls = PlainPeer::client(world.fixture.client_config(&TLS13), unused);
            let mut hello = Vec::new();
            tls.tls.write_tls(&mut hello).unwrap();
            client.write_all(&hello).await.unwrap();
            until(|| world.fixture.device.held() == 1).await;
            client.write_all(&vec![23; more]).await.unwrap();
            client.set_zero_linger().unwrap();
            drop(client);
            let error = server.await.unwrap().unwrap_err();
            assert!(matches!(error, SslError::Io(_)), "{error}");
            world.is_empty().await;
        }
    });
}
