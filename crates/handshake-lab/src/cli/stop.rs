//! How a command ends without success, and how a signal ends it.

use std::io;

use lab_report::Progress;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

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
    /// How a run ends that is good or bad, and was interrupted if it is only a part.
    pub(super) const fn after(good: bool, partial: bool) -> Result<(), Self> {
        match (good, partial) {
            (true, false) => Ok(()),
            (true, true) => Err(Self::Interrupted),
            (false, _) => Err(Self::Bad),
        }
    }

    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Lets Ctrl-C and `SIGTERM` interrupt the run that reports to `progress`; a second signal ends the process.
pub(super) fn listen(progress: &Progress) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        let interrupted = progress.interrupt();
        // In this order: the first signal finds the flag down, and sets it.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), progress.interrupt())?;
        flag::register(signal, interrupted)?;
    }
    Ok(())
}
