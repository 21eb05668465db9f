//! How a command ends without success.

/// The exit status of a program that `SIGINT` ended, as shells report it: 128 and the number of the signal.
pub(super) const INTERRUPTED: u8 = 130;

/// Why a command ended without success.
#[derive(Debug)]
pub(super) enum Stop {
    /// The command line cannot be carried out, for this reason in one line; status 2.
    Usage(String),
    /// It ran and the result is bad; status 1.
    Bad,
    /// It was interrupted, and nothing was wrong until then; status 130.
    Interrupted,
}

impl Stop {
    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}
