//! The spans and events of one handshake under tokio: where it waited, and for how long. A process of its own, because the
//! subscriber is global.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use ssl_async::SlowKey;
use ssl_async::task::{TlsAcceptor, TlsConnector};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Every event as its fields, with the names of its spans, outermost first.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Event>>>);

type Event = (Vec<&'static str>, Fields);

#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = ctx.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        self.0.lock().unwrap().push((spans.map(|span| span.name()).collect(), fields));
    }
}

#[test]
fn one_handshakes_queue_wait_device_time_and_resume_delay_are_in_its_span() {
    let seen = Seen::default();
    tracing::subscriber::set_global_default(Registry::default().with(seen.clone())).unwrap();

    let provider = Arc::new(aws_lc_rs::default_provider());
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, mut roots) = (identity.cert.der().clone(), RootCertStore::empty());
    roots.add(certificate.clone()).unwrap();
    let key = identity.signing_key.serialize_der().try_into().unwrap();
    let signing = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let key = SlowKey::builder_with_provider(vec![certificate], &provider).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(key.signing_key(signing).unwrap());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let accept = TlsAcceptor::from(Arc::new(server)).accept(ours);
        let connector = TlsConnector::from(Arc::new(client));
        let connect = connector.connect("localhost".try_into().unwrap(), theirs);
        drop(tokio::try_join!(accept, connect).unwrap());
    });

    let seen = seen.0.lock().unwrap();
    let collected: Vec<_> = seen
        .iter()
        .filter(|(_, fields)| fields.0.iter().any(|(_, value)| value == "request.collect"))
        .collect();
    let [(spans, fields)] = &collected[..] else { panic!("one signature") };
    assert_eq!(spans, &["handshake", "job"]);
    for part in ["wait_us", "device_us", "resume_us"] {
        assert!(fields.0.iter().any(|(name, _)| *name == part), "{part}");
    }
}
