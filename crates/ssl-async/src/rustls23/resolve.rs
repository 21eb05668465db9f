//! The choice of a certificate as an `async fn`.
//!
//! The future is awaited inside the packet's job, so the session parks meanwhile and is woken by the future's waker.
//! Outside a job, with async mode off for instance, the thread blocks until the future is ready.

use core::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::rustls23::awaiting::wait;

/// A certificate resolver from an `async fn`, for a server that asks elsewhere which certificate to show.
///
/// Give it to rustls with `with_cert_resolver`. `None` ends the handshake, and the host is logged.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use std::sync::Arc;
/// # use rustls::{ServerConfig, crypto::aws_lc_rs, sign::CertifiedKey};
/// # async fn fetch(name: String) -> Option<Arc<CertifiedKey>> { None }
/// // Ask the certificate store over the network, by the name that the client wants.
/// let resolver = ssl_async::resolve::server_certificate(async |hello| {
///     let name = hello.server_name()?.to_owned();
///     fetch(name).await
/// });
/// let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
///     .with_safe_default_protocol_versions()?
///     .with_no_client_auth()
///     .with_cert_resolver(resolver);
/// assert_eq!(config.max_early_data_size, 0);
/// # }
/// # Ok::<(), rustls::Error>(())
/// ```
pub fn server_certificate<F>(resolve: F) -> Arc<dyn ResolvesServerCert>
where
    F: AsyncFn(ClientHello<'_>) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    Arc::new(AsyncResolver(resolve))
}

struct AsyncResolver<F>(F);

impl<F> ResolvesServerCert for AsyncResolver<F>
where
    F: AsyncFn(ClientHello<'_>) -> Option<Arc<CertifiedKey>> + Send + Sync,
{
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        wait(|| self.0(hello)).ok()?
    }
}

impl<F> fmt::Debug for AsyncResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncResolver")
    }
}

/// What a server wants to see of a client's certificate.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CertificateRequest<'a> {
    /// The authorities it trusts, as DER of their distinguished names; empty if it does not say.
    pub authorities: &'a [&'a [u8]],
    /// The signature schemes it takes.
    pub schemes: &'a [SignatureScheme],
}

/// A certificate resolver from an `async fn`, for a client that asks elsewhere which certificate to show.
///
/// Give it to rustls with `with_client_cert_resolver`. `None` shows none.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use std::sync::Arc;
/// # use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, sign::CertifiedKey};
/// # async fn fetch(authority: &[u8]) -> Option<Arc<CertifiedKey>> { None }
/// let resolver = ssl_async::resolve::client_certificate(async |wanted| {
///     fetch(wanted.authorities.first()?).await
/// });
/// let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
///     .with_safe_default_protocol_versions()?
///     .with_root_certificates(RootCertStore::empty())
///     .with_client_cert_resolver(resolver);
/// assert!(config.enable_sni);
/// # }
/// # Ok::<(), rustls::Error>(())
/// ```
pub fn client_certificate<F>(resolve: F) -> Arc<dyn ResolvesClientCert>
where
    F: AsyncFn(CertificateRequest<'_>) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    Arc::new(AsyncClientResolver(resolve))
}

struct AsyncClientResolver<F>(F);

impl<F> ResolvesClientCert for AsyncClientResolver<F>
where
    F: AsyncFn(CertificateRequest<'_>) -> Option<Arc<CertifiedKey>> + Send + Sync,
{
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        wait(|| self.0(CertificateRequest { authorities, schemes })).ok()?
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl<F> fmt::Debug for AsyncClientResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncClientResolver")
    }
}
