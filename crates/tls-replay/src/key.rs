//! A key whose signatures are postponed.

use core::any::Any;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::error::ABANDONED;
use crate::pass::{self, Mode};

/// A key that a [`Session`](crate::Session) does not sign with: the session parks, and its caller brings the signature.
///
/// Used by rustls outside a session, it signs with the key that it wraps, on the calling thread.
#[derive(Debug)]
pub struct ReplayKey {
    inner: Arc<dyn SigningKey>,
    context: Option<KeyContext>,
}

#[derive(Clone)]
struct KeyContext(Arc<dyn Any + Send + Sync>);

impl fmt::Debug for KeyContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl ReplayKey {
    /// Postpones the signatures of `inner`, which still says what schemes and which public key it has.
    pub fn new(inner: Arc<dyn SigningKey>) -> Self {
        Self { inner, context: None }
    }

    /// Hands `context` over with each question, as [`Session::context`](crate::Session::context): for programs with
    /// more than one key, where this one is to be found.
    #[must_use]
    pub fn with_context(mut self, context: Arc<dyn Any + Send + Sync>) -> Self {
        self.context = Some(KeyContext(context));
        self
    }
}

impl SigningKey for ReplayKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let (inner, scheme) = pass::call(|| {
            let inner = self.inner.choose_scheme(offered)?;
            let scheme = inner.scheme();
            Some((inner, scheme))
        })?;
        Some(Box::new(ReplaySigner { inner, scheme, context: self.context.clone() }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        pass::call(|| self.inner.public_key())
    }

    /// rustls asks for this between certificate and key exchange: a session learns here that the key postpones.
    fn algorithm(&self) -> SignatureAlgorithm {
        if matches!(pass::mode(), Mode::Rehearsal | Mode::Real) {
            pass::with(|record| record.key_postpones = true);
        }
        pass::call(|| self.inner.algorithm())
    }
}

struct ReplaySigner {
    inner: Box<dyn Signer>,
    /// Asked once: the message is signed in the scheme that rustls writes beside the signature.
    scheme: SignatureScheme,
    context: Option<KeyContext>,
}

impl fmt::Debug for ReplaySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Signer for ReplaySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match pass::mode() {
            Mode::Live | Mode::Delivered => pass::call(|| self.inner.sign(message)),
            Mode::Rehearsal | Mode::Real => {
                let context = self.context.as_ref().map(|context| &context.0);
                let signature = pass::with(|record| record.sign(self.scheme, message, context));
                let signature = signature.ok_or(ABANDONED)?;
                pass::deliver();
                Ok(signature)
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
