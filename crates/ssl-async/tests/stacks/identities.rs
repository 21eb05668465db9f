//! Keys of every algorithm that rustls's providers support, and certificate chains of any length.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, RsaKeySize,
    SignatureAlgorithm,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

pub(crate) type Version = &'static SupportedProtocolVersion;

/// One kind of key.
#[derive(Clone, Copy)]
pub(crate) struct Algorithm {
    pub(crate) name: &'static str,
    rcgen: &'static SignatureAlgorithm,
    rsa: Option<RsaKeySize>,
    /// Whether rustls's provider over ring supports it.
    in_ring: bool,
    /// The most certificates that fit into rustls's limit of 64 KiB for a handshake message.
    pub(crate) longest_chain: usize,
}

const fn plain(name: &'static str, rcgen: &'static SignatureAlgorithm, in_ring: bool) -> Algorithm {
    Algorithm { name, rcgen, rsa: None, in_ring, longest_chain: 10 }
}

const fn rsa(name: &'static str, size: RsaKeySize) -> Algorithm {
    Algorithm { rsa: Some(size), ..plain(name, &rcgen::PKCS_RSA_SHA256, true) }
}

pub(crate) const ALGORITHMS: [Algorithm; 10] = [
    plain("ECDSA P-256", &rcgen::PKCS_ECDSA_P256_SHA256, true),
    plain("ECDSA P-384", &rcgen::PKCS_ECDSA_P384_SHA384, true),
    plain("ECDSA P-521", &rcgen::PKCS_ECDSA_P521_SHA512, false),
    plain("Ed25519", &rcgen::PKCS_ED25519, true),
    rsa("RSA-2048", RsaKeySize::_2048),
    rsa("RSA-3072", RsaKeySize::_3072),
    rsa("RSA-4096", RsaKeySize::_4096),
    plain("ML-DSA-44", &rcgen::PKCS_ML_DSA_44, false),
    plain("ML-DSA-65", &rcgen::PKCS_ML_DSA_65, false),
    Algorithm { longest_chain: 8, ..plain("ML-DSA-87", &rcgen::PKCS_ML_DSA_87, false) },
];

impl Algorithm {
    pub(crate) fn pair(&self) -> KeyPair {
        match self.rsa {
            Some(size) => KeyPair::generate_rsa_for(self.rcgen, size),
            None => KeyPair::generate_for(self.rcgen),
        }
        .expect("a key")
    }

    pub(crate) fn is_post_quantum(&self) -> bool {
        self.name.starts_with("ML-DSA")
    }
}

/// A provider of rustls, with its name.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    pub(crate) crypto: Arc<CryptoProvider>,
}

pub(crate) fn providers() -> [Provider; 2] {
    [
        Provider { name: "aws-lc", crypto: Arc::new(aws_lc_rs::default_provider()) },
        Provider { name: "ring", crypto: Arc::new(ring::default_provider()) },
    ]
}

impl Provider {
    pub(crate) fn takes(&self, algorithm: &Algorithm) -> bool {
        self.name != "ring" || algorithm.in_ring
    }

    pub(crate) fn versions(&self, algorithm: &Algorithm) -> Vec<Version> {
        if algorithm.is_post_quantum() { vec![&TLS13] } else { vec![&TLS12, &TLS13] }
    }

    /// The same with one key exchange.
    pub(crate) fn with_exchange(
        &self,
        group: &'static dyn rustls::crypto::SupportedKxGroup,
    ) -> Self {
        let crypto = CryptoProvider { kx_groups: vec![group], ..(*self.crypto).clone() };
        Self { crypto: Arc::new(crypto), ..*self }
    }
}

/// A chain of certificates for `localhost` and the key of its leaf.
pub(crate) struct Chain {
    /// Leaf first; the root that issued the last one is in `roots`.
    certificates: Vec<CertificateDer<'static>>,
    key: KeyPair,
    roots: Arc<RootCertStore>,
}

impl Chain {
    /// `length` certificates, all with one key of `algorithm`: large RSA keys take seconds to find.
    pub(crate) fn new(algorithm: &Algorithm, length: usize) -> Self {
        let key = algorithm.pair();
        let authority = |number: usize| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = authority(0);
        let mut roots = RootCertStore::empty();
        let anchor = root.self_signed(&key).expect("a root");
        roots.add(anchor.der().clone()).expect("a root that is a trust anchor");

        let mut issuer = Issuer::new(root, &key);
        let mut certificates = Vec::new();
        for number in 1..length {
            let params = authority(number);
            let certificate = params.signed_by(&key, &issuer).expect("an intermediate certificate");
            certificates.push(certificate.der().clone());
            issuer = Issuer::new(params, &key);
        }
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&key, &issuer).expect("a leaf");
        certificates.push(leaf.der().clone());
        certificates.reverse();
        Self { certificates, key, roots: Arc::new(roots) }
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.serialize_der().try_into().expect("PKCS#8")
    }

    /// A server with this chain, which requests its clients' certificates if `mutual`.
    pub(crate) fn server(
        &self,
        provider: &Provider,
        version: Version,
        mutual: bool,
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider.crypto))
            .with_protocol_versions(&[version])
            .expect("a provider for this version");
        let builder = if mutual {
            let (roots, provider) = (Arc::clone(&self.roots), Arc::clone(&provider.crypto));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(self.certificates.clone(), self.private_key());
        Arc::new(config.expect("a key that fits its certificate"))
    }

    /// A client that trusts the root of this chain, and sends the chain on request.
    pub(crate) fn client(&self, provider: &Provider, version: Version) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider.crypto))
            .with_protocol_versions(&[version])
            .expect("a provider for this version")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.certificates.clone(), self.private_key())
            .expect("a key that fits its certificate");
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a valid name")
}

/// The schemes that `provider` can verify, with their algorithms.
pub(crate) fn verification(
    provider: &Provider,
) -> Vec<(SignatureScheme, &'static [&'static dyn rustls::pki_types::SignatureVerificationAlgorithm])>
{
    provider.crypto.signature_verification_algorithms.mapping.to_vec()
}
