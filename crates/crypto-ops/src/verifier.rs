//! Verification of signatures with a public key.

use crate::scheme::Scheme;

/// Verifies signatures with one public key. A [`KeyHandle`](crate::KeyHandle) checks signatures with it.
pub trait Verifier: Send + Sync {
    /// Whether `signature` is the key's signature of `message` under `scheme`, which is one of the key's schemes.
    fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool;
}
