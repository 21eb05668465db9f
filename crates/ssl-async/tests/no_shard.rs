//! A server whose key parks by replay starts no shard. A process of its own, because its threads are counted.

use core::time::Duration;
use std::fs;
use std::sync::Arc;

use engine_core::Shutdown;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore};
use ssl_async::SlowKey;
use ssl_async::task::TlsAcceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// The number of this process's threads with this name.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
}

#[test]
fn a_server_with_the_configuration_of_its_key_has_no_thread_but_the_keys() {
    aws_lc_rs::default_provider().install_default().unwrap();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let private = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let software = aws_lc_rs::sign::any_supported_type(&private).unwrap();
    let key = SlowKey::builder(vec![certificate.clone()])
        .unwrap()
        .threads(2)
        .blocking(move |scheme, message| software.choose_scheme(&[scheme]).unwrap().sign(message))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            let (ours, theirs) = duplex(64 * 1024);
            let name = "localhost".try_into().unwrap();
            let (server, client) =
                tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
            let (mut server, mut client) = (server.unwrap(), client.unwrap());
            server.write_all(b"hello").await.unwrap();
            server.flush().await.unwrap();
            let mut received = [0; 5];
            client.read_exact(&mut received).await.unwrap();
            assert_eq!(&received, b"hello");
        }
        assert!(acceptor.shards().stats().await.is_empty());
    });
    assert!(key.stats().completed > 0);
    assert!(threads("slow-key-0") + threads("slow-key") > 0, "the key's own");
    assert_eq!(threads("ssl-shard"), 0);
    let ended = acceptor.shards().shutdown_blocking(Duration::from_secs(10));
    assert_eq!(ended, Shutdown::Drained);
}
