//! `--plant BUG`: bugs switched on for a whole process, to show that the laws are really checked. A run must then fail
//! and name the law that the bug breaks.
//!
//! Without the feature `plant` nothing of it is compiled in, and asking for a bug is refused.

/// A bug that cannot be planted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlantError {
    /// The build has none.
    #[error(
        "--plant {bug}: this build has no planted bugs; build it with --features plant (cargo xtask sim --plant does)"
    )]
    NotBuilt {
        /// The bug asked for.
        bug: String,
    },
    /// There is no such bug.
    #[error("--plant {bug}: unknown bug; give one of {}", known.join(", "))]
    Unknown {
        /// The bug asked for.
        bug: String,
        /// The bugs there are.
        known: Vec<&'static str>,
    },
}

#[cfg(feature = "plant")]
mod armed {
    use std::sync::atomic::{AtomicBool, Ordering};

    use engine_core::plant::{Bug, arm as arm_engine};

    use super::PlantError;

    static SPIN_RESUME: AtomicBool = AtomicBool::new(false);

    /// Law L7: the loop resumes parked sessions without a wake, and counts it as its own doing.
    const SPIN_RESUME_NAME: &str = "spin-resume";

    /// Switches a bug on for the whole process.
    ///
    /// # Errors
    /// See [`PlantError`].
    pub fn arm(bug: &str) -> Result<(), PlantError> {
        if bug == SPIN_RESUME_NAME {
            SPIN_RESUME.store(true, Ordering::Relaxed);
            return Ok(());
        }
        match Bug::ALL.iter().find(|(name, ..)| *name == bug) {
            Some((_, bug, _)) => {
                arm_engine(*bug);
                Ok(())
            }
            None => Err(PlantError::Unknown { bug: bug.to_owned(), known: bugs() }),
        }
    }

    /// The names of all bugs.
    #[must_use]
    pub fn bugs() -> Vec<&'static str> {
        Bug::ALL.iter().map(|(name, ..)| *name).chain([SPIN_RESUME_NAME]).collect()
    }

    pub(crate) fn spin_resume() -> bool {
        SPIN_RESUME.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "plant")]
pub(crate) use armed::spin_resume;
#[cfg(feature = "plant")]
pub use armed::{arm, bugs};

/// Refuses: this build has no planted bugs.
///
/// # Errors
/// Always [`PlantError::NotBuilt`].
#[cfg(not(feature = "plant"))]
pub fn arm(bug: &str) -> Result<(), PlantError> {
    Err(PlantError::NotBuilt { bug: bug.to_owned() })
}

#[cfg(not(feature = "plant"))]
pub(crate) const fn spin_resume() -> bool {
    false
}
