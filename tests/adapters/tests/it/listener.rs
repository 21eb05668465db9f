//! The listener: how many handshakes it has under way, and what happens to them when its `accept` is cancelled.

use std::sync::Arc;

use adapters::listener::TlsListener;
use axum::serve::Listener as _;
use futures_util::FutureExt as _;
use layby::rustls::pki_types::{CertificateDer, ServerName};
use layby::tls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};

use crate::world::{client, key};

async fn listener(together: usize, limit: usize) -> (TlsListener, CertificateDer<'static>) {
    let (key, certificate) = key(together);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
    (TlsListener::new(tcp, acceptor, limit), certificate)
}

/// One `accept` that is cancelled unless it is ready at once.
async fn cancelled(listener: &mut TlsListener) -> Option<TlsStream<TcpStream>> {
    yield_now().await;
    listener.accept().now_or_never().map(|(tls, _address)| tls)
}

/// A client that has connected, and reads one byte.
async fn reader(listener: &TlsListener, certificate: CertificateDer<'static>) -> JoinHandle<u8> {
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let connector = TlsConnector::from(Arc::new(client(certificate)));
    tokio::spawn(async move {
        let name = ServerName::try_from("localhost").unwrap();
        connector.connect(name, tcp).await.unwrap().read_u8().await.unwrap()
    })
}

/// Until the runtime has heard of every connection that was made before: events come in order.
async fn heard() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), other.accept());
    client.unwrap().write_u8(0).await.unwrap();
    server.unwrap().0.read_u8().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_when_accept_is_cancelled() {
    let (mut listener, certificate) = listener(3, 8).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(reader(&listener, certificate.clone()).await);
    }
    let mut accepted = Vec::new();
    while accepted.len() < 3 {
        accepted.extend(cancelled(&mut listener).await);
    }
    for (number, tls) in accepted.iter_mut().enumerate() {
        tls.write_u8(number as u8).await.unwrap();
        tls.flush().await.unwrap();
    }
    let mut read = Vec::new();
    for reader in readers {
        read.push(reader.await.unwrap());
    }
    read.sort_unstable();
    assert_eq!(read, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_handshakes_than_the_limit_are_under_way() {
    let (mut listener, certificate) = listener(1, 2).await;
    let address = listener.local_addr().unwrap();
    let silent =
        [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    while listener.handshakes() < 2 {
        assert!(cancelled(&mut listener).await.is_none());
    }
    let reader = reader(&listener, certificate).await;
    heard().await;
    for _ in 0..2 {
        assert!(cancelled(&mut listener).await.is_none());
        assert_eq!(listener.handshakes(), 2);
    }
    // A place is free as soon as one of them is gone.
    drop(silent);
    let (mut tls, _address) = listener.accept().await;
    tls.write_u8(7).await.unwrap();
    tls.flush().await.unwrap();
    assert_eq!(reader.await.unwrap(), 7);
    assert!(listener.handshakes() <= 1);
}
