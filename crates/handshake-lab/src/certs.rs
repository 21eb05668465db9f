//! Certificates for a run: an authority made on the spot and a server certificate for `localhost`.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::CertificateDer;

use crate::scenario::KeyType;

/// The name that every certificate made here is for.
pub const SERVER_NAME: &str = "localhost";

/// A certificate authority and one server certificate that it issued.
///
/// The private key is in [`key_pem`](Self::key_pem) and must not be logged; the type's `Debug` leaves it out.
#[derive(Clone)]
pub struct TestPki {
    /// The authority's certificate.
    pub ca: CertificateDer<'static>,
    /// The same as PEM, for `--cacert` of other programs.
    pub ca_pem: String,
    /// The server's certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate_pem: String,
    /// The server's private key as PKCS#8 in PEM.
    pub key_pem: String,
}

impl TestPki {
    /// Makes an authority (always P-256) and a certificate for `localhost` with a fresh key of this type.
    ///
    /// # Errors
    /// What the certificate library says; with these fixed parameters it has no reason to.
    pub fn generate(key: KeyType) -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "Layby laboratory");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let server_key = match key {
            KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        };
        let mut server = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, SERVER_NAME);
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let certificate = server.signed_by(&server_key, &authority)?;

        Ok(Self {
            ca: authority.der().clone(),
            ca_pem: authority.pem(),
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: server_key.serialize_pem(),
        })
    }
}

impl std::fmt::Debug for TestPki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestPki").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
