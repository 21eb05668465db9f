//! What every server gets: a certificate, the key behind it, and clients that know it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PSS_SHA256, RsaKeyPair,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::heartbeat::Heartbeat;
use crate::key::SimulatedKey;

pub(crate) const SERVER_NAME: &str = "localhost";

/// The type of the server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Suite {
    P256,
    Rsa2048,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "ECDSA P-256",
            Self::Rsa2048 => "RSA-2048",
        })
    }
}

/// What a server is given.
pub struct Site {
    pub suite: Suite,
    /// The one certificate, signed by its own key.
    pub chain: Vec<CertificateDer<'static>>,
    pub certificate_pem: String,
    pub private_key_pem: String,
    /// The key, slow.
    pub key: SimulatedKey,
    pub heartbeat: Arc<Heartbeat>,
    /// Handshakes that are in flight at most.
    pub concurrent: usize,
    private: Arc<Private>,
    pkcs8: Vec<u8>,
    garbage: Vec<u8>,
}

/// The key in software, which the simulated key signs with.
enum Private {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Private {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::P256(key) => key.sign(&random, message).expect("it signs").as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PSS_SHA256, &random, message, &mut signature).expect("it signs");
                signature
            }
        }
    }

    fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        let digest = Digest::import_less_safe(digest, &SHA256).expect("SHA-256, as both ends know");
        match self {
            Self::P256(key) => key.sign_digest(&digest).expect("it signs").as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(&RSA_PSS_SHA256, &digest, &mut signature).expect("it signs");
                signature
            }
        }
    }
}

impl Site {
    pub(crate) fn new(suite: Suite, key: SimulatedKey, concurrent: usize) -> Result<Self, Problem> {
        let pair = match suite {
            Suite::P256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
            Suite::Rsa2048 => rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)?,
        };
        let params = rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        let certificate = params.self_signed(&pair)?;
        let pkcs8 = pair.serialize_der();
        let private = match suite {
            Suite::P256 => {
                Private::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)?)
            }
            Suite::Rsa2048 => Private::Rsa(rsa::KeyPair::from_pkcs8(&pkcs8)?),
        };
        Ok(Self {
            suite,
            chain: vec![certificate.der().clone()],
            certificate_pem: certificate.pem(),
            private_key_pem: pair.serialize_pem(),
            key,
            heartbeat: Arc::new(Heartbeat::new()),
            concurrent,
            garbage: private.sign(b"not what a client would like to see signed"),
            private: Arc::new(private),
            pkcs8,
        })
    }

    /// Asks the key to sign `message`; `answer` gets the signature, on the key's thread.
    pub fn ask(&self, message: Vec<u8>, answer: impl FnOnce(Vec<u8>) + Send + 'static) {
        let private = Arc::clone(&self.private);
        self.key.ask(move || private.sign(&message), answer);
    }

    /// As [`ask`](Self::ask), for a message that has been hashed.
    pub fn ask_digest(&self, digest: Vec<u8>, answer: impl FnOnce(Vec<u8>) + Send + 'static) {
        let private = Arc::clone(&self.private);
        self.key.ask(move || private.sign_digest(&digest), answer);
    }

    /// Asks the key and waits, as the library of a hardware module does.
    pub fn sign_blocking(&self, message: Vec<u8>) -> Vec<u8> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.ask(message, move |signature| drop(answer.send(signature)));
        answered.recv().expect("the key answers")
    }

    /// A signature of the right size, over something else.
    pub fn garbage(&self) -> Vec<u8> {
        self.garbage.clone()
    }

    /// The key in software, as rustls has it.
    ///
    /// # Errors
    ///
    /// None: the key is one that rustls knows.
    pub fn software_key(&self) -> Result<Arc<dyn SigningKey>, Problem> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()));
        Ok(rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?)
    }

    /// A configuration of rustls: one certificate, TLS 1.3, no tickets.
    ///
    /// # Errors
    ///
    /// What rustls says about `provider`.
    pub fn rustls_config(
        &self,
        provider: CryptoProvider,
        key: Arc<dyn SigningKey>,
    ) -> Result<Arc<ServerConfig>, Problem> {
        let certified = CertifiedKey::new(self.chain.clone(), key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// What all clients can: one suite, one group, so that every server computes the same.
pub(crate) fn client_provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    }
}

/// The schemes that a client accepts, one for each [`Suite`].
pub(crate) fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("suite", &self.suite).finish_non_exhaustive()
    }
}
