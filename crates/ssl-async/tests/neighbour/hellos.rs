//! Points about handshakes.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::libraries::{Configs, Library, TokioRustls, configs, pair, pair_with, said};
use crate::{Point, point};

pub(crate) fn points() -> Vec<Point> {
    vec![
        point!("data goes both ways", both_ways),
        point!("a protocol is chosen by ALPN", protocol),
        point!("no protocol in common", no_protocol),
        point!("a client does not trust the server: the client", distrust_of_client),
        point!("a client does not trust the server: the server", distrust_at_server),
        point!("the hello is no TLS", no_tls),
        point!("the peer ends before its hello", no_hello),
        point!("the peer ends within its hello", half_a_hello),
        point!("`into_fallible` gives the transport back", fallible),
        point!("the hello is read before there is a configuration", lazy),
        point!("the peer ends before its hello is read", lazy_end),
        point!(
            "a hello that is no TLS, and 64 KiB behind it: what the transport still has",
            refused
        ),
        point!("early data arrives, and is marked as early", early),
        point!("early data that the server refuses arrives after the handshake", early_refused),
    ]
}

async fn both_ways<L: Library>() -> String {
    let (mut server, mut client) = pair::<L>().await;
    let (mut heard, mut answered) = ([0; 4], [0; 4]);
    client.write_all(b"ping").await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut heard).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut answered).await.unwrap();
    format!("{} {}", heard.escape_ascii(), answered.escape_ascii())
}

async fn protocol<L: Library>() -> String {
    let Configs { mut server, mut client } = configs::<L>();
    server.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    client.alpn_protocols = vec![b"http/1.1".into()];
    let (server, client) = pair_with::<L>(Arc::new(server), Arc::new(client)).await;
    let text = |alpn: Option<Vec<u8>>| alpn.map(|alpn| String::from_utf8(alpn).unwrap());
    format!("{:?} {:?}", text(L::alpn(&server)), text(L::alpn(&client)))
}

async fn no_protocol<L: Library>() -> String {
    let Configs { mut server, mut client } = configs::<L>();
    server.alpn_protocols = vec![b"h2".into()];
    client.alpn_protocols = vec![b"http/1.1".into()];
    let (ours, theirs) = duplex(1 << 16);
    let (server, client) = tokio::join!(
        L::accept(Arc::new(server), ours),
        TokioRustls::connect(Arc::new(client), theirs)
    );
    let nothing = |_: &_| "connected".to_owned();
    format!(
        "server {}; client {}",
        said(&server.map(drop), nothing),
        said(&client.map(drop), nothing)
    )
}

/// A root that signed nothing.
fn stranger() -> CertificateDer<'static> {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    identity.cert.der().clone()
}

fn distrusting<L: Library>() -> Configs {
    let Configs { server, client } = configs::<L>();
    let mut roots = RootCertStore::empty();
    roots.add(stranger()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(client.crypto_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Configs { server, client }
}

async fn distrust_of_client<L: Library>() -> String {
    let Configs { server, client } = distrusting::<TokioRustls>();
    let (ours, theirs) = duplex(1 << 16);
    let (_, client) = tokio::join!(
        TokioRustls::accept(Arc::new(server), ours),
        L::connect(Arc::new(client), theirs)
    );
    said(&client.map(drop), |()| "connected".to_owned())
}

async fn distrust_at_server<L: Library>() -> String {
    let Configs { server, client } = distrusting::<L>();
    let (ours, theirs) = duplex(1 << 16);
    let (server, _) = tokio::join!(
        L::accept(Arc::new(server), ours),
        TokioRustls::connect(Arc::new(client), theirs)
    );
    said(&server.map(drop), |()| "connected".to_owned())
}

/// What the server says to these bytes and the end behind them, and what it sends.
async fn heard<L: Library>(bytes: &[u8]) -> String {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    let server = L::accept(Arc::new(configs::<L>().server), ours).await;
    let mut sent = Vec::new();
    let said = said(&server.map(drop), |()| "connected".to_owned());
    theirs.read_to_end(&mut sent).await.unwrap();
    format!("{said}; it sends {sent:02x?}")
}

async fn no_tls<L: Library>() -> String {
    heard::<L>(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await
}

async fn no_hello<L: Library>() -> String {
    heard::<L>(b"").await
}

async fn half_a_hello<L: Library>() -> String {
    heard::<L>(&[0x16, 3, 1, 2, 0, 1, 0, 1]).await
}

async fn fallible<L: Library>() -> String {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    L::gives_the_transport_back(Arc::new(configs::<L>().server), ours).await.to_string()
}

async fn lazy<L: Library>() -> String {
    let Configs { server, client } = configs::<L>();
    let (ours, theirs) = duplex(1 << 16);
    let (server, client) = tokio::join!(
        L::read_hello(ours, Arc::new(server)),
        TokioRustls::connect(Arc::new(client), theirs)
    );
    format!("{:?} {}", server.unwrap().0, client.is_ok())
}

async fn lazy_end<L: Library>() -> String {
    let (ours, theirs) = duplex(1 << 16);
    drop(theirs);
    let server = L::read_hello(ours, Arc::new(configs::<L>().server)).await;
    said(&server.map(drop), |()| "connected".to_owned())
}

async fn refused<L: Library>() -> String {
    let (ours, mut theirs) = duplex(1 << 17);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    theirs.write_all(&[b'x'; 1 << 16]).await.unwrap();
    theirs.shutdown().await.unwrap();
    let left = L::behind_a_refused_hello(ours).await;
    format!("{} KiB", left.len() >> 10)
}

/// A client that has a ticket sends early data to the same server, which takes up to `max` bytes of it.
async fn early_to<L: Library>(max: u32) -> String {
    let Configs { mut server, mut client } = configs::<L>();
    server.max_early_data_size = 1024;
    client.enable_early_data = true;
    let (mut server, client) = (Arc::new(server), Arc::new(client));
    let (mut first, mut ticketed) = pair_with::<L>(Arc::clone(&server), Arc::clone(&client)).await;
    first.write_all(b"a ticket comes with it").await.unwrap();
    first.flush().await.unwrap();
    ticketed.read_exact(&mut [0; 22]).await.unwrap();

    Arc::make_mut(&mut server).max_early_data_size = max;
    let (ours, theirs) = duplex(1 << 16);
    let (server, client) =
        tokio::join!(L::accept(server, ours), L::connect_early(client, theirs, b"early"));
    let (mut server, _client) = (server.unwrap(), client.unwrap());
    let early = L::early_data(&mut server);
    let mut later = vec![0; 5 - early.len()];
    server.read_exact(&mut later).await.unwrap();
    format!("early {:?}, later {:?}", String::from_utf8(early), String::from_utf8(later))
}

async fn early<L: Library>() -> String {
    early_to::<L>(1024).await
}

async fn early_refused<L: Library>() -> String {
    early_to::<L>(0).await
}
