//! A test of a key before it serves: one signature in each of its schemes, checked with its certificate.

use core::fmt;
use core::pin::pin;

use engine_core::EngineError;
use rustls::SignatureScheme;

use crate::rustls23::awaiting::block_on;
use crate::rustls23::key_pool::SlowKey;
use crate::rustls23::public_key::{is_pkcs1, is_pss};
use crate::rustls23::signature_fault::SignatureFault;

/// The result of [`SlowKey::self_test`]. Displayed, it names what is wrong, a line for each scheme.
#[derive(Clone, Debug)]
pub struct SelfTest {
    id: Box<str>,
    results: Vec<(SignatureScheme, Result<(), SchemeFault>)>,
}

/// Why a key does not sign in a scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeFault {
    /// It signed, and the signature does not verify with the certificate.
    #[error("{0}")]
    Signature(SignatureFault),
    /// It did not sign.
    #[error("{0}")]
    NotSigned(EngineError),
}

impl SelfTest {
    /// The schemes in the order of the key, with their results.
    pub fn results(&self) -> &[(SignatureScheme, Result<(), SchemeFault>)] {
        &self.results
    }

    /// Whether the key signs in all its schemes.
    pub fn is_ok(&self) -> bool {
        self.results.iter().all(|(_, result)| result.is_ok())
    }

    /// The schemes that the key signs in, for [`SlowKey::with_schemes`].
    pub fn passed(&self) -> impl Iterator<Item = SignatureScheme> {
        self.results.iter().filter(|(_, result)| result.is_ok()).map(|(scheme, _)| *scheme)
    }

    /// Whether an RSA key signs with PKCS #1 padding and not with PSS, which TLS 1.3 requires.
    fn refuses_pss(&self) -> bool {
        let signs = |is: fn(SignatureScheme) -> bool| self.passed().any(is);
        signs(is_pkcs1) && !signs(is_pss) && self.results.iter().any(|(scheme, _)| is_pss(*scheme))
    }
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed().count();
        write!(f, "key {:?} signs in {passed} of {} schemes", self.id, self.results.len())?;
        for (scheme, result) in &self.results {
            if let Err(fault) = result {
                write!(f, "\n  {scheme:?}: {fault}")?;
            }
        }
        if self.refuses_pss() {
            f.write_str("\n  refuses PSS: no TLS 1.3 with this key")?;
        }
        Ok(())
    }
}

impl SlowKey {
    /// Signs once in each scheme and checks the signatures. Do this before the key serves: the result says in the terms of
    /// the device's configuration what is wrong, and which schemes can be offered.
    ///
    /// ```
    /// # async fn start(key: std::sync::Arc<ssl_async::SlowKey>) -> Result<(), Box<dyn std::error::Error>> {
    /// let test = key.self_test().await;
    /// let key = if test.is_ok() {
    ///     key
    /// } else {
    ///     // "key "shop" signs in 3 of 6 schemes ... refuses PSS: no TLS 1.3 with this key"
    ///     eprintln!("{test}");
    ///     key.with_schemes(test.passed())?
    /// };
    /// # let _ = key.server_config();
    /// # Ok(()) }
    /// ```
    ///
    /// The signatures are computed as in a handshake: the deadline, the standby and the breaker of the pool apply, and
    /// without a deadline the test takes as long as the key does. A scheme fails by a wrong signature of the key even if the
    /// standby's is right. The future needs no particular executor.
    pub fn self_test(&self) -> impl Future<Output = SelfTest> + Send + 'static {
        let (id, key) = (self.id().into(), self.key().clone());
        async move {
            let mut results = Vec::new();
            for &scheme in key.schemes() {
                let result = match key.sign_for_test(scheme) {
                    Ok((signing, fault)) => {
                        let signed = signing.await.map(drop).map_err(SchemeFault::NotSigned);
                        // Also where the standby's signature is right.
                        fault.get().map_or(signed, |fault| Err(SchemeFault::Signature(*fault)))
                    }
                    Err(error) => Err(SchemeFault::NotSigned(error)),
                };
                results.push((scheme, result));
            }
            SelfTest { id, results }
        }
    }

    /// As [`self_test`](Self::self_test), and blocks this thread until the end.
    pub fn self_test_blocking(&self) -> SelfTest {
        block_on(pin!(self.self_test()))
    }
}
