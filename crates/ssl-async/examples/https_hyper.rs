//! HTTPS on hyper with a key that blocks for 20 ms, on a runtime of one thread: fifty clients at once take a few times
//! 20 ms, not fifty.
use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::{self, sign::any_ecdsa_type};
use rustls::{ClientConfig, RootCertStore};
use ssl_async::task::{TlsAcceptor, TlsConnector};
use ssl_async::{SlowKey, SslError};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn Error + Send + Sync>;

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> std::io::Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        let handshake = acceptor.accept(tcp);
        tokio::spawn(async move {
            let hello = service_fn(async |_: Request<_>| {
                Ok::<_, SslError>(Response::new(Full::new(Bytes::from("hello"))))
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(handshake.await?), hello).await
        });
    }
}

async fn ask(address: std::net::SocketAddr, connector: TlsConnector) -> Result<Bytes, Failure> {
    let tcp = TcpStream::connect(address).await?;
    let tls = connector.connect("localhost".try_into()?, tcp).await?;
    let (mut http, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new())?;
    Ok(http.send_request(request).await?.into_body().collect().await?.to_bytes())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    aws_lc_rs::default_provider().install_default().expect("it is the first");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, mut roots) = (identity.cert.der().clone(), RootCertStore::empty());
    roots.add(certificate.clone())?;
    let software = any_ecdsa_type(&identity.signing_key.serialize_der().try_into()?)?;
    let key = SlowKey::builder(vec![certificate])?.threads(16);
    let key = key.blocking(move |scheme, message| {
        thread::sleep(Duration::from_millis(20)); // in place of a call to an HSM
        software.choose_scheme(&[scheme]).expect("its own scheme").sign(message)
    })?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(key.server_config()))));

    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (connector, started) = (TlsConnector::from(Arc::new(client)), Instant::now());
    let clients: Vec<_> = (0..50).map(|_| tokio::spawn(ask(address, connector.clone()))).collect();
    for client in clients {
        assert_eq!(client.await??, "hello");
    }
    println!("50 verified answers after {:?}", started.elapsed());
    Ok(())
}
