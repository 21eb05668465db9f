//! Mutual TLS with the client's key on a thread of its own, such as a TPM or a smart card that blocks for 20 ms.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{self, sign::any_ecdsa_type};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::SlowKey;
use ssl_async::task::{TlsAcceptor, TlsConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn identity(name: &str) -> Result<(CertifiedKey, Arc<RootCertStore>), Box<dyn Error>> {
    let identity = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let key = any_ecdsa_type(&identity.signing_key.serialize_der().try_into()?)?;
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone())?;
    Ok((CertifiedKey::new(vec![identity.cert.der().clone()], key), Arc::new(roots)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    aws_lc_rs::default_provider().install_default().expect("it is the first");
    let (server, server_roots) = identity("localhost")?;
    let (client, client_roots) = identity("a client")?;

    // A server that requires a certificate.
    let verifier = WebPkiClientVerifier::builder(client_roots).build()?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(server)));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        let mut tls = acceptor.accept(tcp).await?;
        let seen = tls.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
        tls.write_all(format!("I have seen {seen} certificate").as_bytes()).await?;
        tls.shutdown().await
    });

    // A client with a slow key. While it signs, this task waits and its thread does not.
    let card = client.key;
    let key = SlowKey::builder(client.cert)?
        .threads(1) // a card does one thing at a time
        .deadline(Duration::from_secs(5))
        .blocking(move |scheme, message| {
            thread::sleep(Duration::from_millis(20));
            card.choose_scheme(&[scheme]).expect("its own scheme").sign(message)
        })?;
    let config = ClientConfig::builder()
        .with_root_certificates(server_roots)
        .with_client_cert_resolver(key.clone());
    let connector = TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(address).await?;
    let mut tls = connector.connect("localhost".try_into()?, tcp).await?;
    let mut heard = String::new();
    tls.read_to_string(&mut heard).await?;
    serving.await??;

    assert_eq!(heard, "I have seen 1 certificate");
    println!("{heard}; its key signed {} time", key.stats().completed);
    Ok(())
}
