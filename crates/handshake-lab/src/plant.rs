//! `--plant BUG`: bugs switched on for a whole process, to show that the laws are checked. A run must then fail and name the
//! law that the bug breaks.
//!
//! Without the feature `plant` no bug is compiled in, and asking for one is refused.

/// A bug that cannot be planted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlantError {
    #[error(
        "--plant {bug}: this build has no planted bugs; build it with --features plant (cargo xtask sim --plant does)"
    )]
    NotBuilt { bug: String },
    #[error("--plant {bug}: unknown bug; give one of {}", known.join(", "))]
    Unknown { bug: String, known: Vec<&'static str> },
}

wait_ctx::planted_bugs! {
    /// The loop resumes parked sessions without a wake, and counts that as deliberate.
    SpinResume = "spin-resume" breaks 7,
    /// Draws from a seed differ at each run.
    ForgetSeed = "forget-seed" breaks 9,
    /// Sessions take jobs though async mode is off.
    ParkAnyway = "park-anyway" breaks 11,
    /// A session whose operation failed hangs up as if nothing had happened.
    HushFailure = "hush-failure" breaks 15,
}

/// Switches a bug of any crate on, by its name, for the whole process.
#[cfg(feature = "plant")]
pub fn arm_by_name(bug: &str) -> Result<(), PlantError> {
    fn named<B: Copy>(all: &[(&str, B, u8)], bug: &str) -> Option<B> {
        all.iter().find(|(name, ..)| *name == bug).map(|(_, bug, _)| *bug)
    }
    if let Some(bug) = named(Bug::ALL, bug) {
        arm(bug);
    } else if let Some(bug) = named(engine_core::plant::Bug::ALL, bug) {
        engine_core::plant::arm(bug);
    } else if let Some(bug) = named(wait_ctx::plant::Bug::ALL, bug) {
        wait_ctx::plant::arm(bug);
    } else if let Some(bug) = named(tls_replay::plant::Bug::ALL, bug) {
        tls_replay::plant::arm(bug);
    } else {
        let known = bugs().into_iter().map(|(name, _)| name).collect();
        return Err(PlantError::Unknown { bug: bug.to_owned(), known });
    }
    Ok(())
}

/// The names of all bugs, with the number of the law that each breaks.
#[cfg(feature = "plant")]
pub fn bugs() -> Vec<(&'static str, u8)> {
    fn names<B>(all: &'static [(&'static str, B, u8)]) -> impl Iterator<Item = (&'static str, u8)> {
        all.iter().map(|(name, _, law)| (*name, *law))
    }
    names(Bug::ALL)
        .chain(names(engine_core::plant::Bug::ALL))
        .chain(names(wait_ctx::plant::Bug::ALL))
        .chain(names(tls_replay::plant::Bug::ALL))
        .collect()
}

/// Refuses: this build has no planted bugs.
///
/// # Errors
/// Always [`PlantError::NotBuilt`].
#[cfg(not(feature = "plant"))]
pub fn arm_by_name(bug: &str) -> Result<(), PlantError> {
    Err(PlantError::NotBuilt { bug: bug.to_owned() })
}
