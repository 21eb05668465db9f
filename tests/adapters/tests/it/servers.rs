//! Servers of axum, axum-server and tonic, and reqwest's client.

use std::net::TcpListener;
use std::sync::Arc;

use adapters::axum_server::Acceptor;
use adapters::listener::TlsListener;
use layby::rustls::server::WebPkiClientVerifier;
use layby::rustls::{ClientConfig, ServerConfig};
use layby::tls::TlsAcceptor;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::world::{app, ask, client, connector, key, roots, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_serves_clients_at_once_behind_one_that_says_nothing() {
    let (key, certificate) = key(3);
    let (address, _silent) = serve(key.server_config()).await;
    let uri = format!("https://localhost:{}", address.port());
    let ask = || ask(connector(client(certificate.clone())), &uri);
    let answers = tokio::join!(ask(), ask(), ask());
    let hello = "HTTP/1.1 hello".to_owned();
    assert_eq!(answers, (hello.clone(), hello.clone(), hello));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_server_serves_clients_at_once() {
    let (key, certificate) = key(2);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let acceptor = Acceptor(TlsAcceptor::from(Arc::new(key.server_config())));
    let server = axum_server::from_tcp(tcp).unwrap().acceptor(acceptor);
    tokio::spawn(server.serve(app().into_make_service()));
    let ask = || ask(connector(client(certificate.clone())), &uri);
    let answers = tokio::join!(ask(), ask());
    assert_eq!(answers, ("HTTP/1.1 hello".to_owned(), "HTTP/1.1 hello".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tonic_serves_and_calls() {
    let (key, certificate) = key(1);
    let mut config = key.server_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let connections = TlsListener::new(tcp, acceptor, 100).connections();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health);
    tokio::spawn(async { server.serve_with_incoming(Box::pin(connections)).await });

    let mut config = client(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let channel = Endpoint::from_shared(uri).unwrap();
    let channel = channel.connect_with_connector(connector(config)).await.unwrap();
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

/// A library that takes only a configuration: its own acceptors and connectors call the key, on a thread of the runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reqwest_shows_a_certificate_whose_key_is_slow() {
    let (of_server, certificate) = key(1);
    let (of_client, of_client_certificate) = key(1);
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(of_client_certificate)));
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(of_server);
    let (address, _silent) = serve(config).await;
    let config = ClientConfig::builder()
        .with_root_certificates(roots(certificate))
        .with_client_cert_resolver(of_client);
    let client = reqwest::Client::builder().tls_backend_preconfigured(config).build().unwrap();
    let answer = client.get(format!("https://localhost:{}", address.port())).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
}
