//! Certificate resolvers that await an `async fn`.
//!
//! The packet's job awaits the future, so the session parks meanwhile, and the future's waker wakes it. Outside a job, with
//! async mode off for instance, the thread blocks until the future is ready.

use core::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::rustls23::awaiting::wait;
use crate::rustls23::replay::needs_fiber;

/// Makes a server's certificate resolver from an `async fn`, to choose the certificate by a remote store for instance.
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
        if needs_fiber("the choice of the certificate waits") {
            return None;
        }
        wait(|| self.0(hello)).ok()?
    }
}

impl<F> fmt::Debug for AsyncResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncResolver")
    }
}

/// A server's requirements for the client's certificate.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CertificateRequest<'a> {
    /// The distinguished names of the trusted authorities, as DER; empty if the server names none.
    pub authorities: &'a [&'a [u8]],
    /// The accepted signature schemes.
    pub schemes: &'a [SignatureScheme],
}

/// Makes a client's certificate resolver from an `async fn`.
///
/// Give it to rustls with `with_client_cert_resolver`. With `None` the client sends no certificate.
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
