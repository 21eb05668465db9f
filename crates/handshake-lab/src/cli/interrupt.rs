//! Ctrl-C: once to end with what there is, twice to end at once.

use std::io;

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use super::stop::INTERRUPTED;
use lab_report::Progress;

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
