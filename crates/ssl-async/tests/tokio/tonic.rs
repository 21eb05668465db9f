//! gRPC with tonic over the streams, with a slow key.

use std::sync::{Arc, Mutex};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::version::TLS13;
use ssl_async::task::{TlsAcceptor, TlsConnector};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{client_config, localhost, provider, server_config};
use crate::world::{multi_thread, until, wire, world};

#[test]
fn a_call_of_tonic_is_answered_over_a_stream_whose_key_was_slow() {
    multi_thread().block_on(async {
        let world = world(4);
        let fixture = &world.fixture;
        let mut config = server_config(provider(), &[&TLS13], &fixture.identity, &fixture.key);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
        let mut config = client_config(provider(), &TLS13, &fixture.identity);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::new(Arc::new(config), &world.shards);

        let (ours, theirs) = wire();
        let handshake = acceptor.accept(ours);
        let server = tokio::spawn(async move {
            let (_reporter, health) = tonic_health::server::health_reporter();
            let io = TokioIo::new(handshake.await.unwrap());
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // The result depends on which side closes first.
            let _ = builder.serve_connection(io, TowerToHyperService::new(health)).await;
        });
        let client = tokio::spawn(async move {
            let once = Mutex::new(Some(connector.connect(localhost(), theirs)));
            let channel = Endpoint::from_static("http://localhost")
                .connect_with_connector(tower::service_fn(move |_| {
                    let handshake = once.lock().unwrap().take().expect("one connection");
                    async { Ok::<_, ssl_async::SslError>(TokioIo::new(handshake.await?)) }
                }))
                .await
                .unwrap();
            HealthClient::new(channel).check(HealthCheckRequest::default()).await
        });
        until(|| fixture.device.held() == 1).await;
        fixture.device.answer();
        let answer = client.await.unwrap().unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        server.await.unwrap();
        world.assert_empty().await;
    });
}
