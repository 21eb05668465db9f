//! The stream after the handshake.

use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::Duration;

use engine_core::Shutdown;
use rustls::{ClientConfig, ServerConfig, version::TLS13};
use ssl_async::task::{TlsAcceptor, TlsConnector};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::support::{client_config, localhost, provider, server_config};
use crate::world::{World, current_thread, exchange, multi_thread, wire, world, worlds};

/// Changes the configurations of server and client.
fn reconfigure(
    world: &mut World,
    server: impl FnOnce(&mut ServerConfig),
    client: impl FnOnce(&mut ClientConfig),
) {
    let fixture = &world.fixture;
    let provider_of_world = (**world.acceptor.config().crypto_provider()).clone();
    let mut config = server_config(provider_of_world, &[&TLS13], &fixture.identity, &fixture.key);
    server(&mut config);
    world.acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
    let mut config = client_config(provider(), &TLS13, &fixture.identity);
    client(&mut config);
    world.connector = TlsConnector::new(Arc::new(config), &world.shards);
    fixture.device.set_answers_at_once(true);
}

#[test]
fn a_stream_has_the_properties_of_its_connection() {
    current_thread().block_on(async {
        let mut world = world(4);
        let alpn = || vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        reconfigure(&mut world, |s| s.alpn_protocols = alpn(), |c| c.alpn_protocols = alpn());
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert_eq!(server.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(server.server_name(), Some("localhost"));
        let seen = client.get_ref().1.peer_certificates().unwrap();
        assert_eq!(seen, [world.fixture.identity.certificate.clone()]);
        let export = |connection: &mut rustls::Connection| {
            connection.export_keying_material([0; 32], b"EXPORTER-test", None).unwrap()
        };
        assert_eq!(export(server.get_mut().1), export(client.get_mut().1));
        // A key update after the handshake is answered on the task.
        client.get_mut().1.refresh_traffic_keys().unwrap();
        exchange(&mut client, &mut server).await;
        let (_io, connection) = server.into_inner();
        assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    });
}

#[test]
fn after_the_handshake_no_packet_uses_a_shard() {
    current_thread().block_on(async {
        let mut world = world(4);
        reconfigure(&mut world, |s| s.send_tls13_tickets = 4, |_| {});
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert_eq!(world.shards.shutdown(Duration::ZERO).await, Shutdown::Drained);
        // The tickets and a key update are processed without shards.
        server.get_mut().1.refresh_traffic_keys().unwrap();
        exchange(&mut client, &mut server).await;
    });
}

#[test]
fn much_data_both_ways_at_once_through_a_split_stream() {
    multi_thread().block_on(async {
        let mut world = world(4);
        reconfigure(&mut world, |_| {}, |_| {});
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let mut tasks = Vec::new();
        for stream in [server.unwrap(), client.unwrap()] {
            let (mut read, mut write) = tokio::io::split(stream);
            let (sent, expected) = (data.clone(), data.clone());
            tasks.push(tokio::spawn(async move {
                write.write_all(&sent).await.unwrap();
                // The other direction stays open.
                write.shutdown().await.unwrap();
                let error = write.write_all(b"after").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            }));
            tasks.push(tokio::spawn(async move {
                let mut received = Vec::new();
                read.read_to_end(&mut received).await.unwrap();
                assert!(received == expected);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn vectored_writes_buffered_reads_and_a_close_without_notify() {
    current_thread().block_on(async {
        let mut world = world(4);
        reconfigure(&mut world, |_| {}, |_| {});
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert!(client.is_write_vectored());
        let pieces = [IoSlice::new(b"one "), IoSlice::new(b"line\nand "), IoSlice::new(b"more")];
        assert_eq!(client.write_vectored(&pieces).await.unwrap(), 17);
        client.flush().await.unwrap();
        let mut line = String::new();
        server.read_line(&mut line).await.unwrap();
        assert_eq!(line, "one line\n");
        drop(client);
        let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "the data may have been cut short");
    });
}

#[test]
fn early_data_is_sent_with_the_hello_or_else_after_the_handshake() {
    current_thread().block_on(async {
        for mut world in worlds(4) {
            reconfigure(
                &mut world,
                |s| s.max_early_data_size = 1024,
                |c| c.enable_early_data = true,
            );
            let data = vec![7; 1500];
            // The first client has no ticket; the second sends as much early data as its ticket allows.
            for early in [0, 1024] {
                let (ours, theirs) = wire();
                let connect = world.connector.connect(localhost(), theirs).early_data(data.clone());
                let (server, client) = tokio::join!(world.acceptor.accept(ours), connect);
                let (mut server, mut client) = (server.unwrap(), client.unwrap());
                let mut received = vec![0; 2000];
                let mut n = 0;
                loop {
                    match server.read_early_data(&mut received[n..]).unwrap() {
                        0 => break,
                        more => n += more,
                    }
                }
                assert_eq!(n, early);
                server.read_exact(&mut received[n..1500]).await.unwrap();
                assert_eq!(received[..1500], data);
                exchange(&mut client, &mut server).await;
            }
        }
    });
}

/// A transport that keeps one waker for writing, that of its last write or flush, and flushes only when it is let.
struct OneWaker<IO> {
    io: IO,
    kept: Arc<Mutex<(Option<Waker>, bool)>>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for OneWaker<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for OneWaker<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.kept.lock().unwrap().0 = Some(cx.waker().clone());
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut kept = self.kept.lock().unwrap();
        kept.0 = Some(cx.waker().clone());
        if kept.1 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// As over another `TlsStream`, and by `split`: the reader has an alert to send while the writer waits for its flush.
#[test]
fn l3_a_reader_does_not_take_the_wake_of_a_writers_flush() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        let (ours, theirs) = wire();
        let kept = Arc::new(Mutex::new((None, true)));
        let ours = OneWaker { io: ours, kept: Arc::clone(&kept) };
        let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
        let (mut server, client) = (server.unwrap(), client.unwrap());
        kept.lock().unwrap().1 = false;
        let [writer, reader] = [(); 2].map(|()| Arc::new(Counting(AtomicUsize::new(0))));
        let [writes, reads] = [&writer, &reader].map(|counting| Waker::from(Arc::clone(counting)));
        let mut cx = Context::from_waker(&writes);
        assert!(Pin::new(&mut server).poll_write(&mut cx, b"data").is_ready());
        assert!(Pin::new(&mut server).poll_flush(&mut cx).is_pending());
        // A record that does not decrypt.
        let (mut wire, _) = client.into_inner();
        wire.write_all(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).await.unwrap();
        let mut into = [0; 8];
        let mut into = ReadBuf::new(&mut into);
        let mut cx = Context::from_waker(&reads);
        let read = Pin::new(&mut server).poll_read(&mut cx, &mut into);
        assert!(matches!(read, Poll::Ready(Err(_))), "{read:?}");
        // The alert is sent, and the writer looks again.
        assert_eq!(writer.0.swap(0, Ordering::SeqCst), 1);
        let waker = kept.lock().unwrap().0.take().unwrap();
        waker.wake();
        assert_eq!((writer.0.load(Ordering::SeqCst), reader.0.load(Ordering::SeqCst)), (1, 0));
    });
}
