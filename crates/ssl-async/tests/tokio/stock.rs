//! A key over a `TaskDevice` used by tokio-rustls, which signs synchronously, on the runtime of the key's tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine_core::{DeviceError, EngineError, Shutdown};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::task::TaskDevice;
use ssl_async::{SlowKey, offload::SigningWork};
use tokio::runtime::{Builder, Runtime};

use crate::signers::{builder, sign, software};
use crate::support::{Identity, KeyType, localhost, provider};
use crate::world::{TIMEOUT, current_thread, wire};

/// A key whose signatures need a timer and a turn of the runtime, and the count of its signatures.
fn key(identity: &Identity, own_runtime: bool) -> (Arc<SlowKey>, Arc<AtomicU32>) {
    let (software, count) = (software(identity), Arc::<AtomicU32>::default());
    let counted = Arc::clone(&count);
    let device = TaskDevice::signing(move |scheme, message| {
        let software = Arc::clone(&software);
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let turn = tokio::spawn(tokio::task::yield_now());
            tokio::time::timeout(TIMEOUT, turn).await.expect("in time").expect("it ends");
            sign(&*software, scheme, &message)
        }
    });
    let device: TaskDevice<SigningWork> =
        if own_runtime { device.own_runtime().unwrap() } else { device };
    (builder(identity).deadline(TIMEOUT).accelerator(Arc::new(device)).unwrap(), count)
}

fn roots(identity: &Identity) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).unwrap();
    roots
}

/// Runs 32 handshakes with that key on both sides, each in two tasks. Returns the number that succeeded, and one error.
async fn handshakes(identity: Arc<Identity>, key: Arc<SlowKey>) -> (usize, Option<String>) {
    let provider = Arc::new(provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots(&identity)),
        Arc::clone(&provider),
    )
    .build()
    .unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(key.clone());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(&identity))
        .with_client_cert_resolver(key);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (ours, theirs) = wire();
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            tokio::spawn(async move {
                let server = tokio::spawn(async move { acceptor.accept(ours).await.map(drop) });
                let client = connector.connect(localhost(), theirs).await;
                // The client is dropped only after the server has sent its tickets.
                server.await.unwrap().and_then(|()| client.map(drop))
            })
        })
        .collect();
    let (mut done, mut error) = (0, None);
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => done += 1,
            Err(cause) => error = Some(cause.to_string()),
        }
    }
    (done, error)
}

fn run_on(runtime: &Runtime, own_runtime: bool) -> (usize, Option<String>, u32) {
    let identity = Arc::new(Identity::new(KeyType::P256));
    runtime.block_on(async {
        let (key, count) = key(&identity, own_runtime);
        let ended = handshakes(Arc::clone(&identity), Arc::clone(&key));
        let ended = tokio::time::timeout(TIMEOUT / 2, ended).await.expect("a deadlock");
        assert_eq!(key.shutdown(TIMEOUT).await, Shutdown::Drained);
        (ended.0, ended.1, count.load(Ordering::SeqCst))
    })
}

#[test]
fn on_a_multi_thread_runtime_a_stock_acceptor_makes_progress() {
    for workers in [1, 2] {
        let runtime =
            Builder::new_multi_thread().worker_threads(workers).enable_time().build().unwrap();
        let (done, error, signed) = run_on(&runtime, false);
        assert_eq!((done, error, signed), (32, None, 64));
    }
}

#[test]
fn on_a_current_thread_runtime_a_stock_acceptor_fails_at_once_and_the_error_names_the_remedy() {
    let (done, error, signed) = run_on(&current_thread(), false);
    let error = error.expect("every handshake fails");
    assert!(error.contains("TlsAcceptor") && error.contains("own_runtime"), "{error}");
    assert_eq!((done, signed), (0, 0), "no signature was requested");
}

#[test]
fn on_a_current_thread_runtime_a_device_with_a_runtime_of_its_own_serves_a_stock_acceptor() {
    let (done, error, signed) = run_on(&current_thread(), true);
    assert_eq!((done, error, signed), (32, None, 64));
}

/// A thread of `spawn_blocking` is not the thread that runs the tasks.
#[test]
fn on_a_current_thread_runtime_a_thread_for_blocking_calls_may_wait() {
    let identity = Identity::new(KeyType::P256);
    current_thread().block_on(async {
        let (key, _) = key(&identity, false);
        let signer = Arc::clone(&key.certified_key().key);
        let signed = tokio::task::spawn_blocking(move || {
            let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
            signer.choose_scheme(&[scheme]).unwrap().sign(b"a transcript")
        });
        assert!(signed.await.unwrap().is_ok());
    });
}

/// No other thread can run the tasks of a `LocalSet`.
#[test]
fn in_a_local_set_a_signature_fails_at_once() {
    let identity = Identity::new(KeyType::P256);
    crate::world::multi_thread().block_on(async {
        // Never answers: a result that came first would be returned.
        let device = TaskDevice::signing(|_, _| std::future::pending::<Result<Vec<u8>, String>>());
        let key = builder(&identity).deadline(TIMEOUT).accelerator(Arc::new(device)).unwrap();
        let local = tokio::task::LocalSet::new();
        let failed = local.run_until(async {
            let signer = Arc::clone(&key.certified_key().key);
            let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
            let error = signer.choose_scheme(&[scheme]).unwrap().sign(b"a transcript").unwrap_err();
            error.to_string()
        });
        let cause = DeviceError::Unsupported("");
        let expected = EngineError::Device(cause).to_string();
        let failed = failed.await;
        assert!(failed.contains(expected.trim_end()) && failed.contains("TlsAcceptor"), "{failed}");
    });
}
