//! Everything that depends on the version of rustls: 0.23.
//!
//! What rustls 0.24 changes, as far as its development versions show: `Signer::sign` consumes the signer;
//! `SigningKey::algorithm` goes and `public_key` becomes mandatory; records are processed as
//! `process_new_packets(&mut input, &mut plaintext)`; providers are crates of their own. Each of these touches this
//! file only.

use core::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crypto_ops::{Algorithm, CryptoOp, KeyHandle, Scheme, SignOp};
use engine_core::{Engine, EngineError};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{ClientConnection, OtherError, ServerConnection, SignatureAlgorithm, SignatureScheme};

/// An error of the TLS implementation.
pub use rustls::Error as TlsError;
pub(crate) use rustls::pki_types::ServerName;
pub(crate) use rustls::{ClientConfig, Connection, ServerConfig};

/// A TLS connection, boxed: it is larger than what can be passed by value onto a fiber.
pub(crate) struct Tls(Box<Connection>);

impl Tls {
    /// A server's connection. Reaches no hook.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self(Box::new(ServerConnection::new(config)?.into())))
    }

    /// A client's connection. Starts the key exchange, so it belongs in a job.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsError> {
        Ok(Self(Box::new(ClientConnection::new(config, name)?.into())))
    }

    /// Processes what has been read. Reaches hooks, so it belongs in a job.
    pub(crate) fn process(&mut self) -> Result<(), TlsError> {
        self.0.process_new_packets().map(drop)
    }

    /// Reads ciphertext, as much as one read gives.
    pub(crate) fn fill(&mut self, io: &mut dyn Read) -> io::Result<usize> {
        self.0.read_tls(io)
    }

    /// Writes ciphertext until none is left.
    pub(crate) fn flush(&mut self, io: &mut dyn Write) -> io::Result<()> {
        while self.0.wants_write() {
            if self.0.write_tls(io)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Reads plaintext: `WouldBlock` if there is none yet, 0 after `close_notify`, `UnexpectedEof` after an end of
    /// file without one.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.reader().read(into)
    }

    /// Takes plaintext to be sent, as much as its buffer holds.
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.writer().write(data)
    }

    pub(crate) fn send_close_notify(&mut self) {
        self.0.send_close_notify();
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0
    }
}

/// A signing key whose signatures an engine computes. Give it to rustls like any other, in a `CertifiedKey`.
///
/// Within a job of a session with async mode on, `sign` pauses; elsewhere it blocks.
///
/// `scheme`s are offered in the order of [`KeyHandle::schemes`].
pub fn offload_key(engine: Arc<Engine<CryptoOp>>, key: KeyHandle) -> Arc<dyn SigningKey> {
    Arc::new(OffloadedKey { engine, key })
}

#[derive(Debug)]
struct OffloadedKey {
    engine: Arc<Engine<CryptoOp>>,
    key: KeyHandle,
}

impl SigningKey for OffloadedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.key.schemes().iter().find(|s| offered.contains(&code_point(**s)))?;
        let (engine, key) = (Arc::clone(&self.engine), self.key.clone());
        Some(Box::new(OffloadedSigner { engine, key, scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.key.public_key()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.key.algorithm() {
            Algorithm::Rsa => SignatureAlgorithm::RSA,
            Algorithm::Ed25519 => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

struct OffloadedSigner {
    engine: Arc<Engine<CryptoOp>>,
    key: KeyHandle,
    scheme: Scheme,
}

impl Signer for OffloadedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        // The request owns a copy: the device must never read from this stack (law L1).
        let op = SignOp::new(self.key.clone(), self.scheme, message.to_vec())
            .map_err(|unfit| TlsError::General(unfit.to_string()))?;
        match self.engine.run(CryptoOp::Sign(op)) {
            Ok(output) => Ok(output.into_signature()),
            Err(error) => Err(wrap(error)),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        code_point(self.scheme)
    }
}

impl fmt::Debug for OffloadedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadedSigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

fn code_point(scheme: Scheme) -> SignatureScheme {
    SignatureScheme::from(scheme.to_u16())
}

/// Sends an engine's error through rustls. [`unwrap`] finds it again on the other side.
fn wrap(error: EngineError) -> TlsError {
    TlsError::Other(OtherError(Arc::new(error)))
}

/// The engine's error inside an error of rustls, if it is one that [`wrap`] made.
pub(crate) fn unwrap(error: &TlsError) -> Option<EngineError> {
    match error {
        TlsError::Other(OtherError(inner)) => inner.downcast_ref::<EngineError>().cloned(),
        _ => None,
    }
}
