//! The example `https_token` with a key in SoftHSM.

#[path = "../../examples/https_token.rs"]
#[allow(dead_code, reason = "the test calls `serve`, not `main`")]
mod https_token;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use pkcs11_engine::Ended;
use ssl_async::rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::world::in_own_process;

#[test]
fn the_example_answers_with_the_key_of_the_token() {
    in_own_process("example::the_example_answers_with_the_key_of_the_token", |world| {
        let token = world.open();
        let key = token.key(world.chain("p256")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server =
            runtime.spawn(https_token::serve(listener, key, async { drop(stopped.await) }));
        let client = ClientConfig::builder()
            .with_root_certificates(world.roots("p256"))
            .with_no_client_auth();
        let client =
            ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        assert!(page.ends_with("\r\n\r\nhello\n"), "{page}");
        drop(stop);
        runtime.block_on(server).unwrap().unwrap();
        assert_eq!(token.shutdown_blocking(Duration::from_secs(60)), Ended::Finalized);
    });
}
