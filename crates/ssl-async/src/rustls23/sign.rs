//! Signatures by an engine, for keys that a [`KeyHandle`] names.

use core::fmt;
use std::sync::Arc;

use crypto_ops::{Algorithm, CryptoOp, CryptoOutput, KeyHandle, Scheme, SchemeMismatch, SignOp};
use engine_core::{CheckFailed, DeviceError, Engine, EngineError};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use wait_ctx::Notifier;

use crate::rustls23::at_once;
use crate::rustls23::engine_error::wrap;
use crate::rustls23::postponed::{
    Message, PendingAnswer, Reply, SubmitSignature, no_scheme, postponing, refused, submit,
};

/// Makes a signing key whose signatures `engine` computes. Give it to rustls like any other, in a `CertifiedKey`.
///
/// In a session with async mode on, `sign` pauses the packet; elsewhere it blocks. Schemes are preferred in the order of
/// [`KeyHandle::schemes`].
pub fn key_handle(engine: Arc<Engine<CryptoOp>>, key: KeyHandle) -> Arc<dyn SigningKey> {
    postponing(HandleKey { engine, key })
}

#[derive(Debug)]
struct HandleKey {
    engine: Arc<Engine<CryptoOp>>,
    key: KeyHandle,
}

impl SubmitSignature for HandleKey {
    fn submit(
        &self,
        scheme: SignatureScheme,
        message: &Message,
        notifier: Option<&Notifier>,
    ) -> PendingAnswer {
        let Some(signer) = self.signer(&[scheme]) else { return no_scheme() };
        match signer.op(message) {
            Ok(op) => submit(&self.engine, op, notifier, |output| {
                output.and_then(signature_of).map(Reply::Signature)
            }),
            Err(unfit) => refused(DeviceError::reported(&unfit)),
        }
    }
}

impl SigningKey for HandleKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.signer(offered)?))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.key.public_key()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        algorithm_of(&self.key)
    }
}

impl HandleKey {
    fn signer(&self, offered: &[SignatureScheme]) -> Option<HandleSigner> {
        let scheme = *self.key.schemes().iter().find(|s| offered.contains(&code_point(**s)))?;
        let (engine, key) = (Arc::clone(&self.engine), self.key.clone());
        Some(HandleSigner { engine, key, scheme })
    }
}

struct HandleSigner {
    engine: Arc<Engine<CryptoOp>>,
    key: KeyHandle,
    scheme: Scheme,
}

impl HandleSigner {
    /// With a copy of the message: the device must never read from this stack.
    fn op(&self, message: &[u8]) -> Result<CryptoOp, SchemeMismatch> {
        SignOp::new(self.key.clone(), self.scheme, message.to_vec()).map(CryptoOp::Sign)
    }
}

fn signature_of(output: CryptoOutput) -> Result<Vec<u8>, EngineError> {
    output.into_signature().ok_or(SHAPE)
}

impl Signer for HandleSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let op = self.op(message).map_err(|unfit| Error::General(unfit.to_string()))?;
        at_once::run(&self.engine, op, "a signature").and_then(signature_of).map_err(wrap)
    }

    fn scheme(&self) -> SignatureScheme {
        code_point(self.scheme)
    }
}

impl fmt::Debug for HandleSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleSigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// A result of another kind that the engine let through unchecked.
const SHAPE: EngineError = EngineError::Invalid(CheckFailed("the result is no signature"));

fn algorithm_of(key: &KeyHandle) -> SignatureAlgorithm {
    match key.algorithm() {
        Algorithm::Rsa => SignatureAlgorithm::RSA,
        Algorithm::Ed25519 => SignatureAlgorithm::ED25519,
        _ => SignatureAlgorithm::ECDSA,
    }
}

fn code_point(scheme: Scheme) -> SignatureScheme {
    SignatureScheme::from(scheme.to_u16())
}
