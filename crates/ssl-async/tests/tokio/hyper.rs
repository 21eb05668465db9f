//! Servers and clients of hyper over the streams: HTTP/1.1 and HTTP/2 by ALPN, with a slow key.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use ssl_async::task::{TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::DuplexStream;

use crate::support::{client_config, localhost, provider, server_config};
use crate::world::{multi_thread, until, wire, world};

async fn ask(tls: TlsStream<DuplexStream>) -> (Version, Bytes) {
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let (io, executor) = (TokioIo::new(tls), TokioExecutor::new());
    let request = Request::get("https://localhost/").header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = if is_h2 {
        let (mut http, connection) =
            hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        http.send_request(request).await.unwrap()
    } else {
        let (mut http, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        http.send_request(request).await.unwrap()
    };
    (response.version(), response.into_body().collect().await.unwrap().to_bytes())
}

#[test]
fn hyper_serves_both_of_its_versions_over_the_streams() {
    multi_thread().block_on(async {
        let world = world(4);
        let fixture = &world.fixture;
        let mut config = server_config(provider(), &[&TLS13], &fixture.identity, &fixture.key);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
        for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            let mut config = client_config(provider(), &TLS13, &fixture.identity);
            config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
            let connector = TlsConnector::new(Arc::new(config), &world.shards);
            let (ours, theirs) = wire();
            let handshake = acceptor.accept(ours);
            let server = tokio::spawn(async move {
                let hello = service_fn(async |_: Request<Incoming>| {
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("hello"))))
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let io = TokioIo::new(handshake.await.unwrap());
                builder.serve_connection(io, hello).await.map_err(|error| error.to_string())
            });
            let client = tokio::spawn(connector.connect(localhost(), theirs));
            until(|| fixture.device.held() == 1).await;
            fixture.device.answer();
            let answer = ask(client.await.unwrap().unwrap()).await;
            assert_eq!(answer, (version, Bytes::from("hello")));
            // The result depends on which side closes first.
            let _: Result<(), String> = server.await.unwrap();
        }
        world.assert_empty().await;
    });
}
