//! The alert that the peer gets when a handshake fails on this side (law L15).

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
use crate::world::{World, current_thread, until, wire, worlds};

/// Runs a client of plain rustls until it fails, and returns its error.
async fn client_error(config: ClientConfig, mut io: DuplexStream) -> Error {
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

/// Runs `server`, asserts that its client gets the alert `internal_error`, and returns the server's error.
async fn server_error<F>(
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
    assert_eq!(client_error(config, theirs).await, internal_error);
    server.await.map(Result::unwrap_err)
}

#[test]
fn l15_a_client_gets_internal_error_when_the_key_fails() {
    current_thread().block_on(async {
        for version in [&TLS12, &TLS13] {
            for reads_hello_first in [false, true] {
                for world in worlds(4) {
                    let (acceptor, device) = (world.acceptor.clone(), world.fixture.device.clone());
                    let device_fails = tokio::spawn(async move {
                        until(|| device.held() == 1).await;
                        device.fail();
                    });
                    let error = server_error(&world, version, |io| async move {
                        match reads_hello_first {
                            true => {
                                StartHandshake::read(io).await?.accept(&acceptor).await.map(drop)
                            }
                            false => acceptor.accept(io).await.map(drop),
                        }
                    })
                    .await;
                    assert!(matches!(error, Ok(SslError::Failed(_))), "{error:?}");
                    device_fails.await.unwrap();
                    world.assert_empty().await;
                }
            }
        }
    });
}

#[test]
fn l15_a_client_gets_internal_error_when_the_shards_end() {
    current_thread().block_on(async {
        for world in worlds(4) {
            let (acceptor, shards) = (world.acceptor.clone(), world.shards.clone());
            let device = world.fixture.device.clone();
            let shutdown = tokio::spawn(async move {
                until(|| device.held() == 1).await;
                assert_eq!(shards.shutdown(Duration::ZERO).await, Shutdown::Drained);
            });
            let error =
                server_error(
                    &world,
                    &TLS13,
                    |io| async move { acceptor.accept(io).await.map(drop) },
                );
            assert!(matches!(error.await, Ok(SslError::Failed(_))));
            shutdown.await.unwrap();
            // After the shutdown, too.
            let acceptor = world.acceptor.clone();
            let error =
                server_error(
                    &world,
                    &TLS13,
                    |io| async move { acceptor.accept(io).await.map(drop) },
                );
            assert!(matches!(error.await, Ok(SslError::Failed(_))));
        }
    });
}

#[test]
fn a_client_gets_internal_error_when_a_hook_panics() {
    current_thread().block_on(async {
        for world in worlds(4) {
            let mut config = (**world.acceptor.config()).clone();
            let panics = world.fixture.context_with_a_panicking_key();
            config.cert_resolver = Arc::clone(&panics.config().cert_resolver);
            let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
            let error =
                server_error(
                    &world,
                    &TLS13,
                    |io| async move { acceptor.accept(io).await.map(drop) },
                );
            assert!(error.await.unwrap_err().is_panic());
        }
    });
}

#[test]
fn a_client_gets_internal_error_when_the_deadline_passes() {
    current_thread().block_on(async {
        for version in [&TLS12, &TLS13] {
            for world in worlds(4) {
                let acceptor = world.acceptor.clone().deadline(Duration::from_millis(50));
                let error = server_error(&world, version, |io| async move {
                    acceptor.accept(io).await.map(drop)
                });
                assert!(matches!(error.await, Ok(SslError::TimedOut(_))));
                world.assert_empty().await;
            }
        }
    });
}
