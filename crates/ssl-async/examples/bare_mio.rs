//! A server on an event loop of mio: no runtime, one thread, and a key that blocks for 20 ms on a pool of threads.
//!
//! ```text
//! cargo run -p layby-ssl-async --example bare_mio
//! ```
use std::error::Error;
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::{thread, time::Duration};

use mio::{Events, Interest, Poll, net::TcpListener, unix::SourceFd};
use rustls::crypto::aws_lc_rs::{self, sign::any_ecdsa_type};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use ssl_async::{
    JobPool, Outcome, SlowKey, Ssl, SslContext,
    wait_ctx::{ReadyQueue, Route, Token},
};

const CLIENTS: usize = 50;
const LISTENER: usize = CLIENTS;

fn serve(mut listener: TcpListener, context: &SslContext) -> Result<(), Box<dyn Error>> {
    let (mut poll, mut events, mut ready) = (Poll::new()?, Events::with_capacity(256), Vec::new());
    let (mut queue, jobs) = (ReadyQueue::new()?, JobPool::new());
    let wakeups = queue.as_fd().as_raw_fd();
    poll.registry().register(&mut listener, mio::Token(LISTENER), Interest::READABLE)?;
    poll.registry().register(
        &mut SourceFd(&wakeups),
        mio::Token(usize::MAX),
        Interest::READABLE,
    )?;
    let (mut sessions, mut served) = (Vec::new(), 0);
    while served < CLIENTS {
        // Do not sleep if a session was woken since the last drain.
        let timeout = if queue.prepare_sleep() { None } else { Some(Duration::ZERO) };
        poll.poll(&mut events, timeout)?;
        queue.awake();
        queue.drain(&mut ready);
        ready.extend(events.iter().map(|event| Token(event.token().0)));
        for token in ready.drain(..) {
            while token == Token(LISTENER)
                && let Ok((mut tcp, _)) = listener.accept()
            {
                let (n, both) = (sessions.len(), Interest::READABLE | Interest::WRITABLE);
                poll.registry().register(&mut tcp, mio::Token(n), both)?;
                let ssl = Ssl::accept(context, &jobs, tcp)?;
                ssl.wait_ctx().notifier().set_route(Route::Ready(queue.sender(), Token(n)));
                sessions.push(Some(ssl));
            }
            if let Some(ssl) = sessions.get_mut(token.0).and_then(Option::as_mut)
                && ssl.do_handshake()? == Outcome::Ready(())
            {
                // Small enough for any socket's buffer, so neither call has to wait.
                let _sent = (ssl.write(b"hello")?, ssl.shutdown()?);
                sessions[token.0] = None;
                served += 1;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    aws_lc_rs::default_provider().install_default().expect("it is the first");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, mut roots) = (identity.cert.der().clone(), RootCertStore::empty());
    roots.add(certificate.clone())?;
    let software = any_ecdsa_type(&identity.signing_key.serialize_der().try_into()?)?;
    let key = SlowKey::builder(vec![certificate])?.threads(16);
    let key = key.blocking(move |scheme, message| {
        thread::sleep(Duration::from_millis(20)); // in place of a call to an HSM
        software.choose_scheme(&[scheme]).expect("its own scheme").sign(message)
    })?;
    let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(key);
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (client, listener) = (Arc::new(client), TcpListener::bind("127.0.0.1:0".parse()?)?);
    for _ in 0..CLIENTS {
        let tcp = TcpStream::connect(listener.local_addr()?)?;
        let client = ClientConnection::new(client.clone(), "localhost".try_into()?)?;
        // A client that verifies, and reads until the server closes.
        thread::spawn(|| StreamOwned::new(client, tcp).read_to_string(&mut String::new()));
    }
    serve(listener, &SslContext::server(Arc::new(config)))?;
    println!("{CLIENTS} handshakes served on one thread");
    Ok(())
}
