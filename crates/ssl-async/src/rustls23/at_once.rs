//! Hooks of this crate in a handshake that may not wait ([`Parking::Never`](crate::Parking::Never)): they answer at once, or
//! the handshake fails and says what it would have waited for.

use core::cell::Cell;
use core::task::Poll;
use std::sync::Arc;

use engine_core::{Engine, EngineError, Work};
use rustls::{Error, OtherError};

use crate::rustls23::connection::{Broken, FinalOutput, Processed, Returned};

thread_local! {
    static WAITING: Cell<Waiting> = const { Cell::new(Waiting::Allowed) };
}

/// Whether hooks on this thread may wait.
#[derive(Clone, Copy)]
enum Waiting {
    Allowed,
    Excluded,
    /// Excluded, and a hook would have waited for this.
    Missed(&'static str),
}

/// Carries through rustls what a hook would have waited for.
#[derive(Debug, thiserror::Error)]
#[error("it would have to wait for {0}")]
struct WouldWait(&'static str);

/// Processes a packet whose hooks may not wait.
///
/// What rustls makes of a hook without an answer does not count: it leaves out a ticket, for instance, and goes on.
pub(crate) fn during(packet: impl FnOnce() -> Processed) -> Processed {
    struct Restore(Waiting);
    impl Drop for Restore {
        fn drop(&mut self) {
            WAITING.set(self.0);
        }
    }
    let _restore = Restore(WAITING.replace(Waiting::Excluded));
    let processed = packet();
    let Waiting::Missed(what) = WAITING.get() else { return processed };
    let output = match processed {
        Ok(Returned { mut tls, .. }) => {
            tls.give_up();
            FinalOutput::Connection(tls)
        }
        Err(broken) => broken.output,
    };
    Err(Broken { error: Error::Other(OtherError(Arc::new(WouldWait(what)))), output })
}

/// What a hook would have waited for, if the packet failed for that.
pub(crate) fn missed(error: &Error) -> Option<&'static str> {
    match error {
        Error::Other(OtherError(inner)) => inner.downcast_ref::<WouldWait>().map(|why| why.0),
        _ => None,
    }
}

pub(super) fn is_required() -> bool {
    !matches!(WAITING.get(), Waiting::Allowed)
}

/// What a hook returns that would have to wait for `what`.
pub(super) fn would_wait(what: &'static str) -> EngineError {
    WAITING.set(Waiting::Missed(what));
    EngineError::Cancelled
}

/// As [`Engine::run`]. Where waiting is excluded, an operation that is not done when it is submitted is cancelled.
pub(super) fn run<W: Work>(
    engine: &Engine<W>,
    work: W,
    what: &'static str,
) -> Result<W::Output, EngineError> {
    if !is_required() {
        return engine.run(work);
    }
    let submitted = engine.submit(work);
    let mut pending = submitted.map_err(|refused| EngineError::Refused(refused.reason))?;
    match pending.poll_result() {
        Poll::Ready(result) => result,
        Poll::Pending => Err(would_wait(what)),
    }
}
