//! The end of keys and shards: by a drop, which does not wait, or by a shutdown, which waits and reports.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use engine_core::{EngineError, Shutdown, threads_ending};
use ssl_async::task::{TaskDevice, TlsAcceptor};
use ssl_async::{SlowKey, SslError};

use crate::signers::{builder, sign, software};
use crate::support::{Identity, KeyType};
use crate::world::{TIMEOUT, World, current_thread, until, wire, world};

/// A world whose server's key blocks each call at a gate.
fn gated() -> (World, TlsAcceptor, Arc<SlowKey>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let world = world(1);
    let identity = &world.fixture.identity;
    let software = software(identity);
    let (begun, begins) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let key = builder(identity)
        .deadline(TIMEOUT)
        .threads(2)
        .blocking(move |scheme, message| {
            let _ = begun.send(());
            let _ = gate.lock().unwrap().recv();
            sign(&*software, scheme, message)
        })
        .unwrap();
    let mut config = (**world.acceptor.config()).clone();
    config.cert_resolver = key.clone();
    let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
    (world, acceptor, key, begins, open)
}

/// A drop that waited for the call would hang: the gate opens after the drop, on the same thread.
#[test]
fn l5_the_last_handle_of_a_key_is_dropped_on_the_runtimes_only_thread_while_a_call_is_under_way() {
    current_thread().block_on(async {
        let (world, acceptor, key, begins, open) = gated();
        let (ours, theirs) = wire();
        let server = tokio::spawn(acceptor.accept(ours));
        let client = tokio::spawn(world.client(theirs));
        until(|| begins.try_recv().is_ok()).await;
        server.abort();
        let _ = server.await;
        drop((acceptor, key));
        world.shards.quiesce().await;
        assert!(threads_ending() >= 1, "the thread is counted until its call returns");
        drop(open);
        until(|| matches!(begins.try_recv(), Err(mpsc::TryRecvError::Disconnected))).await;
        client.abort();
    });
}

#[test]
fn l8_a_shutdown_of_shards_and_key_lets_handshakes_under_way_finish() {
    current_thread().block_on(async {
        let (world, acceptor, key, begins, open) = gated();
        let (ours, theirs) = wire();
        let server = tokio::spawn(acceptor.accept(ours));
        let client = tokio::spawn(world.client(theirs));
        until(|| begins.try_recv().is_ok()).await;
        let shards = world.shards.shutdown(Duration::MAX);
        // The handshake is parked, and another packet will follow.
        open.send(()).unwrap();
        let (server, client) = (server.await.unwrap().unwrap(), client.await.unwrap().unwrap());
        drop((server, client));
        assert_eq!(shards.await, Shutdown::Drained);
        assert_eq!(key.shutdown(Duration::MAX).await, Shutdown::Drained);
        // The threads have ended; the closure is dropped with the last handle.
        assert_eq!(begins.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop((acceptor, key));
        assert_eq!(begins.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    });
}

#[test]
fn l8_a_shutdown_of_a_key_over_a_call_that_does_not_return_is_stuck_at_its_deadline() {
    current_thread().block_on(async {
        let (world, acceptor, key, begins, open) = gated();
        let (ours, theirs) = wire();
        let server = tokio::spawn(acceptor.accept(ours));
        let client = tokio::spawn(world.client(theirs));
        until(|| begins.try_recv().is_ok()).await;
        let end = key.shutdown(Duration::from_millis(5)).await;
        assert_eq!(end, Shutdown::Stuck { n: 1 });
        let error = server.await.unwrap().unwrap_err();
        assert!(matches!(error, SslError::Failed(EngineError::Gone)), "{error}");
        assert!(client.await.unwrap().is_err());
        drop(open);
        assert_eq!(key.shutdown(Duration::MAX).await, Shutdown::Drained);
    });
}

#[test]
fn l8_a_shutdown_of_a_key_of_tasks_waits_for_its_tasks() {
    current_thread().block_on(async {
        let identity = Identity::new(KeyType::P256);
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let device = TaskDevice::signing(move |_, _| {
            let count = Arc::clone(&counted);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                // The shutdown begins within these turns of the runtime.
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
                count.fetch_add(1, Ordering::SeqCst);
                Err::<Vec<u8>, _>("no")
            }
        });
        let key = builder(&identity).accelerator(Arc::new(device)).unwrap();
        let work = {
            let signer = key.certified_key().key.clone();
            tokio::task::spawn_blocking(move || {
                let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
                signer.choose_scheme(&[scheme]).unwrap().sign(b"a transcript")
            })
        };
        until(|| count.load(Ordering::SeqCst) == 1).await;
        assert_eq!(key.shutdown(Duration::MAX).await, Shutdown::Drained);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(work.await.unwrap().is_err());
    });
}
