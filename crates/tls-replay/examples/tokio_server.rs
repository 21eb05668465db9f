//! A server on tokio whose key answers after 50 ms. Thousands of handshakes may be parked meanwhile, and no thread waits.
//!
//! It serves a hundred verifying clients and ends. With an address, `-- localhost:8443`, it serves until it is stopped:
//! ask it by `curl --insecure https://localhost:8443`.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SignatureScheme, StreamOwned,
};
use tls_replay::{Question, ReplayConfig, ReplayKey, Session, SessionOptions, replayable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Key = Arc<dyn SigningKey>;

/// Stands for the request to a remote signing service.
async fn sign(key: &Key, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Failure> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(key.choose_scheme(&[scheme]).ok_or("the key has no such scheme")?.sign(message)?)
}

async fn serve(mut socket: TcpStream, config: ReplayConfig, key: Key) -> Result<(), Failure> {
    let mut session = Session::new(config, SessionOptions::default());
    let (mut buffer, mut out) = ([0; 4096], Vec::new());
    loop {
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut stage = session.hear(&buffer[..read], &mut out);
        if let Some(Question::Signature { scheme, message }) = session.question() {
            let signature = sign(&key, scheme, message).await?;
            stage = session.resume(signature, &mut out);
        }
        // An alert is sent before the error is returned.
        socket.write_all(&out).await?;
        out.clear();
        stage?;
        let Some(tls) = session.connection() else { continue };
        if matches!(tls.reader().read(&mut buffer), Ok(1..)) {
            tls.writer()
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nSigned elsewhere.\n")?;
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(&mut out)?;
            }
            return Ok(socket.write_all(&out).await?);
        }
    }
}

async fn listen(listener: TcpListener, config: ReplayConfig, key: Key) -> Result<(), Failure> {
    loop {
        let (socket, _) = listener.accept().await?;
        let served = serve(socket, config.clone(), Arc::clone(&key));
        tokio::spawn(async { served.await.inspect_err(|error| eprintln!("{error}")) });
    }
}

/// A client that verifies the server's certificate, on a thread of its own.
fn ask(address: SocketAddr, client: Arc<ClientConfig>) -> Result<String, Failure> {
    let tls = ClientConnection::new(client, "localhost".try_into()?)?;
    let mut tls = StreamOwned::new(tls, std::net::TcpStream::connect(address)?);
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let pair = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&pair)?;
    let key = any_supported_type(&PrivateKeyDer::from_pem_slice(pair.serialize_pem().as_bytes())?)?;
    let postponed = Arc::new(ReplayKey::new(Arc::clone(&key)));
    let certified = CertifiedKey::new(vec![certificate.der().clone()], postponed);
    let config = ServerConfig::builder_with_provider(replayable(default_provider()).into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let config = ReplayConfig::new(config)?;
    if let Some(address) = std::env::args().nth(1) {
        return listen(TcpListener::bind(address).await?, config, key).await;
    }
    let listener = TcpListener::bind("localhost:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(listen(listener, config, key));

    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let client = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, started) = (Arc::new(client), Instant::now());
    let clients: Vec<_> = (0..100)
        .map(|_| Arc::clone(&client))
        .map(|client| tokio::task::spawn_blocking(move || ask(address, client)))
        .collect();
    for client in clients {
        assert!(client.await??.ends_with("Signed elsewhere.\n"));
    }
    println!("100 verified answers after {:?}", started.elapsed());
    Ok(())
}
