//! What a reader sends while the transport is full and no task writes any more: an alert, and what a writer has left.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use ssl_async::task::TlsStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use crate::world::{current_thread, wire, world};

/// A transport that accepts bytes only while its gate is open. It keeps one waker, that of the last write that it refused.
struct Gated(DuplexStream, Arc<Mutex<Gate>>);

#[derive(Default)]
struct Gate {
    shut: bool,
    waker: Option<Waker>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self(io, gate) = self.get_mut();
        let mut gate = gate.lock().unwrap();
        if gate.shut {
            gate.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        gate.waker = None;
        Pin::new(io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task whose wakes are counted.
#[derive(Default)]
struct Task(Arc<Wakes>);

impl Task {
    fn wakes(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    fn read(&self, stream: &mut TlsStream<Gated>) -> Poll<io::Result<usize>> {
        let waker = Waker::from(Arc::clone(&self.0));
        let mut into = [0; 8];
        pin!(stream.read(&mut into)).poll(&mut Context::from_waker(&waker))
    }

    fn flush(&self, stream: &mut TlsStream<Gated>) -> Poll<io::Result<()>> {
        let waker = Waker::from(Arc::clone(&self.0));
        pin!(stream.flush()).poll(&mut Context::from_waker(&waker))
    }
}

/// A server over a transport whose gate is shut once the handshake is done, and its client.
async fn shut() -> (TlsStream<Gated>, TlsStream<DuplexStream>, Arc<Mutex<Gate>>) {
    let world = world(4);
    world.fixture.device.set_answers_at_once(true);
    let (ours, theirs) = wire();
    let gate = Arc::<Mutex<Gate>>::default();
    let ours = Gated(ours, Arc::clone(&gate));
    let (server, client) = tokio::join!(world.acceptor.accept(ours), world.client(theirs));
    *gate.lock().unwrap() = Gate { shut: true, ..Gate::default() };
    (server.unwrap(), client.unwrap(), gate)
}

fn open(gate: &Mutex<Gate>) -> Option<Waker> {
    let mut gate = gate.lock().unwrap();
    gate.shut = false;
    gate.waker.take()
}

/// A record that does not decrypt.
fn garbage() -> Vec<u8> {
    [&[23, 3, 3, 0, 32][..], &[0; 32]].concat()
}

/// What the client reads before the stream ends, and the alert that ends it.
async fn read_to_alert(mut client: TlsStream<DuplexStream>) -> (Vec<u8>, String) {
    let mut received = Vec::new();
    let error = client.read_to_end(&mut received).await.expect_err("an alert");
    (received, error.to_string())
}

#[test]
fn a_reader_sends_its_alert_though_a_writer_has_dropped_its_flush() {
    current_thread().block_on(async {
        let (mut server, mut client, gate) = shut().await;
        let (writer, reader) = (Task::default(), Task::default());
        server.write_all(b"data").await.unwrap();
        assert!(writer.flush(&mut server).is_pending());
        // No task flushes any more, and the transport has room.
        open(&gate).expect("the writer's").wake();
        client.get_mut().0.write_all(&garbage()).await.unwrap();
        assert!(matches!(reader.read(&mut server), Poll::Ready(Err(_))));
        drop(server);
        let (received, alert) = read_to_alert(client).await;
        assert_eq!(received, b"data");
        assert!(alert.contains("BadRecordMac"), "{alert}");
    });
}

/// No write and no flush is ever made.
#[test]
fn l3_a_reader_whose_alert_found_the_transport_full_sends_it_when_there_is_room() {
    current_thread().block_on(async {
        let (mut server, mut client, gate) = shut().await;
        let reader = Task::default();
        client.get_mut().0.write_all(&garbage()).await.unwrap();
        assert!(matches!(reader.read(&mut server), Poll::Ready(Err(_))));
        let woken = reader.wakes();
        open(&gate).expect("the alert has found the transport full").wake();
        assert_eq!(reader.wakes(), woken + 1);
        assert!(matches!(reader.read(&mut server), Poll::Ready(Err(_))));
        drop(server);
        let (_, alert) = read_to_alert(client).await;
        assert!(alert.contains("BadRecordMac"), "{alert}");
    });
}

/// The reader sends what the writer waits for, so the transport has nothing left to wake the writer for.
#[test]
fn l3_a_writer_is_woken_when_a_reader_has_sent_what_it_waits_for() {
    current_thread().block_on(async {
        let (mut server, _client, gate) = shut().await;
        let (writer, reader) = (Task::default(), Task::default());
        server.write_all(b"data").await.unwrap();
        assert!(writer.flush(&mut server).is_pending());
        // While the transport is full, the reader leaves the writer its wake.
        assert!(reader.read(&mut server).is_pending());
        assert_eq!(writer.wakes(), 0);
        let kept = gate.lock().unwrap().waker.clone().unwrap();
        assert!(kept.will_wake(&Waker::from(Arc::clone(&writer.0))));
        // There is room, and before the transport says so the reader looks.
        open(&gate).expect("the writer's");
        assert!(reader.read(&mut server).is_pending());
        assert_eq!(writer.wakes(), 1);
        assert!(writer.flush(&mut server).is_ready());
    });
}
