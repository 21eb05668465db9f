//! Bugs planted on purpose, to show that law L16 is really checked.
//!
//! With the feature `plant`, [`arm`] switches one of them on for the whole process, and a test named after the law must
//! then fail. Without the feature every check is the constant `false`.

/// A bug that can be planted. Each breaks law L16: replay is invisible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
#[cfg_attr(not(feature = "plant"), allow(unreachable_pub, reason = "public only with the feature"))]
pub enum Bug {
    /// A signature is handed over without comparing scheme and message.
    SkipMessageCheck,
    /// The flight of a rehearsal is sent.
    SendRehearsal,
    /// The second pass draws its randomness anew.
    FreshRandomness,
    /// The second pass asks the certificate resolver again.
    AskTwice,
    /// A rehearsal without keys that ends in an error counts as the real connection.
    BelieveMute,
}

#[cfg(feature = "plant")]
mod armed {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    static ARMED: AtomicU8 = AtomicU8::new(u8::MAX);

    /// Switches `bug` on, and any other of this crate off, for the whole process.
    pub fn arm(bug: Bug) {
        ARMED.store(bug as u8, Ordering::Relaxed);
    }

    /// Switches every bug of this crate off.
    pub fn disarm() {
        ARMED.store(u8::MAX, Ordering::Relaxed);
    }

    pub(crate) fn armed(bug: Bug) -> bool {
        ARMED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "plant")]
pub(crate) use armed::armed;
#[cfg(feature = "plant")]
pub use armed::{arm, disarm};

#[cfg(not(feature = "plant"))]
pub(crate) const fn armed(_bug: Bug) -> bool {
    false
}
