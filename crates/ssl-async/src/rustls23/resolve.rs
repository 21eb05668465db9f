//! Certificate resolvers that await an `async fn`.
//!
//! In a replay the handshake's owner awaits the future, on a fiber the packet's job does; the session parks meanwhile, and
//! the future's waker wakes it. With neither, with async mode off for instance, the thread blocks until the future is ready.

use core::fmt;
use core::future::Future;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, DistinguishedName, NamedGroup, SignatureScheme};

use crate::rustls23::awaiting::wait;
use crate::rustls23::on_thread;
use crate::rustls23::postponed::{Asked, Reply, give_up, is_asked, postpone_future};

/// Makes a server's certificate resolver from an `async fn`, to choose the certificate by a remote store for instance.
///
/// Give it to rustls with `with_cert_resolver`. `None` ends the handshake, and the host is logged. Each hello is resolved by
/// a clone of `resolve`, which therefore owns what it captures: put an `Arc` around what is not to be cloned.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use std::sync::Arc;
/// # use rustls::{ServerConfig, crypto::aws_lc_rs, sign::CertifiedKey};
/// # async fn fetch(name: String) -> Option<Arc<CertifiedKey>> { None }
/// // Ask the certificate store over the network, by the name that the client wants.
/// let resolver = ssl_async::resolve::server_certificate(async |offer| fetch(offer.server_name?).await);
/// let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
///     .with_safe_default_protocol_versions()?
///     .with_no_client_auth()
///     .with_cert_resolver(resolver);
/// assert_eq!(config.max_early_data_size, 0);
/// # }
/// # Ok::<(), rustls::Error>(())
/// ```
pub fn server_certificate<F, Fut>(resolve: F) -> Arc<dyn ResolvesServerCert>
where
    F: FnOnce(ClientOffer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Option<Arc<CertifiedKey>>> + Send + 'static,
{
    Arc::new(AsyncResolver(resolve))
}

struct AsyncResolver<F>(F);

impl<F, Fut> ResolvesServerCert for AsyncResolver<F>
where
    F: FnOnce(ClientOffer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Option<Arc<CertifiedKey>>> + Send + 'static,
{
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (resolve, offer) = (self.0.clone(), ClientOffer::new(&hello));
        if is_asked(self) {
            postpone_future(self, move || resolve(offer), Reply::Certificate);
            return None;
        }
        if give_up(self, Asked::Certificate) {
            return None;
        }
        wait(|| resolve(offer)).ok()?
    }

    fn only_raw_public_keys(&self) -> bool {
        on_thread::waits();
        false
    }
}

impl<F> fmt::Debug for AsyncResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncResolver")
    }
}

/// What a client's hello offers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOffer {
    /// The name of the server that the client wants.
    pub server_name: Option<String>,
    /// The signature schemes that it verifies.
    pub signature_schemes: Vec<SignatureScheme>,
    /// Its ALPN protocols, by preference; `None` without the extension.
    pub alpn: Option<Vec<Vec<u8>>>,
    /// Its cipher suites.
    pub cipher_suites: Vec<CipherSuite>,
    /// Its key-exchange groups.
    pub named_groups: Option<Vec<NamedGroup>>,
    /// The authorities that it trusts, if it says so.
    pub certificate_authorities: Option<Vec<DistinguishedName>>,
}

impl ClientOffer {
    fn new(hello: &ClientHello<'_>) -> Self {
        Self {
            server_name: hello.server_name().map(str::to_owned),
            signature_schemes: hello.signature_schemes().to_vec(),
            alpn: hello.alpn().map(|protocols| protocols.map(<[u8]>::to_vec).collect()),
            cipher_suites: hello.cipher_suites().to_vec(),
            named_groups: hello.named_groups().map(<[_]>::to_vec),
            certificate_authorities: hello.certificate_authorities().map(<[_]>::to_vec),
        }
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
