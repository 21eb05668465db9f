//! Bugs planted on purpose, to show that the laws are really checked.
//!
//! With the feature `plant`, [`arm`] switches one of them on for the whole process; a run of the lab must then fail and
//! name the law that the bug breaks. Without the feature nothing here is compiled in, and every check below is the
//! constant `false`.

use crate::request::RequestId;

/// A bug that can be planted, and the law that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    not(feature = "plant"),
    allow(dead_code, unreachable_pub, reason = "public and complete only with the feature")
)]
pub enum Bug {
    /// L2: a resume is taken for a completion.
    TrustWake,
    /// L3: a completion forgets to wake.
    LostWake,
    /// L4: a completion wakes twice.
    DoubleWake,
    /// L5: a result that comes too late is dropped without being wiped.
    SkipErase,
    /// L8: a request is never freed.
    LeakRequest,
    /// L12: results are handed on unchecked.
    SkipCheck,
    /// L13: the newest waiting request is served first.
    LifoQueue,
    /// L13: a kind that finds its ring full holds up the others.
    SlowBlocksFast,
    /// L14: deadlines pass unnoticed.
    IgnoreDeadline,
}

#[cfg(feature = "plant")]
mod armed {
    use super::Bug;
    use core::sync::atomic::{AtomicU8, Ordering};

    static ARMED: AtomicU8 = AtomicU8::new(u8::MAX);

    impl Bug {
        /// Every bug, with the name that a command line knows it by and the number of the law that it breaks.
        pub const ALL: [(&'static str, Self, u8); 9] = [
            ("trust-wake", Self::TrustWake, 2),
            ("lost-wake", Self::LostWake, 3),
            ("double-wake", Self::DoubleWake, 4),
            ("skip-erase", Self::SkipErase, 5),
            ("leak-request", Self::LeakRequest, 8),
            ("skip-check", Self::SkipCheck, 12),
            ("lifo-queue", Self::LifoQueue, 13),
            ("slow-blocks-fast", Self::SlowBlocksFast, 13),
            ("ignore-deadline", Self::IgnoreDeadline, 14),
        ];
    }

    /// Switches `bug` on, and any other off, for the whole process.
    pub fn arm(bug: Bug) {
        ARMED.store(bug as u8, Ordering::Relaxed);
    }

    /// Switches every bug off.
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

/// Whether `bug` strikes this request: every sixteenth one, so that most of a run looks healthy.
pub(crate) fn strikes(bug: Bug, request: RequestId) -> bool {
    armed(bug) && request.as_u64() % 16 == 7
}
