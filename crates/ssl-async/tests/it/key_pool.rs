//! A pool that signs for several keys: who signs what, states of threads, and which errors are tried again.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::{EngineError, Shutdown};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use ssl_async::crypto_ops::encoding::{der_from_raw, raw_from_der};
use ssl_async::offload::{PublicKeyError, SigningWork};
use ssl_async::{KeyPool, KeyPoolBuilder, SignError, SlowKey, SlowKeyError};

use crate::support::{Identity, KeyType, fixture, provider};

/// The software key of an identity.
pub(crate) fn private(identity: &Identity) -> Arc<dyn SigningKey> {
    let der = PrivateKeyDer::from_pem_slice(identity.pem.as_bytes()).unwrap();
    any_supported_type(&der).unwrap()
}

fn chain(identity: &Identity) -> Vec<CertificateDer<'static>> {
    vec![identity.certificate.clone()]
}

/// What a device has: keys by name.
#[derive(Clone, Default)]
struct Token(Arc<HashMap<String, Arc<dyn SigningKey>>>);

impl Token {
    fn of(identities: &[(&str, &Identity)]) -> Self {
        let keys = identities.iter().map(|(name, identity)| ((*name).into(), private(identity)));
        Self(Arc::new(keys.collect()))
    }

    fn sign(&self, work: &SigningWork) -> Result<Vec<u8>, SignError> {
        let key = self.0.get(work.key_id()).ok_or_else(|| SignError::permanent("no such key"))?;
        let signer = key.choose_scheme(&[work.scheme()]).expect("a scheme of the key");
        signer.sign(work.message()).map_err(SignError::transient)
    }
}

fn builder() -> KeyPoolBuilder {
    KeyPool::builder_with_provider(&provider()).threads(2)
}

fn sign(key: &SlowKey) -> Result<Vec<u8>, String> {
    let signer = key.certified_key().key.choose_scheme(key.schemes()).expect("a scheme");
    signer.sign(b"a transcript").map_err(|error| error.to_string())
}

#[test]
fn l12_one_pool_signs_with_the_key_that_was_asked_for() {
    let [a, b, c] = [KeyType::P256, KeyType::P384, KeyType::Rsa2048].map(|key| fixture(key, 1));
    let token = Token::of(&[("a", &a.identity), ("b", &b.identity), ("c", &c.identity)]);
    let pool = builder().blocking(move |work| token.sign(work)).unwrap();
    let keys = [("a", &a), ("b", &b), ("c", &c)]
        .map(|(name, fixture)| pool.key(chain(&fixture.identity), name).unwrap());
    for key in keys.iter().cycle().take(9) {
        sign(key).unwrap();
    }
    assert_eq!((pool.stats().completed, pool.stats().checked), (9, 9));
    assert_eq!(keys.map(|key| key.id().to_owned()), ["a", "b", "c"]);
    // A name that the token does not know.
    let unknown = pool.key(chain(&a.identity), "d").unwrap();
    assert!(sign(&unknown).unwrap_err().contains("no such key"));
    // The key of another certificate.
    let mixed_up = pool.key(chain(&a.identity), "b").unwrap();
    assert!(sign(&mixed_up).is_err());
}

#[test]
fn a_request_has_the_digest_and_what_pkcs1_pads() {
    let rsa = fixture(KeyType::Rsa2048, 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (token, see) = (Token::of(&[("", &rsa.identity)]), Arc::clone(&seen));
    let pool = builder().blocking(move |work| {
        see.lock().unwrap().push((work.digest(), work.pkcs1_digest_info()));
        token.sign(work)
    });
    let key = pool.unwrap().key(chain(&rsa.identity), "").unwrap();
    for scheme in key.schemes() {
        sign(&key.with_schemes([*scheme]).unwrap()).unwrap();
    }
    let seen = seen.lock().unwrap();
    let lengths = seen
        .iter()
        .map(|(digest, info)| (digest.as_ref().map(Vec::len), info.as_ref().map(Vec::len)));
    let expected = [
        (Some(32), None),
        (Some(48), None),
        (Some(64), None),
        (Some(32), Some(51)),
        (Some(48), Some(67)),
        (Some(64), Some(83)),
    ];
    assert_eq!(lengths.collect::<Vec<_>>(), expected);
}

/// A session that stays on its thread.
struct Session {
    signatures: Rc<Cell<usize>>,
    closed: Arc<AtomicUsize>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn l8_a_session_is_reopened_when_the_closure_says_so_and_the_signature_is_made() {
    let ec = fixture(KeyType::P256, 1);
    let token = Token::of(&[("", &ec.identity)]);
    let (opened, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (opens, closes) = (Arc::clone(&opened), Arc::clone(&closed));
    let open = move || {
        opens.fetch_add(1, Ordering::SeqCst);
        Ok::<_, SignError>(Session { signatures: Rc::default(), closed: Arc::clone(&closes) })
    };
    let pool = builder().threads(1).with_state(open, move |session: &mut Session, work| {
        // The token closes a session after three signatures.
        if session.signatures.replace(session.signatures.get() + 1) == 3 {
            return Err(SignError::reopen("the session was closed"));
        }
        token.sign(work)
    });
    let pool = pool.unwrap();
    let key = pool.key(chain(&ec.identity), "").unwrap();
    for _ in 0..7 {
        sign(&key).unwrap();
    }
    assert_eq!((opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (3, 2));
    assert_eq!(key.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    assert_eq!(closed.load(Ordering::SeqCst), 3, "every session is closed");
}

#[test]
fn a_wrong_pin_is_given_once_and_an_unreachable_token_is_asked_each_time() {
    let ec = fixture(KeyType::P256, 1);
    for (error, expected) in
        [(SignError::permanent("wrong PIN"), 1), (SignError::transient("token away"), 3)]
    {
        let opened = Arc::<AtomicUsize>::default();
        let (opens, text) = (Arc::clone(&opened), error.to_string());
        let open = move || {
            opens.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(error.clone())
        };
        let pool = builder().with_state(open, |(), _| Ok::<_, SignError>(Vec::new())).unwrap();
        let key = pool.key(chain(&ec.identity), "").unwrap();
        for _ in 0..3 {
            assert!(sign(&key).unwrap_err().contains(&text));
        }
        assert_eq!(opened.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn threads_that_begin_together_give_a_wrong_pin_once() {
    let ec = fixture(KeyType::P256, 1);
    let opened = Arc::<AtomicUsize>::default();
    let opens = Arc::clone(&opened);
    let open = move || {
        opens.fetch_add(1, Ordering::SeqCst);
        // The other thread has the time to get here as well.
        for _ in 0..100_000 {
            if opens.load(Ordering::SeqCst) > 1 {
                break;
            }
            std::thread::yield_now();
        }
        Err::<(), _>(SignError::permanent("wrong PIN"))
    };
    let pool = builder().with_state(open, |(), _| Ok::<_, SignError>(Vec::new())).unwrap();
    let key = pool.key(chain(&ec.identity), "").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert!(sign(&key).unwrap_err().contains("wrong PIN")));
        }
    });
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_signature_that_fails_transiently_is_tried_again_and_one_that_is_denied_is_not() {
    let ec = fixture(KeyType::P256, 1);
    for (error, calls, signed) in [
        (SignError::transient("lost"), 3, true),
        (SignError::retry_after(Duration::from_millis(1), "throttled"), 3, true),
        (SignError::permanent("denied"), 1, false),
    ] {
        let token = Token::of(&[("", &ec.identity)]);
        let called = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&called);
        let sign_third = move |work: &SigningWork| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(error.clone()),
            _ => token.sign(work),
        };
        let pool = builder().attempts(3).blocking(sign_third).unwrap();
        let key = pool.key(chain(&ec.identity), "").unwrap();
        assert_eq!(sign(&key).is_ok(), signed);
        assert_eq!(called.load(Ordering::SeqCst), calls);
        assert_eq!(key.stats().attempts_again, calls as u64 - 1);
    }
}

#[test]
fn a_full_queue_refuses_at_its_bound() {
    let ec = fixture(KeyType::P256, 1);
    let device = crate::support::ManualDevice::doing(1, SigningWork::sign);
    let pool = builder().queue_bound(2).accelerator(device.clone()).unwrap();
    let key = pool.key(chain(&ec.identity), "").unwrap();
    let jobs = ssl_async::JobPool::new();
    let mut parked = Vec::new();
    let refused = (0..5).find_map(|n| {
        let signer = key.certified_key().key.choose_scheme(key.schemes()).unwrap();
        match jobs.start(move || signer.sign(b"a transcript")).unwrap() {
            job_core::Step::Paused(job) => {
                parked.push(job);
                None
            }
            job_core::Step::Finished(result) => Some((n, result.unwrap_err().to_string())),
        }
    });
    let (n, error) = refused.expect("one is refused");
    assert_eq!(n, 3, "one on the device, two in the queue");
    assert!(error.contains("queue is full"), "{error}");
}

#[test]
fn a_key_offers_only_the_schemes_that_it_is_told_to() {
    let rsa = fixture(KeyType::Rsa2048, 1);
    let build = || SlowKey::builder_with_provider(chain(&rsa.identity), &provider()).unwrap();
    let pkcs1 = SignatureScheme::RSA_PKCS1_SHA256;
    let pss = SignatureScheme::RSA_PSS_SHA256;
    for signer in [false, true] {
        let builder = build().schemes([pkcs1]);
        let key = if signer {
            builder.signing_key(private(&rsa.identity)).unwrap()
        } else {
            let private = private(&rsa.identity);
            builder
                .blocking(move |scheme, message| {
                    private.choose_scheme(&[scheme]).unwrap().sign(message)
                })
                .unwrap()
        };
        assert!(key.certified_key().key.choose_scheme(&[pss]).is_none());
        let chosen = key.certified_key().key.choose_scheme(&[pss, pkcs1]).unwrap();
        assert_eq!(chosen.scheme(), pkcs1);
        sign(&key).unwrap();
    }
    let refused = build().schemes([SignatureScheme::ED25519]).signing_key(private(&rsa.identity));
    assert!(matches!(refused, Err(SlowKeyError::Key(PublicKeyError::Scheme(..)))));
    let refused = build().schemes([]).signing_key(private(&rsa.identity));
    assert!(matches!(refused, Err(SlowKeyError::Key(PublicKeyError::NoScheme))));
}

#[test]
fn a_private_key_that_is_not_the_certificates_is_refused_when_it_is_configured() {
    let [a, b] = [KeyType::P256, KeyType::P384].map(|key| fixture(key, 1));
    let builder = SlowKey::builder_with_provider(chain(&a.identity), &provider()).unwrap();
    let refused = builder.signing_key(private(&b.identity));
    assert!(matches!(refused, Err(SlowKeyError::Key(PublicKeyError::OtherKey))));
}

/// A key of any type that rustls can verify.
#[test]
fn keys_of_all_types_sign_behind_a_pool() {
    let types = [
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ML_DSA_44,
        &rcgen::PKCS_ML_DSA_65,
        &rcgen::PKCS_ML_DSA_87,
    ];
    for algorithm in types {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let made = rcgen::CertificateParams::new(vec!["localhost".into()])
            .and_then(|params| params.self_signed(&pair))
            .unwrap();
        let identity = Identity { certificate: made.der().clone(), pem: pair.serialize_pem() };
        let token = Token::of(&[("", &identity)]);
        let pool = builder().blocking(move |work| token.sign(work)).unwrap();
        let key = pool.key(chain(&identity), "").unwrap();
        assert_eq!(key.schemes().len(), 1, "{algorithm:?}");
        let signature = sign(&key).unwrap();
        if let SignatureScheme::ECDSA_NISTP521_SHA512 = key.schemes()[0] {
            let raw = raw_from_der(&signature, 66).unwrap();
            assert_eq!(der_from_raw(&raw).unwrap(), signature);
        }
        assert_eq!(key.stats().checked, 1, "{algorithm:?}");
    }
}

#[test]
fn l14_a_device_that_is_away_costs_its_deadline_a_few_times_and_then_the_standby_is_asked_at_once()
{
    let ec = fixture(KeyType::P256, 1);
    let token = Token::of(&[("", &ec.identity)]);
    let clock = crate::support::TestClock::default();
    // It never answers; the other region does at once.
    let hanging = crate::support::ManualDevice::doing(1_000, SigningWork::sign);
    let far = Arc::new(engine_core::Inline::new(move |work: &SigningWork| {
        token.sign(work).map_err(engine_core::DeviceError::from)
    }));
    let deadline = Duration::from_millis(300);
    let pool = builder().deadline(deadline).standby(far).clock(Arc::new(clock.clone()));
    let pool = pool.accelerator(hanging.clone()).unwrap();
    let key = pool.key(chain(&ec.identity), "").unwrap();
    let jobs = ssl_async::JobPool::new();
    let mut waited = 0;
    for _ in 0..100 {
        let signer = key.certified_key().key.choose_scheme(key.schemes()).unwrap();
        match jobs.start(move || signer.sign(b"a transcript")).unwrap() {
            job_core::Step::Finished(signed) => assert!(signed.is_ok()),
            job_core::Step::Paused(job) => {
                waited += 1;
                clock.advance(deadline);
                pool.engine().poll();
                let job_core::Step::Finished(signed) = job.resume() else { panic!("it waits") };
                assert!(signed.is_ok());
            }
        }
    }
    assert!(waited < 40, "{waited} of 100 waited for a region that is away");
    assert!(pool.stats().trips > 0);
}

#[test]
fn l5_a_request_that_was_dropped_is_not_signed() {
    let ec = fixture(KeyType::P256, 1);
    let device = crate::support::ManualDevice::doing(1, SigningWork::sign);
    let pool = builder().accelerator(device.clone()).unwrap();
    let key = pool.key(chain(&ec.identity), "").unwrap();
    drop(pool);
    let signer = key.certified_key().key.choose_scheme(key.schemes()).unwrap();
    let jobs = ssl_async::JobPool::new();
    let job_core::Step::Paused(job) = jobs.start(move || signer.sign(b"m")).unwrap() else {
        panic!("it waits")
    };
    drop(job);
    device.answer();
    let stats = key.stats();
    assert_eq!((stats.cancelled, stats.late, stats.requests.now), (1, 1, 0));
    key.engine().close();
    let refused = key.certified_key().key.choose_scheme(key.schemes()).unwrap().sign(b"m");
    assert!(refused.unwrap_err().to_string().contains(&closed().to_string()));
}

fn closed() -> EngineError {
    EngineError::Refused(engine_core::RefusedReason::Closed)
}
