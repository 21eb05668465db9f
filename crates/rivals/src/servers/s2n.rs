//! s2n-tls with its asynchronous private-key callback, on tokio by s2n-tls-tokio.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use s2n_tls::callbacks::{
    ConnectionFuture, OperationType, PrivateKeyCallback, PrivateKeyOperation,
};
use s2n_tls::config::Config;
use s2n_tls::connection::Connection;
use s2n_tls::error::Error;
use s2n_tls::security::DEFAULT_TLS13;
use s2n_tls_tokio::TlsAcceptor;
use tokio::sync::oneshot;

use super::{Server, runtime};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct S2n {
    free: bool,
}

pub(super) const S2N: S2n = S2n { free: false };
pub(super) const FREE: S2n = S2n { free: true };

impl Server for S2n {
    fn name(&self) -> &'static str {
        if self.free { "s2n-tls-free" } else { "s2n-tls" }
    }

    fn title(&self) -> &'static str {
        match self.free {
            false => "s2n-tls, asynchronous private-key callback",
            true => "s2n-tls, signature for free",
        }
    }

    fn own_free(&self) -> &'static str {
        "s2n-tls-free"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("s2n.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let mut config = Config::builder();
        config.set_security_policy(&DEFAULT_TLS13)?;
        config.load_public_pem(site.certificate_pem.as_bytes())?;
        config.set_private_key_callback(Key { site: Arc::clone(site), free: self.free })?;
        let acceptor = TlsAcceptor::new(config.build()?);
        runtime()?.block_on(async {
            site.heartbeat.on_tokio()?;
            let incoming = incoming.on_tokio()?;
            loop {
                let (connection, acceptor) = (incoming.accept().await?, acceptor.clone());
                tokio::spawn(async move { drop(acceptor.accept(connection).await) });
            }
        })
    }
    // [end of user code]

    fn asks_key(&self) -> bool {
        !self.free
    }

    fn signs(&self) -> bool {
        !self.free
    }
}

// [user code]
struct Key {
    site: Arc<Site>,
    free: bool,
}

impl PrivateKeyCallback for Key {
    fn handle_operation(
        &self,
        connection: &mut Connection,
        operation: PrivateKeyOperation,
    ) -> Result<Option<Pin<Box<dyn ConnectionFuture>>>, Error> {
        // TLS 1.3 decrypts nothing with the key.
        let OperationType::Sign(..) = operation.kind()? else { return Ok(None) };
        if self.free {
            operation.set_output(connection, &self.site.garbage())?;
            return Ok(None);
        }
        let mut digest = vec![0; operation.input_size()?];
        operation.input(&mut digest)?;
        let (answer, signature) = oneshot::channel();
        self.site.ask_digest(digest, move |signature| drop(answer.send(signature)));
        Ok(Some(Box::pin(Signing { operation: Some(operation), signature })))
    }
}

struct Signing {
    operation: Option<PrivateKeyOperation>,
    signature: oneshot::Receiver<Vec<u8>>,
}

impl ConnectionFuture for Signing {
    fn poll(
        mut self: Pin<&mut Self>,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let Poll::Ready(signature) = Pin::new(&mut self.signature).poll(cx) else {
            return Poll::Pending;
        };
        let signature = signature.map_err(|gone| Error::application(gone.into()))?;
        let operation = self.operation.take().expect("polled until it is ready");
        Poll::Ready(operation.set_output(connection, &signature))
    }
}
// [end of user code]
