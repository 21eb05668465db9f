//! The clients' configuration: they trust the certificate, and verify every sixteenth signature, so that the figures are
//! those of a server that works while the clients leave it the processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::site::{SERVER_NAME, client_provider, schemes};

/// One signature in this many is verified.
pub(crate) const VERIFIED: u64 = 16;

/// A configuration of clients; those of a server with a garbage signature cannot be `verifying`.
pub(crate) fn config(verifying: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(client_provider());
    let verifier = Verifier { provider: Arc::clone(&provider), verifying, seen: AtomicU64::new(0) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has a suite of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// A client that has not said its hello yet.
pub(crate) fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
    ClientConnection::new(Arc::clone(config), name).expect("a valid configuration")
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    verifying: bool,
    seen: AtomicU64,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        if !self.verifying || !number.is_multiple_of(VERIFIED) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
