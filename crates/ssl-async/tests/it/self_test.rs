//! Tests of keys before they serve, and what is logged of keys that sign wrongly in service.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use engine_core::{EngineError, ThreadPoolBuilder};
use rustls::SignatureScheme;
use rustls::version::{TLS12, TLS13};
use ssl_async::crypto_ops::encoding::raw_from_der;
use ssl_async::offload::SigningWork;
use ssl_async::{
    JobPool, KeyPool, Outcome, SchemeFault, SelfTest, SignError, SignatureFault, SlowKey, Ssl,
    SslContext,
};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};

use crate::key_pool::private;
use crate::support::{Identity, KeyType, ManualDevice, fixture, pipe, provider};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A key whose device answers as `answer` makes of the right signature.
fn key(
    identity: &Identity,
    answer: impl Fn(&SigningWork, Vec<u8>) -> Result<Vec<u8>, SignError> + Send + Sync + 'static,
) -> Arc<SlowKey> {
    let private = private(identity);
    let pool = KeyPool::builder_with_provider(&provider()).blocking(move |work| {
        let signer = private.choose_scheme(&[work.scheme()]).unwrap();
        answer(work, signer.sign(work.message()).unwrap())
    });
    pool.unwrap().key(vec![identity.certificate.clone()], "shop").unwrap()
}

fn test(key: &SlowKey) -> SelfTest {
    block_on(key.self_test())
}

/// The largest that rustls verifies. It takes minutes to make one, so this one was made once.
#[test]
fn an_rsa_key_of_8192_bits_signs_and_a_fault_of_it_is_named() {
    let pem = include_str!("keys/rsa8192.pkcs8.pem");
    let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_RSA_SHA256).unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = made.self_signed(&pair).unwrap().der().clone();
    let identity = Identity { certificate, pem: pem.into() };
    let good = test(&key(&identity, |_, signature| {
        assert_eq!(signature.len(), 1024);
        Ok(signature)
    }));
    assert!(good.is_ok() && good.results().len() == 6, "{good}");
    let bad = test(&key(&identity, |_, mut signature| {
        signature[512] ^= 1;
        Ok(signature)
    }));
    for (scheme, result) in bad.results() {
        let other_key = Err(SchemeFault::Signature(SignatureFault::OtherKey));
        assert_eq!(*result, other_key, "{scheme:?}");
    }
}

#[test]
fn a_good_key_of_each_type_passes_in_all_its_schemes() {
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let fixture = fixture(key_type, 1);
        let key = key(&fixture.identity, |_, signature| Ok(signature));
        let test = test(&key);
        assert!(test.is_ok(), "{test}");
        assert_eq!(test.passed().collect::<Vec<_>>(), key.schemes());
    }
}

#[test]
fn a_key_that_signs_in_raw_form_is_told_what_tls_wants() {
    let fixture = fixture(KeyType::P256, 1);
    let raw = key(&fixture.identity, |_, der| Ok(raw_from_der(&der, 32).unwrap()));
    let test = test(&raw);
    assert_eq!(
        test.to_string(),
        "key \"shop\" signs in 0 of 1 schemes\n  \
         ECDSA_NISTP256_SHA256: 64 bytes: raw r||s, TLS wants DER (`der_from_raw`)"
    );
    assert!(raw.with_schemes(test.passed()).is_err(), "nothing is left to serve with");
}

#[test]
fn a_key_that_is_not_the_certificates_is_found_before_it_serves() {
    let [ours, other] = [KeyType::Rsa2048; 2].map(|key| fixture(key, 1));
    let private = private(&other.identity);
    let mixed_up = key(&ours.identity, move |work, _| {
        Ok(private.choose_scheme(&[work.scheme()]).unwrap().sign(work.message()).unwrap())
    });
    let test = test(&mixed_up);
    let fault = Err(SchemeFault::Signature(SignatureFault::OtherKey));
    assert!(test.results().iter().all(|(_, result)| *result == fault), "{test}");
}

/// A token that knows no PSS serves TLS 1.2, where the client would have preferred PSS.
#[test]
fn a_key_that_refuses_pss_says_so_and_serves_what_it_can() {
    let fixture = fixture(KeyType::Rsa2048, 1);
    let key = key(&fixture.identity, |work, signature| match work.pkcs1_digest_info() {
        Some(_) => Ok(signature),
        None => Err(SignError::permanent("CKR_MECHANISM_INVALID")),
    });
    let test = test(&key);
    let text = test.to_string();
    assert!(text.ends_with("refuses PSS: no TLS 1.3 with this key"), "{text}");
    assert!(text.contains("RSA_PSS_SHA256: the device failed: it refuses: CKR_MECHANISM_INVALID"));
    let key = key.with_schemes(test.passed()).unwrap();
    for (version, serves) in [(&TLS12, true), (&TLS13, false)] {
        let (ours, theirs) = pipe();
        let mut peer = fixture.client(version, theirs);
        let context = SslContext::server(Arc::new(key.server_config())).async_mode(false);
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        peer.step();
        match (ssl.do_handshake(), serves) {
            (Ok(Outcome::WantRead), true) => {
                peer.step();
                assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
            }
            (Err(_), false) => {}
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
}

#[test]
fn a_key_that_does_not_answer_is_not_signed_rather_than_wrong() {
    let fixture = fixture(KeyType::Ed25519, 1);
    let key = key(&fixture.identity, |_, signature| Ok(signature));
    key.engine().close();
    let test = test(&key);
    let [(SignatureScheme::ED25519, Err(SchemeFault::NotSigned(EngineError::Refused(_))))] =
        test.results()
    else {
        panic!("{test}")
    };
}

/// The fields `fault` of the events of one name.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Faults {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Fault(String);
        impl tracing::field::Visit for Fault {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "fault" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut fault = Fault(String::new());
        event.record(&mut fault);
        if *event.metadata().level() == tracing::Level::ERROR && !fault.0.is_empty() {
            self.0.lock().unwrap().push(fault.0);
        }
    }
}

#[test]
fn a_key_that_signs_wrongly_in_service_is_logged_at_error_with_what_is_wrong_and_not_each_time() {
    let [ours, other] = [KeyType::Rsa2048; 2].map(|key| fixture(key, 1));
    let private = private(&other.identity);
    let device = ManualDevice::doing(64, move |work: &SigningWork| {
        Ok(private.choose_scheme(&[work.scheme()]).unwrap().sign(work.message()).unwrap())
    });
    let pool = KeyPool::builder_with_provider(&provider()).accelerator(device.clone()).unwrap();
    let key = pool.key(vec![ours.identity.certificate.clone()], "shop").unwrap();
    let faults = Faults::default();
    let jobs = JobPool::new();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(faults.clone()), || {
        for _ in 0..50 {
            let signer = key.certified_key().key.choose_scheme(key.schemes()).unwrap();
            let started = jobs.start(move || signer.sign(b"a transcript"));
            let job_core::Step::Paused(job) = started.unwrap() else { panic!("it waits") };
            device.answer();
            let job_core::Step::Finished(signed) = job.resume() else { panic!("it waits") };
            let error = signed.unwrap_err().to_string();
            assert!(error.contains("another key than the certificate's"), "{error}");
        }
    });
    let faults = faults.0.lock().unwrap();
    assert_eq!(faults[0], "another key than the certificate's");
    assert!(faults.len() < 50, "{} lines for one cause", faults.len());
}

#[test]
fn a_standby_that_signs_rightly_does_not_hide_a_key_that_signs_wrongly() {
    let fixture = fixture(KeyType::Ed25519, 1);
    let private_key = private(&fixture.identity);
    let standby = ThreadPoolBuilder::new().threads(1).build(move |work: &SigningWork| {
        let signer = private_key.choose_scheme(&[work.scheme()]).unwrap();
        Ok(signer.sign(work.message()).unwrap())
    });
    let private_key = private(&fixture.identity);
    let builder = KeyPool::builder_with_provider(&provider()).standby(Arc::new(standby));
    let pool = builder.blocking(move |work| {
        let signer = private_key.choose_scheme(&[work.scheme()]).unwrap();
        let mut signature = signer.sign(work.message()).unwrap();
        signature[9] ^= 1;
        Ok::<_, SignError>(signature)
    });
    let key = pool.unwrap().key(vec![fixture.identity.certificate.clone()], "shop").unwrap();
    let test = test(&key);
    assert!(!test.is_ok() && test.passed().next().is_none(), "{test}");
}
