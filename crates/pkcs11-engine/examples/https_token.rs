//! An HTTPS server whose key is in a PKCS#11 token. With SoftHSM:
//!
//! ```sh
//! softhsm2-util --init-token --free --label web --so-pin 87654321 --pin 1234
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=localhost -keyout shop.key -out shop.pem
//! softhsm2-util --import shop.key --token web --label shop --id 01 --pin 1234 && rm shop.key
//! WEB_PIN=1234 cargo run -p layby-pkcs11-engine --example https_token -- 127.0.0.1:8443 shop.pem \
//!     'pkcs11:token=web;object=shop?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=env:WEB_PIN'
//! curl --insecure https://127.0.0.1:8443/
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pkcs11_engine::{Chain, Ended, Token};
use ssl_async::task::TlsAcceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Failure = Box<dyn Error + Send + Sync>;

/// Serves until `stop` is ready.
pub(crate) async fn serve(
    listener: TcpListener,
    key: Arc<ssl_async::SlowKey>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
    let mut stop = std::pin::pin!(stop);
    loop {
        let socket = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted?.0,
        };
        let handshake = acceptor.accept(socket);
        tokio::spawn(async move {
            let answered = async {
                // While the token signs, the handshake is parked, and no thread waits.
                let mut tls = handshake.await?;
                let _request = tls.read(&mut [0; 4096]).await?;
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n").await?;
                tls.shutdown().await
            };
            if let Err(error) = answered.await {
                eprintln!("{error}");
            }
        });
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, chain, uri] = &arguments[..] else {
        println!("usage: https_token ADDRESS CHAIN.pem 'pkcs11:...'");
        return Ok(());
    };
    ssl_async::rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("no other provider");
    // Before the runtime, as this blocks: it loads the module, logs in, and tests the key.
    let token = Token::open(uri)?;
    let key = token.key(Chain::File(chain.into()))?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("https://{}/", listener.local_addr()?);
        serve(listener, key, async { drop(tokio::signal::ctrl_c().await) }).await
    })?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    // The module must be left before the process ends: most crash if it ends during a call.
    match token.shutdown_blocking(Duration::from_secs(5)) {
        Ended::Finalized | Ended::InUse => Ok(()),
        // Neither destructors nor exit handlers run after a signal.
        Ended::Stuck { .. } => std::process::abort(),
    }
}
