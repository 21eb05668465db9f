//! A key and a certificate for `localhost`, signed by an authority that exists for one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RsaKeySize,
};
use tempfile::TempDir;

/// The keys that servers use today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// PEM files in a directory of their own, removed with this value.
#[derive(Debug)]
pub struct Identity {
    dir: TempDir,
}

impl Identity {
    /// Makes an authority, a key, and a certificate for `localhost`.
    ///
    /// # Panics
    ///
    /// If the files cannot be written.
    pub fn new(key_type: KeyType) -> Self {
        let key = match key_type {
            KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        let key = key.expect("aws-lc generates keys of both types");
        let authority_key = KeyPair::generate().expect("aws-lc generates P-256 keys");
        let mut params = CertificateParams::new([]).expect("no names, none wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority for one test");
        let authority = CertifiedIssuer::self_signed(params, authority_key).expect("the authority");
        let leaf = CertificateParams::new(["localhost".to_owned()]).expect("a DNS name");
        let leaf = leaf.signed_by(&key, &authority).expect("the certificate is signed");

        let identity = Self { dir: TempDir::new().expect("a temporary directory") };
        let files = [
            (identity.ca(), authority.pem()),
            (identity.ca_key(), authority.key().serialize_pem()),
            (identity.cert(), leaf.pem()),
            (identity.key(), key.serialize_pem()),
        ];
        for (path, pem) in files {
            fs::write(path, pem).expect("the file is written");
        }
        identity
    }

    /// The directory of the files below.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate of the authority, for clients to trust.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The private key of the authority.
    pub fn ca_key(&self) -> PathBuf {
        self.dir.path().join("ca.key")
    }

    /// The certificate of the server.
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// The private key of the server.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }
}
