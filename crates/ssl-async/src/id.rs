//! Numbers of sessions.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// The number of a session, unique within the process; an [`AsyncCallback`](crate::AsyncCallback) receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SslId(u64);

impl SslId {
    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SslId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
