//! Certificate verifiers that await an `async fn`.
//!
//! The packet's job awaits the future, so the session parks meanwhile, and the future's waker wakes it. Outside a job, with
//! async mode off for instance, the thread blocks until the future is ready.

use core::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::rustls23::awaiting::wait;
use crate::rustls23::engine_error::wrap;
use crate::rustls23::on_thread::OnThread;
use crate::rustls23::postponed::waits_later;

/// A peer's certificate for an `async fn` to judge. The inner verifier has accepted its chain, names and dates.
#[derive(Debug)]
#[non_exhaustive]
pub struct PeerCertificate<'a> {
    /// The peer's own certificate.
    pub end_entity: &'a CertificateDer<'a>,
    /// The other certificates that the peer sent.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The server's expected name; `None` for a client's certificate.
    pub server_name: Option<&'a ServerName<'a>>,
    /// A stapled OCSP response, if the server sent one; else empty.
    pub ocsp_response: &'a [u8],
    /// The time of the verification.
    pub now: UnixTime,
}

/// Makes a verifier of servers' certificates that awaits `verify` after `inner` has accepted: to ask a revocation service,
/// for instance. `inner` is called on the thread's stack and inside the task's runtime, and must not wait. Give it to rustls with `dangerous().with_custom_certificate_verifier`; it accepts nothing that `inner`
/// refuses.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use std::sync::Arc;
/// # use rustls::client::WebPkiServerVerifier;
/// # use rustls::{CertificateError, ClientConfig, RootCertStore, crypto::aws_lc_rs};
/// # async fn is_revoked(certificate: &[u8]) -> bool { false }
/// # let pem = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let mut roots = RootCertStore::empty();
/// # roots.add(pem.cert.der().clone())?;
/// let provider = Arc::new(aws_lc_rs::default_provider());
/// let chain_is_good =
///     WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
/// let verifier = ssl_async::verify::server_certificate(chain_is_good, async |peer| {
///     match is_revoked(peer.end_entity).await {
///         true => Err(CertificateError::Revoked.into()),
///         false => Ok(()),
///     }
/// });
/// let config = ClientConfig::builder_with_provider(provider)
///     .with_safe_default_protocol_versions()?
///     .dangerous()
///     .with_custom_certificate_verifier(verifier)
///     .with_no_client_auth();
/// assert!(config.enable_sni);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn server_certificate<F>(
    inner: Arc<dyn ServerCertVerifier>,
    verify: F,
) -> Arc<dyn ServerCertVerifier>
where
    F: AsyncFn(PeerCertificate<'_>) -> Result<(), Error> + Send + Sync + 'static,
{
    Arc::new(AsyncServerVerifier { inner: OnThread::new(inner), verify })
}

/// Makes a verifier of clients' certificates that awaits `verify` after `inner` has accepted. `inner` is called on the thread's
/// stack and inside the task's runtime, and must not wait. Give it to rustls with
/// `with_client_cert_verifier`; it accepts nothing that `inner` refuses.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use std::sync::Arc;
/// # use rustls::server::WebPkiClientVerifier;
/// # use rustls::{CertificateError, RootCertStore, ServerConfig, crypto::aws_lc_rs};
/// # async fn may_enter(certificate: &[u8]) -> bool { true }
/// # let pem = rcgen::generate_simple_self_signed(["client".to_owned()])?;
/// # let mut roots = RootCertStore::empty();
/// # roots.add(pem.cert.der().clone())?;
/// let provider = Arc::new(aws_lc_rs::default_provider());
/// let chain_is_good =
///     WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
/// let verifier = ssl_async::verify::client_certificate(chain_is_good, async |peer| {
///     match may_enter(peer.end_entity).await {
///         true => Ok(()),
///         false => Err(CertificateError::ApplicationVerificationFailure.into()),
///     }
/// });
/// let builder = ServerConfig::builder_with_provider(provider)
///     .with_safe_default_protocol_versions()?
///     .with_client_cert_verifier(verifier);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn client_certificate<F>(
    inner: Arc<dyn ClientCertVerifier>,
    verify: F,
) -> Arc<dyn ClientCertVerifier>
where
    F: AsyncFn(PeerCertificate<'_>) -> Result<(), Error> + Send + Sync + 'static,
{
    Arc::new(AsyncClientVerifier { inner: OnThread::new(inner), verify })
}

/// What both traits of verifiers have in common.
macro_rules! delegate_the_rest {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.call(|inner| inner.verify_tls12_signature(message, cert, dss))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.call(|inner| inner.verify_tls13_signature(message, cert, dss))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.inner.hook().supported_verify_schemes()
        }

        fn requires_raw_public_keys(&self) -> bool {
            self.inner.hook().requires_raw_public_keys()
        }
    };
}

struct AsyncServerVerifier<F> {
    inner: OnThread<dyn ServerCertVerifier>,
    verify: F,
}

impl<F> ServerCertVerifier for AsyncServerVerifier<F>
where
    F: AsyncFn(PeerCertificate<'_>) -> Result<(), Error> + Send + Sync,
{
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.call(|inner| {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        })?;
        let server_name = Some(server_name);
        let peer = PeerCertificate { end_entity, intermediates, server_name, ocsp_response, now };
        wait(|| (self.verify)(peer)).map_err(wrap)??;
        Ok(verified)
    }

    delegate_the_rest!();

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.hook().root_hint_subjects()
    }
}

impl<F> fmt::Debug for AsyncServerVerifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncServerVerifier").field("inner", &self.inner).finish_non_exhaustive()
    }
}

struct AsyncClientVerifier<F> {
    inner: OnThread<dyn ClientCertVerifier>,
    verify: F,
}

impl<F> ClientCertVerifier for AsyncClientVerifier<F>
where
    F: AsyncFn(PeerCertificate<'_>) -> Result<(), Error> + Send + Sync,
{
    fn offer_client_auth(&self) -> bool {
        waits_later();
        self.inner.hook().offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.hook().client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.hook().root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified =
            self.inner.call(|inner| inner.verify_client_cert(end_entity, intermediates, now))?;
        let (server_name, ocsp_response) = (None, &[][..]);
        let peer = PeerCertificate { end_entity, intermediates, server_name, ocsp_response, now };
        wait(|| (self.verify)(peer)).map_err(wrap)??;
        Ok(verified)
    }

    delegate_the_rest!();
}

impl<F> fmt::Debug for AsyncClientVerifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClientVerifier").field("inner", &self.inner).finish_non_exhaustive()
    }
}
