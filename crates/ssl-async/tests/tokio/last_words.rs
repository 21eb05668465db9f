//! What the peer is told when a handshake fails on this side (law L15).

use std::sync::Arc;
use std::time::Duration;

use engine_core::Shutdown;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, SupportedProtocolVersion};
use ssl_async::SslError;
use ssl_async::task::{StartHandshake, TlsAcceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinError;

use crate::support::{client_config, localhost, provider};
use crate::world::{World, current_thread, until, wire, world};

/// How a handshake with a server of plain rustls's client ends: with its error.
async fn heard(config: ClientConfig, mut io: DuplexStream) -> Error {
    let mut tls = ClientConnection::new(Arc::new(config), localhost()).unwrap();
    loop {
        let mut bytes = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).unwrap();
        }
        io.write_all(&bytes).await.unwrap();
        let mut buffer = [0; 4096];
        let n = io.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the server closed without an alert");
        tls.read_tls(&mut &buffer[..n]).unwrap();
        if let Err(error) = tls.process_new_packets() {
            return error;
        }
    }
}

/// How a server that does this with its transport ends, whose client must hear of an internal error.
async fn told<F>(
    world: &World,
    version: &'static SupportedProtocolVersion,
    server: impl FnOnce(DuplexStream) -> F,
) -> Result<SslError, JoinError>
where
    F: Future<Output = Result<(), SslError>> + Send + 'static,
{
    let config = client_config(provider(), version, &world.fixture.identity);
    let (ours, theirs) = wire();
    let server = tokio::spawn(server(ours));
    let internal_error = Error::AlertReceived(AlertDescription::InternalError);
    assert_eq!(heard(config, theirs).await, internal_error);
    server.await.map(Result::unwrap_err)
}

#[test]
fn l15_a_client_is_told_internal_error_when_the_key_fails() {
    current_thread().block_on(async {
        for version in [&TLS12, &TLS13] {
            for reads_hello_first in [false, true] {
                let world = world(4);
                let (acceptor, device) = (world.acceptor.clone(), world.fixture.device.clone());
                let fails = tokio::spawn(async move {
                    until(|| device.held() == 1).await;
                    device.fail();
                });
                let error = told(&world, version, |io| async move {
                    match reads_hello_first {
                        true => StartHandshake::read(io).await?.accept(&acceptor).await.map(drop),
                        false => acceptor.accept(io).await.map(drop),
                    }
                })
                .await;
                assert!(matches!(error, Ok(SslError::Failed(_))), "{error:?}");
                fails.await.unwrap();
                world.is_empty().await;
            }
        }
    });
}

#[test]
fn l15_a_client_is_told_internal_error_when_the_shards_end() {
    current_thread().block_on(async {
        let world = world(4);
        let (acceptor, shards) = (world.acceptor.clone(), world.shards.clone());
        let device = world.fixture.device.clone();
        let ends = tokio::spawn(async move {
            until(|| device.held() == 1).await;
            assert_eq!(shards.shutdown(Duration::ZERO).await, Shutdown::Drained);
        });
        let error = told(&world, &TLS13, |io| async move { acceptor.accept(io).await.map(drop) });
        assert!(matches!(error.await, Ok(SslError::Failed(_))));
        ends.await.unwrap();
        // And when they have ended.
        let acceptor = world.acceptor.clone();
        let error = told(&world, &TLS13, |io| async move { acceptor.accept(io).await.map(drop) });
        assert!(matches!(error.await, Ok(SslError::Failed(_))));
    });
}

#[test]
fn a_client_is_told_internal_error_when_a_hook_panics() {
    current_thread().block_on(async {
        let world = world(4);
        let config = Arc::clone(world.fixture.context_with_a_panicking_key().config());
        let acceptor = TlsAcceptor::new(config, &world.shards);
        let error = told(&world, &TLS13, |io| async move { acceptor.accept(io).await.map(drop) });
        assert!(error.await.unwrap_err().is_panic());
    });
}

#[test]
fn a_client_is_told_internal_error_when_the_deadline_passes() {
    current_thread().block_on(async {
        for version in [&TLS12, &TLS13] {
            let world = world(4);
            let acceptor = world.acceptor.clone().deadline(Duration::from_millis(50));
            let error =
                told(&world, version, |io| async move { acceptor.accept(io).await.map(drop) });
            assert!(matches!(error.await, Ok(SslError::TimedOut(_))));
            world.is_empty().await;
        }
    });
}
