//! How signatures are checked, whoever does the arithmetic.

use crate::scheme::Scheme;

/// Verifies signatures with one public key: what a [`KeyHandle`](crate::KeyHandle) checks results with.
pub trait Verifier: Send + Sync {
    /// Whether `signature` is the key's signature of `message` under `scheme`, one of the key's schemes.
    fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool;
}
