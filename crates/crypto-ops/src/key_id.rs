//! The name of a key.

use std::fmt;

/// The name of a key: the SHA-256 fingerprint of its public half.
///
/// A key has the same name in every store, device and process, so a software copy of a device's key serves the same
/// [`KeyHandle`](crate::KeyHandle).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    pub(crate) const fn new(fingerprint: [u8; 32]) -> Self {
        Self(fingerprint)
    }

    /// The fingerprint as RFC 7469 defines it for pinning: SHA-256 over the `SubjectPublicKeyInfo`.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first eight bytes in hexadecimal.
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
