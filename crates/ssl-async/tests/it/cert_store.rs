//! Certificates by host: which one a client gets, replaced while handshakes are parked, and OCSP responses beside them.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use ssl_async::offload::SigningWork;
use ssl_async::{
    CertSet, CertSetError, CertStore, JobPool, KeyPool, Outcome, SignError, Ssl, SslContext,
};

use crate::support::{ManualDevice, PlainPeer, pipe, provider};

/// A certificate for `names`, and its key.
fn certified(names: &[&str]) -> Arc<CertifiedKey> {
    let pair = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
    let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
    let der = rustls::pki_types::PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
    Arc::new(CertifiedKey::new(vec![made.der().clone()], key))
}

fn leaf(key: &CertifiedKey) -> &CertificateDer<'static> {
    &key.cert[0]
}

#[test]
fn a_client_gets_the_certificate_of_its_host_then_of_the_domain_then_the_default() {
    let [host, wildcard, other] =
        [&["a.example"][..], &["*.a.example"], &["b.example"]].map(certified);
    let set = CertSet::new()
        .host("A.example", &host)
        .and_then(|set| set.host("*.a.example", &wildcard))
        .unwrap()
        .default_certificate(&other);
    let store = CertStore::new(set);
    for (name, expected) in [
        (Some("a.example"), &host),
        (Some("A.EXAMPLE"), &host),
        (Some("www.a.example"), &wildcard),
        (Some("x.www.a.example"), &other),
        (Some("c.example"), &other),
        (None, &other),
    ] {
        assert_eq!(leaf(&store.get(name).unwrap()), leaf(expected), "{name:?}");
    }
    store.replace(CertSet::new().host("a.example", &host).unwrap());
    assert!(store.get(Some("c.example")).is_none() && store.get(None).is_none());
}

#[test]
fn a_certificate_is_refused_for_a_host_that_it_is_not_for() {
    let key = certified(&["a.example"]);
    for name in ["b.example", "*.a.example"] {
        let refused = CertSet::new().host(name, &key).unwrap_err();
        assert!(matches!(refused, CertSetError::NotForHost { .. }), "{refused}");
    }
    for name in ["", "*", "*.", "a b", "127.0.0.1", "*.*.a.example"] {
        let refused = CertSet::new().host(name, &key).unwrap_err();
        assert!(matches!(refused, CertSetError::Name(_)), "{name}: {refused}");
    }
}

#[test]
fn a_certificate_is_for_all_hosts_that_it_names_and_no_two_are_for_one() {
    let [first, second] =
        [&["a.example", "*.A.example"][..], &["b.example", "a.example"]].map(certified);
    let set = CertSet::new().certificate(&first).unwrap().certificate(&first).unwrap();
    let refused = set.certificate(&second).unwrap_err();
    assert!(matches!(&refused, CertSetError::Taken(name) if name == "a.example"), "{refused}");
    let store = CertStore::new(CertSet::new().certificate(&first).unwrap());
    for name in ["a.example", "www.a.example"] {
        assert_eq!(leaf(&store.get(Some(name)).unwrap()), leaf(&first));
    }
    assert!(store.get(Some("b.example")).is_none());
    let nameless = CertSet::new().certificate(&certified(&["127.0.0.1"])).unwrap_err();
    assert!(matches!(nameless, CertSetError::NoName), "{nameless}");
    // By the certificate alone.
    assert!(store.staple_certificate(leaf(&first), vec![7]));
    assert!(!store.staple_certificate(leaf(&second), vec![7]));
    assert_eq!(store.get(Some("a.example")).unwrap().ocsp, Some(vec![7]));
}

#[test]
fn an_ocsp_response_is_sent_under_all_names_and_kept_while_the_certificate_is() {
    let [both, new] = [&["a.example", "b.example"][..], &["a.example"]].map(certified);
    let hosts = |key: &Arc<CertifiedKey>, names: &[&str]| {
        names.iter().try_fold(CertSet::new(), |set, name| set.host(name, key)).unwrap()
    };
    let store = CertStore::new(hosts(&both, &["a.example", "b.example"]));
    assert!(store.staple(Some("a.example"), vec![1]));
    assert!(!store.staple(None, vec![1]), "there is no default");
    let response = |name| store.get(Some(name)).unwrap().ocsp.clone();
    assert_eq!(response("b.example"), Some(vec![1]));
    store.replace(hosts(&both, &["a.example"]));
    assert_eq!(response("a.example"), Some(vec![1]));
    store.replace(hosts(&new, &["a.example"]));
    assert_eq!(response("a.example"), None, "it was of the old certificate");
}

/// What the client was shown: the certificate and its OCSP response.
type Shown = Arc<Mutex<Vec<(CertificateDer<'static>, Vec<u8>)>>>;

#[derive(Debug)]
struct Recording {
    shown: Shown,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Recording {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.shown.lock().unwrap().push((certificate.clone().into_owned(), response.into()));
        self.inner.verify_server_cert(certificate, intermediates, name, response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[test]
fn l16_certificates_are_replaced_while_a_handshake_is_parked_which_ends_with_its_own() {
    let [old, new] = [&["localhost"][..]; 2].map(certified);
    let private: Vec<_> = [&old, &new].map(|key| (leaf(key).clone(), key.key.clone())).into();
    let device = ManualDevice::doing(8, move |work: &SigningWork| {
        let number: usize = work.key_id().parse().unwrap();
        let signer = private[number].1.choose_scheme(&[work.scheme()]).unwrap();
        signer.sign(work.message()).map_err(|error| SignError::transient(error).into())
    });
    let pool = KeyPool::builder_with_provider(&provider()).accelerator(device.clone()).unwrap();
    let [first, second] = [(&old, "0"), (&new, "1")]
        .map(|(key, name)| pool.key(vec![leaf(key).clone()], name).unwrap());
    let set = CertSet::new().host("localhost", first.certified_key()).unwrap();
    let store = Arc::new(CertStore::new(set));
    assert!(store.staple(Some("localhost"), b"good".to_vec()));
    let server = SslContext::server(Arc::new(pool.server_config(store.clone())));

    let mut roots = RootCertStore::empty();
    for key in [&old, &new] {
        roots.add(leaf(key).clone()).unwrap();
    }
    let inner = WebPkiServerVerifier::builder_with_provider(roots.into(), provider().into());
    let shown = Shown::default();
    let verifier = Recording { shown: Arc::clone(&shown), inner: inner.build().unwrap() };
    let client = ClientConfig::builder_with_provider(provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let client = Arc::new(client);
    let jobs = JobPool::new();
    let connect = || {
        let (ours, theirs) = pipe();
        let mut peer = PlainPeer::client(Arc::clone(&client), theirs);
        let mut ssl = Ssl::accept(&server, &jobs, ours).unwrap();
        peer.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        (ssl, peer)
    };

    let parked = connect();
    store.replace(CertSet::new().host("localhost", second.certified_key()).unwrap());
    drop(first);
    for (mut ssl, mut peer) in [parked, connect()] {
        device.answer();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        peer.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    }
    let shown = shown.lock().unwrap();
    let expected = [(leaf(&old).clone(), b"good".to_vec()), (leaf(&new).clone(), Vec::new())];
    assert_eq!(*shown, expected);
}

proptest! {
    #[test]
    fn any_name_is_looked_up_without_a_panic(name in "\\PC{0,30}") {
        let key = certified(&["*.a.example"]);
        let store = CertStore::new(CertSet::new().host("*.a.example", &key).unwrap());
        let found = store.get(Some(&name)).is_some();
        prop_assert!(!found || name.to_ascii_lowercase().ends_with(".a.example"));
    }
}
