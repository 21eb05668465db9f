//! Bugs planted on purpose, to show that the laws are really checked.
//!
//! With the feature `plant`, [`arm`] switches one of this crate's on for the whole process; whoever checks the laws must
//! then find it. Without the feature nothing here is compiled in, and every check is the constant `false`.

/// Declares the bugs that can be planted in a crate with a feature `plant`: their type `Bug`, `arm` and `disarm`, and
/// for the code that has them `armed`. Without the feature there is nothing but an `armed` that is always false.
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
                /// Every bug of this crate, with the name that a command line knows it by and the number of the law
                /// that it breaks.
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
    /// What was begun on a session's notifier before counts as its present request.
    StaleGeneration = "stale-generation" breaks 2,
    /// A callback that was taken away is called all the same.
    CallbackAfterUnset = "callback-after-unset" breaks 4,
    /// Foreign code runs on the stack of the job that happens to run.
    CallbackOnFiber = "callback-on-fiber" breaks 4,
}
