//! The system refuses a shard its thread, once. A process of its own, because its address space is limited meanwhile.

#![cfg(target_os = "linux")]

use core::time::Duration;
use std::fs;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::Parking;
use ssl_async::task::TlsAcceptor;
use tokio::io::duplex;

/// What this process has mapped, in bytes.
fn mapped() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_thread_that_cannot_be_started_is_tried_again_by_the_next_handshake() {
    aws_lc_rs::default_provider().install_default().unwrap();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let private = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server)).parking(Parking::Fiber);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let handshake = || async {
        let (ours, theirs) = duplex(64 * 1024);
        let name = "localhost".try_into().unwrap();
        let (server, client) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
        server.is_ok() && client.is_ok()
    };
    runtime.block_on(async {
        // Room for what a handshake allocates, and not for the stack of a thread.
        let before = getrlimit(Resource::As);
        setrlimit(Resource::As, Rlimit { current: Some(mapped() + 1_500_000), ..before }).unwrap();
        let refused = !handshake().await;
        setrlimit(Resource::As, before).unwrap();
        assert!(refused, "the thread was started all the same");
        // Each shard has its turn.
        for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {
            assert!(handshake().await);
        }
        let quiet = tokio::time::timeout(Duration::from_secs(60), acceptor.shards().quiesce());
        quiet.await.expect("no packet is left");
    });
}
