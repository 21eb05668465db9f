//! Certificates for a run: an authority made on the spot and a server certificate for `localhost`.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};

use crate::scenario::KeyType;

/// The name that every certificate made here is for.
pub const SERVER_NAME: &str = "localhost";

/// A certificate authority and one server certificate that it issued, for `localhost` and for a name that says the type of
/// its key, like `p256.localhost`.
///
/// The private key is in [`key_pem`](Self::key_pem) and must not be logged; the type's `Debug` leaves it out.
#[derive(Clone)]
pub struct TestPki {
    pub key: KeyType,
    /// The authority's certificate.
    pub ca: CertificateDer<'static>,
    /// The same as PEM, for `--cacert` of other programs.
    pub ca_pem: String,
    pub certificate: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate_pem: String,
    /// The server's private key as PKCS#8 in PEM.
    pub key_pem: String,
}

impl TestPki {
    /// Makes an authority (always RSA-2048) and a certificate with a fresh key of this type.
    ///
    /// # Errors
    /// What the certificate library says; with these fixed parameters it has no reason to.
    pub fn generate(key: KeyType) -> Result<Self, rcgen::Error> {
        Self::issue(&authority()?, key)
    }

    /// A certificate for each of these types of key, all of one authority.
    pub fn fleet(keys: &[KeyType]) -> Result<Vec<Self>, rcgen::Error> {
        let authority = authority()?;
        keys.iter().map(|&key| Self::issue(&authority, key)).collect()
    }

    /// The server's key, with which the thread that asks signs.
    ///
    /// # Errors
    /// What rustls says about the key; of one that was made here it has no reason to say anything.
    pub fn software_key(&self) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes());
        any_supported_type(&key.map_err(|error| rustls::Error::General(error.to_string()))?)
    }

    fn issue(authority: &CertifiedIssuer<'_, KeyPair>, key: KeyType) -> Result<Self, rcgen::Error> {
        let server_key = match key {
            KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            KeyType::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
            KeyType::Ed25519 => KeyPair::generate_for(&PKCS_ED25519)?,
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        };
        let mut server = CertificateParams::new(vec![SERVER_NAME.to_owned(), name_of(key)])?;
        server.distinguished_name.push(DnType::CommonName, SERVER_NAME);
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let certificate = server.signed_by(&server_key, authority)?;

        Ok(Self {
            key,
            ca: authority.der().clone(),
            ca_pem: authority.pem(),
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: server_key.serialize_pem(),
        })
    }
}

/// The name by which clients ask for the certificate whose key is of this type.
pub fn name_of(key: KeyType) -> String {
    format!("{key}.{SERVER_NAME}")
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Layby laboratory");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    // Each client verifies the chain in each handshake, on the machine that it measures; RSA costs it a third of what
    // ECDSA would.
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    CertifiedIssuer::self_signed(authority, key)
}

impl std::fmt::Debug for TestPki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestPki").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
