//! A server on tokio whose key answers after 50 ms. Thousands of handshakes may be parked meanwhile, and no thread waits.
//! Try it with `curl --insecure https://localhost:8443`.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ServerConfig, SignatureScheme};
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
    let listener = TcpListener::bind("localhost:8443").await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let served = serve(socket, config.clone(), Arc::clone(&key));
        tokio::spawn(async { served.await.inspect_err(|error| eprintln!("{error}")) });
    }
}
