//! A key that signs for several clients at once or not at all, servers, and clients that trust them.

use std::net::SocketAddr;
use std::sync::{Arc, Barrier};

use adapters::client::HttpsConnector;
use adapters::listener::TlsListener;
use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use layby::keys::SlowKey;
use layby::rustls::crypto::aws_lc_rs;
use layby::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use layby::rustls::{ClientConfig, RootCertStore, ServerConfig};
use layby::tls::{TlsAcceptor, TlsConnector};
use tokio::net::{TcpListener, TcpStream};

/// A key that answers when `together` clients wait for it: one of them alone would wait for ever.
pub(crate) fn key(together: usize) -> (Arc<SlowKey>, CertificateDer<'static>) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "other.example".to_owned()];
    let identity = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = identity.cert.der().clone();
    let pkcs8 = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let signer = aws_lc_rs::sign::any_supported_type(&pkcs8).unwrap();
    let meeting = Barrier::new(together);
    let builder = SlowKey::builder(vec![certificate.clone()]).unwrap().threads(together);
    let key = builder.blocking(move |scheme, message| {
        meeting.wait();
        signer.choose_scheme(&[scheme]).unwrap().sign(message)
    });
    (key.unwrap(), certificate)
}

pub(crate) fn roots(certificate: CertificateDer<'static>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    roots
}

pub(crate) fn client(certificate: CertificateDer<'static>) -> ClientConfig {
    ClientConfig::builder().with_root_certificates(roots(certificate)).with_no_client_auth()
}

pub(crate) fn connector(config: ClientConfig) -> HttpsConnector {
    HttpsConnector::new(TlsConnector::from(Arc::new(config)))
}

pub(crate) fn app() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Serves with axum, behind a client that connects first and says nothing. The server ends with the runtime.
pub(crate) async fn serve(config: ServerConfig) -> (SocketAddr, TcpStream) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let silent = TcpStream::connect(address).await.unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TlsListener::new(tcp, acceptor, 100);
    tokio::spawn(async { axum::serve(listener, app()).await });
    (address, silent)
}

/// The version and the body of an answer, or everything that the error says.
pub(crate) async fn ask<C>(connector: C, uri: &str) -> String
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<&[u8]>>(connector);
    match client.get(uri.parse().unwrap()).await {
        Ok(answer) => {
            let version = answer.version();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            format!("{version:?} {}", body.escape_ascii())
        }
        Err(error) => {
            let mut said = error.to_string();
            let mut error: Option<&(dyn std::error::Error + 'static)> =
                std::error::Error::source(&error);
            while let Some(cause) = error {
                said = format!("{said}: {cause}");
                error = cause.source();
            }
            said
        }
    }
}
