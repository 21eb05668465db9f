//! Keys and shards in a child made by `fork`: those of the parent return errors that name the remedy, and never block when
//! dropped. Each case runs in a process of its own, which forks.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use engine_core::{Accelerator, DeviceRefused, Request, Shutdown};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use ssl_async::task::{Shards, TaskDevice, TlsAcceptor, TlsConnector};
use ssl_async::{SlowKey, offload::SigningWork};

const MODE: &str = "LAYBY_FORK";
const CURE: &str = "after the fork";

fn run(mode: &str) -> String {
    let exe = std::env::current_exe().unwrap();
    let output = Command::new(exe)
        .args(["--exact", "the_process_that_forks", "--nocapture"])
        .env(MODE, mode)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{mode}: {}\n{text}\n{output:?}", output.status);
    assert!(text.contains("the child has ended well"), "{mode}: {text}");
    text
}

#[test]
fn l5_a_key_made_before_a_fork_fails_with_the_reason_in_the_child_and_is_dropped_at_once() {
    // Unused, used before the fork, on a device without threads (only the deadlines have one), and with tasks on a runtime
    // of its own.
    for mode in ["key", "warm", "driver", "tasks"] {
        let text = run(mode);
        assert!(text.contains(CURE), "{mode}: {text}");
    }
}

#[test]
fn l5_shards_made_before_a_fork_fail_with_the_reason_in_the_child_and_shut_down_at_once() {
    let text = run("shards");
    assert!(text.contains(CURE), "{text}");
}

#[test]
fn a_key_and_shards_made_after_the_fork_work_beside_those_of_the_parent() {
    let text = run("after");
    assert!(text.contains("handshake: Ok"), "{text}");
}

struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Identity { certificate: made.cert.der().clone(), key }
}

/// A device without threads, which never answers.
#[derive(Debug, Default)]
struct Silent(std::sync::Mutex<Vec<Request<SigningWork>>>);

impl Accelerator<SigningWork> for Silent {
    fn submit(&self, request: Request<SigningWork>) -> Result<(), DeviceRefused<SigningWork>> {
        self.0.lock().unwrap().push(request);
        Ok(())
    }
}

fn slow_key(identity: &Identity, mode: &str) -> Arc<SlowKey> {
    let provider = aws_lc_rs::default_provider();
    let chain = vec![identity.certificate.clone()];
    let builder = SlowKey::builder_with_provider(chain, &provider).unwrap();
    let builder = builder.deadline(Duration::from_secs(20));
    if mode == "driver" {
        return builder.accelerator(Arc::new(Silent::default())).unwrap();
    }
    let key = Arc::clone(&identity.key);
    if mode == "tasks" {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let device = TaskDevice::signing(move |scheme, message: Vec<u8>| {
            let signed = key.choose_scheme(&[scheme]).unwrap().sign(&message);
            async move { signed }
        });
        return builder.accelerator(Arc::new(device.own_runtime().unwrap())).unwrap();
    }
    builder
        .blocking(move |scheme, message| key.choose_scheme(&[scheme]).unwrap().sign(message))
        .unwrap()
}

/// A handshake of both sides. Returns the server's result.
async fn handshake(
    identity: &Identity,
    key: Arc<SlowKey>,
    ours: &Shards,
    theirs: &Shards,
) -> Result<(), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_cert_resolver(key);
    let client = ClientConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let acceptor = TlsAcceptor::new(Arc::new(server), ours);
    let connector = TlsConnector::new(Arc::new(client), theirs);
    let (a, b) = tokio::io::duplex(1 << 16);
    let (server, _client) =
        tokio::join!(acceptor.accept(a), connector.connect("localhost".try_into().unwrap(), b));
    server.map(drop).map_err(|error| error.to_string())
}

/// Does nothing unless one of the tests above started it.
#[test]
fn the_process_that_forks() {
    let Ok(mode) = std::env::var(MODE) else { return };
    let identity = identity();
    let key = slow_key(&identity, &mode);
    if matches!(&*mode, "warm" | "after" | "tasks") {
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        key.certified_key().key.choose_scheme(&[scheme]).unwrap().sign(b"before").unwrap();
    }
    let before = (mode == "shards").then(|| Shards::builder().threads(2).build().unwrap());
    // SAFETY: the child uses what a child of a threaded process may use with glibc, whose allocator survives a fork, and
    // ends by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        let mut status = 0;
        // SAFETY: `status` is a place for the status of the child just made.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "the child ended by itself, and well");
        // The parent's key still works.
        assert_eq!(key.shutdown_blocking(Duration::from_secs(20)), Shutdown::Drained);
        return;
    }
    // SAFETY: a plain system call. A child that hangs is ended by this, and the parent sees it.
    let _none_before = unsafe { libc::alarm(60) };
    in_the_child(&mode, &identity, key, before);
    println!("the child has ended well");
    // SAFETY: ends the process without the exit handlers, which are the parent's.
    unsafe { libc::_exit(0) }
}

fn in_the_child(mode: &str, identity: &Identity, key: Arc<SlowKey>, before: Option<Shards>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let after = Shards::builder().threads(1).build().unwrap();
        let ours = before.as_ref().unwrap_or(&after);
        let used = match mode {
            "after" | "shards" => slow_key(identity, mode),
            _ => Arc::clone(&key),
        };
        println!("handshake: {:?}", handshake(identity, used, ours, &after).await);
        assert_eq!(ours.shutdown(Duration::MAX).await, Shutdown::Drained);
        assert_eq!(key.shutdown(Duration::MAX).await, Shutdown::Drained, "nothing runs here");
    });
    if mode != "after" {
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        let signed = key.certified_key().key.choose_scheme(&[scheme]).unwrap().sign(b"here");
        assert!(signed.unwrap_err().to_string().contains(CURE), "without a handshake, too");
        assert!(key.engine().spawn_driver().is_err());
    }
    drop(before);
    drop(key);
}
