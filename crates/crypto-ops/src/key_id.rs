//! The name of a key.

use std::fmt;

/// The name of a key: the SHA-256 fingerprint of its public half.
///
/// One key has one name, in whichever store or device it lies and in every process: a software
/// key held as the fallback of a device key answers to the same handle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    pub(crate) const fn new(fingerprint: [u8; 32]) -> Self {
        Self(fingerprint)
    }

    /// The whole fingerprint, as RFC 7469 defines it for pinning: SHA-256 over the public key's
    /// `SubjectPublicKeyInfo`.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first eight bytes in hexadecimal: enough to tell keys apart in a log.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
