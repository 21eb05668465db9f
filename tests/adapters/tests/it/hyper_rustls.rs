//! What a client of hyper observes, point by point, over hyper-rustls's connector and over the one here.

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use layby::rustls::ClientConfig;
use layby::rustls::pki_types::ServerName;

use crate::world::{ask, client, connector, key, serve};

/// One request.
struct Point {
    name: &'static str,
    /// What the client offers by ALPN, and what the server has.
    alpn: (&'static [&'static str], &'static [&'static str]),
    /// Before the port.
    host: &'static str,
    /// The name that is asked for instead of the host's.
    server_name: Option<&'static str>,
    answered: bool,
}

const HTTP: &[&str] = &["h2", "http/1.1"];
const POINTS: &[Point] = &[
    Point {
        name: "no protocol is offered",
        alpn: (&[], HTTP),
        host: "https://localhost",
        server_name: None,
        answered: true,
    },
    Point {
        name: "both protocols are offered, and the server has both",
        alpn: (HTTP, HTTP),
        host: "https://localhost",
        server_name: None,
        answered: true,
    },
    Point {
        name: "both are offered, and the server has HTTP/1.1",
        alpn: (HTTP, &["http/1.1"]),
        host: "https://localhost",
        server_name: None,
        answered: true,
    },
    Point {
        name: "both are offered, and the server has no ALPN",
        alpn: (HTTP, &[]),
        host: "https://localhost",
        server_name: None,
        answered: true,
    },
    Point {
        name: "HTTP/2 is offered, and the server has HTTP/1.1",
        alpn: (&["h2"], &["http/1.1"]),
        host: "https://localhost",
        server_name: None,
        answered: false,
    },
    Point {
        name: "the host is an address",
        alpn: (HTTP, HTTP),
        host: "https://127.0.0.1",
        server_name: None,
        answered: true,
    },
    Point {
        name: "the certificate is not the host's",
        alpn: (HTTP, HTTP),
        host: "https://127.0.0.1",
        server_name: Some("wrong.example"),
        answered: false,
    },
    Point {
        name: "another name than the host's is asked for",
        alpn: (HTTP, HTTP),
        host: "https://127.0.0.1",
        server_name: Some("other.example"),
        answered: true,
    },
    Point {
        name: "http:// where only https:// is allowed",
        alpn: (HTTP, HTTP),
        host: "http://localhost",
        server_name: None,
        answered: false,
    },
];

async fn theirs(point: &Point, config: ClientConfig, uri: &str) -> String {
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
    if let Some(name) = point.server_name {
        let name = ServerName::try_from(name).unwrap();
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    match point.alpn.0 {
        [] => ask(builder.enable_http1().build(), uri).await,
        ["h2"] => ask(builder.enable_http2().build(), uri).await,
        _ => ask(builder.enable_all_versions().build(), uri).await,
    }
}

async fn ours(point: &Point, mut config: ClientConfig, uri: &str) -> String {
    config.alpn_protocols = point.alpn.0.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut connector = connector(config);
    if let Some(name) = point.server_name {
        connector = connector.server_name(ServerName::try_from(name).unwrap());
    }
    ask(connector, uri).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_point_is_as_with_hyper_rustls() {
    for point in POINTS {
        let (key, certificate) = key(1);
        let mut config = key.server_config();
        config.alpn_protocols = point.alpn.1.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (address, _silent) = serve(config).await;
        let uri = format!("{}:{}", point.host, address.port());
        let theirs = theirs(point, client(certificate.clone()), &uri).await;
        let ours = ours(point, client(certificate), &uri).await;
        assert_eq!(ours, theirs, "{}", point.name);
        assert_eq!(ours.ends_with(" hello"), point.answered, "{}: {ours}", point.name);
    }
}
