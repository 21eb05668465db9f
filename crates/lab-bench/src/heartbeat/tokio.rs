//! The arms on tokio: ours, and tokio-rustls with a key that blocks.

use core::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::setting::{HeartbeatDelays, PERIOD, Setting};

/// Ours, on a runtime of one thread.
pub(crate) fn offloaded(
    listener: TcpListener,
    setting: &Setting,
    stop: &Arc<AtomicBool>,
) -> io::Result<HeartbeatDelays> {
    let shards = ssl_async::task::Shards::builder().threads(1).build()?;
    let acceptor = ssl_async::task::TlsAcceptor::new(Arc::clone(&setting.offloaded), &shards);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    serve(runtime, listener, stop, move |tcp| acceptor.accept(tcp))
}

/// tokio-rustls with the key blocking the runtime's one thread.
pub(crate) fn blocking(
    listener: TcpListener,
    setting: &Setting,
    stop: &Arc<AtomicBool>,
) -> io::Result<HeartbeatDelays> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    serve(runtime, listener, stop, plain(&setting.blocking))
}

/// tokio-rustls with the key within `block_in_place`.
pub(crate) fn in_place(
    listener: TcpListener,
    setting: &Setting,
    stop: &Arc<AtomicBool>,
) -> io::Result<HeartbeatDelays> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    serve(runtime, listener, stop, plain(&setting.in_place))
}

fn plain(
    config: &Arc<ServerConfig>,
) -> impl Fn(TcpStream) -> tokio_rustls::Accept<TcpStream> + use<> {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
    move |tcp| acceptor.accept(tcp)
}

/// Accepts, shakes hands and says goodbye, each connection on a task of its own, with the heartbeat beside them.
fn serve<A, F, S, E>(
    runtime: Runtime,
    listener: TcpListener,
    stop: &Arc<AtomicBool>,
    accept: A,
) -> io::Result<HeartbeatDelays>
where
    A: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = Result<S, E>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    E: Send,
{
    let delays = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let _ = tcp.set_nodelay(true);
                let handshake = accept(tcp);
                tokio::spawn(async move {
                    if let Ok(mut tls) = handshake.await {
                        // The client may have gone.
                        let _ = tls.shutdown().await;
                    }
                });
            }
        });
        // On a worker like the others, where there are workers.
        let stop = Arc::clone(stop);
        let heartbeat = tokio::spawn(async move {
            let (mut delays, mut due) = (HeartbeatDelays::default(), Instant::now() + PERIOD);
            while !stop.load(Ordering::Acquire) {
                tokio::time::sleep_until(due.into()).await;
                due = delays.note(due);
            }
            delays
        });
        heartbeat.await.map_err(io::Error::other)
    });
    runtime.shutdown_background();
    delays
}
