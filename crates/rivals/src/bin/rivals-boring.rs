//! BoringSSL with its asynchronous private-key method, on tokio by tokio-boring.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use boring::ssl::{SslAcceptor, SslMethod, SslOptions, SslRef, SslSignatureAlgorithm, SslVersion};
use boring::x509::X509;
use rivals::{Incoming, Problem, Server, Site, runtime};
use tokio::sync::oneshot;
use tokio_boring::{
    AsyncPrivateKeyMethod, AsyncPrivateKeyMethodError, BoxPrivateKeyMethodFinish,
    BoxPrivateKeyMethodFuture,
};

struct Boring {
    free: bool,
}

fn main() -> ExitCode {
    rivals::program::run(&[&Boring { free: true }, &Boring { free: false }]).unwrap_or_else(|| {
        lab_report::output::eprint_line("a part of cargo xtask bench --rivals");
        ExitCode::from(2)
    })
}

impl Server for Boring {
    fn name(&self) -> &'static str {
        if self.free { "boring-free" } else { "boring" }
    }

    fn title(&self) -> &'static str {
        match self.free {
            false => "BoringSSL, asynchronous private-key method",
            true => "BoringSSL, signature for free",
        }
    }

    fn own_free(&self) -> &'static str {
        "boring-free"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("rivals-boring.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        acceptor.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        acceptor.set_options(SslOptions::NO_TICKET);
        acceptor.set_certificate(&*X509::from_der(&site.chain[0])?)?;
        acceptor.set_async_private_key_method(Key { site: Arc::clone(site), free: self.free });
        let acceptor = Arc::new(acceptor.build());
        runtime()?.block_on(async {
            site.heartbeat.on_tokio()?;
            let incoming = incoming.on_tokio()?;
            loop {
                let (connection, acceptor) = (incoming.accept().await?, Arc::clone(&acceptor));
                tokio::spawn(
                    async move { drop(tokio_boring::accept(&acceptor, connection).await) },
                );
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

impl AsyncPrivateKeyMethod for Key {
    fn sign(
        &self,
        _: &mut SslRef,
        message: &[u8],
        _: SslSignatureAlgorithm,
        _: &mut [u8],
    ) -> Result<BoxPrivateKeyMethodFuture, AsyncPrivateKeyMethodError> {
        let (answer, signature) = oneshot::channel();
        if self.free {
            let _ = answer.send(self.site.garbage());
        } else {
            self.site.ask(message.to_vec(), move |signature| drop(answer.send(signature)));
        }
        Ok(Box::pin(async move {
            let signature = signature.await.map_err(|_| AsyncPrivateKeyMethodError)?;
            let finish: BoxPrivateKeyMethodFinish = Box::new(move |_, output| {
                let place = output.get_mut(..signature.len()).ok_or(AsyncPrivateKeyMethodError)?;
                place.copy_from_slice(&signature);
                Ok(signature.len())
            });
            Ok(finish)
        }))
    }

    fn decrypt(
        &self,
        _: &mut SslRef,
        _: &[u8],
        _: &mut [u8],
    ) -> Result<BoxPrivateKeyMethodFuture, AsyncPrivateKeyMethodError> {
        // Only TLS 1.2 with RSA key exchange decrypts.
        Err(AsyncPrivateKeyMethodError)
    }
}
// [end of user code]
