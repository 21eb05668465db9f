//! The acceptor for tasks, by replay: everything happens on the task.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use std::sync::Arc;

use rustls::ServerConfig;
use ssl_async::task::{Shards, TlsAcceptor};
use ssl_async::{Parking, SslError};
use tls_replay::ReplayError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::law::servers::{AnsweredServer, Server};
use crate::{Device, Serving, tls_error};

pub(crate) struct Tasks {
    shards: Shards,
    runtime: Arc<Runtime>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let shards = Shards::builder().threads(1).build().expect("a thread");
        Self { shards, runtime: Arc::new(runtime.expect("a runtime")) }
    }
}

impl Serving for Tasks {
    fn servers(&self, config: ServerConfig, device: &Device) -> Box<dyn Fn() -> Server> {
        let acceptor = TlsAcceptor::new(Arc::new(config), &self.shards);
        let acceptor = acceptor.parking(Parking::Replay).without_deadline();
        let (device, runtime) = (Arc::clone(device), Arc::clone(&self.runtime));
        Box::new(move || {
            let (ours, client) = duplex(1 << 20);
            let established = Arc::new(AtomicBool::new(false));
            let task = runtime.spawn(serve(acceptor.clone(), ours, Arc::clone(&established)));
            let (device, runtime) = (Arc::clone(&device), Arc::clone(&runtime));
            Server::Answered(Box::new(Task { client, task, established, device, runtime }))
        })
    }
}

/// Serves a client until it hangs up.
async fn serve(
    acceptor: TlsAcceptor,
    io: DuplexStream,
    established: Arc<AtomicBool>,
) -> Result<(), SslError> {
    let mut tls = acceptor.accept(io).await?;
    established.store(true, Ordering::Relaxed);
    let mut plaintext = [0; 100];
    loop {
        match tls.read(&mut plaintext).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                // Sends its alert.
                let _same_error = tls.flush().await;
                return Err(error.downcast().expect("an error of the session"));
            }
        }
    }
}

struct Task {
    client: DuplexStream,
    task: JoinHandle<Result<(), SslError>>,
    established: Arc<AtomicBool>,
    device: Device,
    runtime: Arc<Runtime>,
}

impl AnsweredServer for Task {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ReplayError> {
        let Self { client, task, device, runtime, .. } = self;
        runtime.block_on(async {
            client.write_all(bytes).await.expect("the transport takes all");
            // No other thread takes part, so the task has done all it can after a few turns.
            let mut turns = 0;
            while turns < 8 {
                tokio::task::yield_now().await;
                turns += 1;
                if device.held() > 0 {
                    device.answer();
                    turns = 0;
                }
            }
            while let Some(Ok(1..)) = poll_once(client.read_buf(out)).await {}
            match poll_once(task).await {
                Some(ended) => ended.expect("no panic").map_err(tls_error),
                None => Ok(()),
            }
        })
    }

    fn is_handshaking(&self) -> bool {
        !self.established.load(Ordering::Relaxed)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}
