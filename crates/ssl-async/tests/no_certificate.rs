//! A resolver without a certificate for a host: the log names the host. A process of its own, because the subscriber is
//! global.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::task::{StartHandshake, TlsAcceptor, TlsConnector};
use tokio::io::duplex;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

/// The fields of each event of the name in question.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Seen {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains("ssl.no_certificate") {
            assert_eq!(*event.metadata().level(), tracing::Level::WARN);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[test]
fn the_log_names_the_host_and_what_to_do() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(Registry::default().with(seen.clone())).unwrap();
    aws_lc_rs::default_provider().install_default().unwrap();
    let with = |resolver: Arc<dyn ResolvesServerCert>| {
        Arc::new(ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver))
    };
    let synchronous = with(Arc::new(Nothing));
    let asynchronous = with(ssl_async::resolve::server_certificate(async |_| None));
    let client = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for (config, host) in [(&synchronous, "first.example"), (&asynchronous, "second.example")] {
            let acceptor = TlsAcceptor::new(Arc::clone(config), connector.shards());
            let (ours, theirs) = duplex(1 << 16);
            let name = host.try_into().unwrap();
            let (server, client) =
                tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
            assert!(server.is_err() && client.is_err());

            let (ours, theirs) = duplex(1 << 16);
            let name = host.try_into().unwrap();
            let started =
                async { StartHandshake::read(ours).await.unwrap().accept(&acceptor).await };
            let (server, client) = tokio::join!(started, connector.connect(name, theirs));
            assert!(server.is_err() && client.is_err());
        }
    });
    let seen = seen.0.lock().unwrap();
    // The others may be suppressed: the limit is one event per second.
    let first = seen.first().expect("it is logged");
    assert!(first.contains("first.example") && first.contains("remedy"), "{first}");
}
