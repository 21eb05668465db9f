//! tokio-rustls's names make an acceptor or a connector on the spot: what one handshake has started and found out serves the
//! next. A process of its own, in which no other test keeps the process's shards.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::resolve;
use ssl_async::task::compat::{LazyConfigAcceptor, TlsAcceptor, TlsConnector};
use tokio::io::duplex;

/// A resolver of the user's, which records where it is called: on which thread, and whether on a fiber.
#[derive(Debug)]
struct Recording(Arc<dyn ResolvesServerCert>, Mutex<Vec<(ThreadId, bool)>>);

impl ResolvesServerCert for Recording {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.lock().unwrap().push((thread::current().id(), job_core::on_job_stack()));
        self.0.resolve(hello)
    }
}

/// Neither can be replayed: the server's provider is rustls's own.
fn configs(waits: bool) -> (Arc<ServerConfig>, Arc<ClientConfig>, Arc<Recording>) {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.clone_key())
        .unwrap();
    let mut resolver = Arc::clone(&server.cert_resolver);
    if waits {
        let chain = vec![certificate.clone()];
        let key = Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap());
        resolver = resolve::server_certificate(async move |_| {
            tokio::task::yield_now().await;
            Some(key)
        });
    }
    let recording = Arc::new(Recording(resolver, Mutex::default()));
    server.cert_resolver = Arc::clone(&recording) as _;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client), recording)
}

/// A handshake with an acceptor of its own; every other one reads the hello first.
async fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, lazy: bool) {
    let (ours, theirs) = duplex(1 << 16);
    let server = async {
        let config = Arc::clone(server);
        if !lazy {
            return TlsAcceptor::from(config).accept(ours).await;
        }
        LazyConfigAcceptor::new(Acceptor::default(), ours).await.unwrap().into_stream(config).await
    };
    let name = ServerName::try_from("localhost").unwrap();
    let client = TlsConnector::from(Arc::clone(client)).connect(name, theirs);
    let (server, client) = tokio::join!(server, client);
    server.unwrap();
    client.unwrap();
}

/// Held by a test: another one's handshakes would keep the shards.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn handshakes_one_after_the_other_run_on_the_same_threads() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, client, recording) = configs(false);
    let n_shards = thread::available_parallelism().map_or(1, NonZero::get);
    // One on each shard, and again.
    for n in 0..2 * n_shards {
        runtime.block_on(handshake(&server, &client, n % 2 == 0));
    }
    let calls = recording.1.lock().unwrap();
    let threads: HashSet<ThreadId> = calls.iter().map(|(thread, _)| *thread).collect();
    assert_eq!(calls.len(), 2 * n_shards);
    assert!(threads.len() <= n_shards, "{calls:?}");
    assert!(!threads.contains(&thread::current().id()));
}

#[test]
fn that_a_hook_waits_is_found_out_once() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, client, recording) = configs(true);
    for n in 0..4 {
        runtime.block_on(handshake(&server, &client, n % 2 == 0));
    }
    let on_fiber: Vec<bool> = recording.1.lock().unwrap().iter().map(|call| call.1).collect();
    assert_eq!(on_fiber, [false, true, true, true]);
}
