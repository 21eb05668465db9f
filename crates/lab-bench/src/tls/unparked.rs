//! What a handshake costs that nothing parks, beside tokio-rustls: a key in memory, and one connection at a time over
//! loopback TCP.
//!
//! With an ordinary configuration a packet that may reach a hook goes to a shard and back, so the CPU time of the whole
//! process counts, the client's taken off. A configuration whose provider is `replayable` stays on its task, and so does any
//! with `Parking::Never`.

use core::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use handshake_lab::certs::{SERVER_NAME, TestPki};
use handshake_lab::cpu::{process_cpu, thread_cpu};
use handshake_lab::keys;
use handshake_lab::load::{Verified, client_config};
use handshake_lab::scenario::{KeyType, TlsVersion};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use ssl_async::{Parking, replayable};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::party::text;
use crate::measure::Measured;
use crate::report::Bench;

/// Of one arm in one round.
const HANDSHAKES: usize = 400;
/// Odd, so that the median is one of them.
const ROUNDS: usize = 7;
const NAMES: [&str; 3] = [
    "tls.unparked_vs_tokio_rustls",
    "tls.unparked_vs_tokio_rustls.replayable",
    "tls.unparked_vs_tokio_rustls.never",
];

/// `tls.unparked_vs_tokio_rustls`, the same with a `replayable` provider, and with `Parking::Never`.
pub(crate) fn unparked() -> Vec<Bench> {
    let [theirs, ours @ ..] = match measure() {
        Ok(rounds) => rounds,
        Err(why) => return NAMES.map(|name| Bench::missing(name, "ns", why.clone())).into(),
    };
    let row = |(name, ours): (&str, Vec<f64>)| {
        let times: Vec<_> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let Measured { median, min, max, .. } = Measured::of(&times);
        let note = "CPU time of the process for one handshake, the client out";
        Bench::beside(name, "tokio-rustls", (Measured::of(&ours), Measured::of(&theirs)))
            .with_note(format!("{note}; {median:.2} times ({min:.2} to {max:.2})"))
    };
    NAMES.into_iter().zip(ours).map(row).collect()
}

/// Nanoseconds of each handshake, round by round: of tokio-rustls, and of ours by [`NAMES`].
fn measure() -> Result<[Vec<f64>; 1 + NAMES.len()], String> {
    let pki = TestPki::generate(KeyType::P256).map_err(text)?;
    let config = |provider| {
        let key = pki.software_key().map_err(text)?;
        let config = keys::server_config_over(provider, vec![pki.certificate.clone()], key);
        config.map(Arc::new).map_err(text)
    };
    let plain: Arc<ServerConfig> = config(default_provider())?;
    let (theirs, ours) = (
        tokio_rustls::TlsAcceptor::from(Arc::clone(&plain)),
        ssl_async::task::TlsAcceptor::from(plain),
    );
    let on_task = ssl_async::task::TlsAcceptor::from(config(replayable(default_provider()))?);
    let never = ours.clone().parking(Parking::Never);
    let servers = [
        serve(move |tcp| theirs.accept(tcp)),
        serve(move |tcp| ours.accept(tcp)),
        serve(move |tcp| on_task.accept(tcp)),
        serve(move |tcp| never.accept(tcp)),
    ];
    let client = client_config(Some(&pki.ca), TlsVersion::Tls13, &Verified::default());
    let client = Arc::new(client.map_err(text)?);
    let mut rounds = [const { Vec::new() }; 1 + NAMES.len()];
    for round in 0..=ROUNDS {
        for (server, spent) in servers.iter().zip(&mut rounds) {
            let address = *server.as_ref().map_err(text)?;
            let each = one_by_one(address, &client).map_err(text)?.as_nanos() as f64;
            // The first of each is warm-up.
            if round > 0 {
                spent.push(each / HANDSHAKES as f64);
            }
        }
    }
    Ok(rounds)
}

/// Serves as many connections as there are, one after the other, on a runtime of one thread.
fn serve<A, F, S, E>(accept: A) -> io::Result<SocketAddr>
where
    A: Fn(tokio::net::TcpStream) -> F + Send + 'static,
    F: Future<Output = Result<S, E>>,
    S: AsyncRead + AsyncWrite + Unpin,
    E: Send + Sync + std::error::Error + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            for _ in 0..(ROUNDS + 1) * HANDSHAKES {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                let mut tls = accept(tcp).await.map_err(io::Error::other)?;
                tls.shutdown().await?;
            }
            io::Result::Ok(())
        })
    });
    Ok(address)
}

/// What a round costs the rest of the process.
fn one_by_one(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Duration> {
    let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
    let (process, client) = (process_cpu(), thread_cpu());
    for _ in 0..HANDSHAKES {
        let tls = ClientConnection::new(Arc::clone(config), name.clone());
        let mut tls = tls.map_err(io::Error::other)?;
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        // The server's goodbye.
        while tls.read_tls(&mut tcp)? > 0 {
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
    Ok((process_cpu() - process).saturating_sub(thread_cpu() - client))
}
