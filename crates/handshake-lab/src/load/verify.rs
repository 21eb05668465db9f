//! What the clients check, and how often they did.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::scenario::TlsVersion;

/// Handshake signatures that clients have verified.
#[derive(Debug, Clone, Default)]
pub struct Verified(Arc<AtomicU64>);

impl Verified {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A configuration for clients that trust `ca` alone, or trust blindly without one; X25519, no resumption.
///
/// Blind trust is for the limit row only, whose server sends garbage for a signature.
///
/// # Errors
/// What rustls says about the authority or the version.
pub fn client_config(
    ca: Option<&CertificateDer<'static>>,
    tls: TlsVersion,
    verified: &Verified,
) -> Result<ClientConfig, Error> {
    let provider = CryptoProvider {
        kx_groups: vec![rustls::crypto::aws_lc_rs::kx_group::X25519],
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    client_config_over(provider, ca, tls, verified)
}

/// As [`client_config`], with the key exchange groups and suites of `provider`.
///
/// # Errors
/// As [`client_config`].
pub fn client_config_over(
    provider: CryptoProvider,
    ca: Option<&CertificateDer<'static>>,
    tls: TlsVersion,
    verified: &Verified,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider);
    let version = match tls {
        TlsVersion::Tls12 => &rustls::version::TLS12,
        TlsVersion::Tls13 => &rustls::version::TLS13,
    };
    let web_pki = match ca {
        None => None,
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.clone())?;
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build();
            Some(built.map_err(|error| Error::General(error.to_string()))?)
        }
    };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let verifier = Arc::new(Verifier { web_pki, schemes, verified: verified.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The usual verifier, counted; or none.
#[derive(Debug)]
struct Verifier {
    web_pki: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
    verified: Verified,
}

impl Verifier {
    fn signature(
        &self,
        check: impl FnOnce(&WebPkiServerVerifier) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.web_pki {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(web_pki) => {
                let valid = check(web_pki)?;
                self.verified.0.fetch_add(1, Ordering::Relaxed);
                Ok(valid)
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.web_pki {
            None => Ok(ServerCertVerified::assertion()),
            Some(web_pki) => web_pki.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(|web_pki| web_pki.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(|web_pki| web_pki.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Whether an error means that the server's signature was wrong.
pub fn is_bad_signature(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::BadSignature))
}
