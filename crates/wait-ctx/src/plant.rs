//! Bugs planted on purpose, to test the checks of the laws.
//!
//! With the feature `plant`, [`arm`] switches one bug of this crate on for the whole process, and the checks must then
//! find it. Without the feature nothing here is compiled in, and every check is the constant `false`.

/// Declares the bugs that can be planted in a crate with a feature `plant`: their type `Bug`, the functions `arm` and
/// `disarm`, and `armed` for the code that contains them. Without the feature, `armed` is always false.
#[doc(hidden)]
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal breaks $law:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[cfg_attr(
            not(feature = "plant"),
            allow(dead_code, unreachable_pub, reason = "public and complete only with the feature")
        )]
        pub enum Bug { $($(#[$doc])* $bug,)+ }

        #[cfg(feature = "plant")]
        mod armed {
            use super::Bug;
            use core::sync::atomic::{AtomicU8, Ordering};

            static ARMED: AtomicU8 = AtomicU8::new(u8::MAX);

            impl Bug {
                /// Every bug of this crate, with its name on a command line and the number of the law that it breaks.
                pub const ALL: &'static [(&'static str, Self, u8)] =
                    &[$(($name, Self::$bug, $law),)+];
            }

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
    };
}

planted_bugs! {
    /// An earlier request of a session counts as its current one.
    StaleGeneration = "stale-generation" breaks 2,
    /// A callback is called after it was unset.
    CallbackAfterUnset = "callback-after-unset" breaks 4,
    /// Foreign code runs on the stack of the running job.
    CallbackOnFiber = "callback-on-fiber" breaks 4,
}
