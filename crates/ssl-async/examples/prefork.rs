//! A server of several processes: it binds the listener, forks, and then makes the key and the shards.
//!
//! Threads do not survive a fork, and keys and shards have threads: made before the fork, they would refuse every handshake
//! in the children. See docs/fork.md. This program starts two workers, connects to each once, and ends.
//!
//! ```text
//! cargo run -p layby-ssl-async --example prefork --features tokio
//! ```

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::task::{Shards, TlsAcceptor, TlsConnector};
use ssl_async::{SlowKey, engine_core::Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Failure = Box<dyn Error + Send + Sync>;

const WORKERS: usize = 2;

fn main() -> Result<(), Failure> {
    let _ = aws_lc_rs::default_provider().install_default();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, der) = (identity.cert.der().clone(), identity.signing_key.serialize_der());

    // Before the fork: only descriptors and plain data.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;

    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        match unsafe { libc::fork() } {
            -1 => return Err(std::io::Error::last_os_error().into()),
            0 => {
                let served = serve(listener, certificate, der);
                std::process::exit(i32::from(served.is_err()));
            }
            pid => workers.push(pid),
        }
    }
    drop(listener);
    ask(address, certificate)?;
    for pid in workers {
        let mut status = 0;
        // SAFETY: `status` is a place for the status of a child of this process.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0, "worker {pid}");
        println!("worker {pid} has served and ended");
    }
    Ok(())
}

/// A worker. Makes everything with threads here, after the fork, and serves one connection.
#[tokio::main(flavor = "current_thread")]
async fn serve(
    listener: TcpListener,
    certificate: CertificateDer<'static>,
    der: Vec<u8>,
) -> Result<(), Failure> {
    let software = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::try_from(der)?)?;
    let key = SlowKey::builder(vec![certificate])?
        .deadline(Duration::from_secs(5))
        .threads(2)
        .signing_key(software)?;
    let shards = Shards::builder().threads(1).build()?;
    let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(key.clone());
    let acceptor = TlsAcceptor::new(Arc::new(config), &shards);

    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (tcp, _) = listener.accept().await?;
    let mut tls = acceptor.accept(tcp).await?;
    tls.write_all(format!("from process {}", std::process::id()).as_bytes()).await?;
    tls.shutdown().await?;

    let deadline = Duration::from_secs(10);
    let ended = shards.shutdown(deadline).await.and(key.shutdown(deadline).await);
    assert_eq!(ended, Shutdown::Drained);
    Ok(())
}

/// The clients: one handshake per worker.
#[tokio::main(flavor = "current_thread")]
async fn ask(address: SocketAddr, certificate: CertificateDer<'static>) -> Result<(), Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..WORKERS {
        let tcp = tokio::net::TcpStream::connect(address).await?;
        let mut tls = connector.connect("localhost".try_into()?, tcp).await?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await?;
        println!("{answer}");
    }
    Ok(())
}
