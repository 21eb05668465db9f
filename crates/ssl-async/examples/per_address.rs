//! A limit of handshakes per address: one client opens a hundred connections and leaves each in the middle of its handshake,
//! and the next client is served at once. The limits of `Shards` are for all clients together; this one is the program's.
use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs::{self, sign::any_ecdsa_type};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use ssl_async::SlowKey;
use ssl_async::task::{TlsAcceptor, TlsConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

type Failure = Box<dyn Error + Send + Sync>;

/// The number of handshakes under way for each address that has any.
#[derive(Clone, Default)]
struct Shares(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One handshake, counted for its address until this is dropped.
struct Share(Shares, IpAddr);

impl Shares {
    /// The limit per address. Many people may be behind one address: count networks or accounts where that matters.
    const MOST: usize = 8;

    fn take(&self, address: IpAddr) -> Option<Share> {
        let mut shares = self.0.lock().expect("nothing panics while it is locked");
        let taken = shares.entry(address).or_default();
        (*taken < Self::MOST).then(|| {
            *taken += 1;
            Share(self.clone(), address)
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.0.0.lock().expect("nothing panics while it is locked");
        if let Some(taken) = shares.get_mut(&self.1) {
            *taken -= 1;
            if *taken == 0 {
                shares.remove(&self.1);
            }
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let shares = Shares::default();
    loop {
        let (tcp, from) = listener.accept().await?;
        // Beyond the limit a connection is closed at once, before it costs an operation of the key.
        let Some(share) = shares.take(from.ip()) else { continue };
        let handshake = acceptor.accept(tcp);
        tokio::spawn(async move {
            let mut tls = handshake.await?;
            drop(share);
            tls.write_all(b"hello").await?;
            tls.shutdown().await
        });
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    aws_lc_rs::default_provider().install_default().expect("it is the first");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, mut roots) = (identity.cert.der().clone(), RootCertStore::empty());
    roots.add(certificate.clone())?;
    let software = any_ecdsa_type(&identity.signing_key.serialize_der().try_into()?)?;
    let key =
        SlowKey::builder(vec![certificate])?.threads(1).blocking(move |scheme, message| {
            thread::sleep(Duration::from_millis(20)); // in place of a call to an HSM
            software.choose_scheme(&[scheme]).expect("its own scheme").sign(message)
        })?;
    let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(key);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
    let client =
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());

    // A hundred hellos from one address, each of which needs a signature; the client reads nothing.
    let mut greedy = Vec::new();
    for _ in 0..100 {
        let (mut hello, mut tcp) = (Vec::new(), connect(Ipv4Addr::LOCALHOST, address).await?);
        ClientConnection::new(client.clone(), "localhost".try_into()?)?.write_tls(&mut hello)?;
        // The server may have closed it.
        let _sent = tcp.write_all(&hello).await;
        greedy.push(tcp);
    }

    let started = Instant::now();
    let tcp = connect(Ipv4Addr::new(127, 0, 0, 2), address).await?;
    let mut tls = TlsConnector::from(client).connect("localhost".try_into()?, tcp).await?;
    let mut said = String::new();
    tls.read_to_string(&mut said).await?;
    println!("{said} after {:?}; a hundred signatures would take 2 s", started.elapsed());
    Ok(())
}
