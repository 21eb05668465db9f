//! The message of a signature.

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A message to sign. Clones share its bytes, so that a parked handshake and its device hold them once; the last one to
/// be dropped wipes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<Zeroizing<Vec<u8>>>);

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Message {
    /// The length only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len())
    }
}
