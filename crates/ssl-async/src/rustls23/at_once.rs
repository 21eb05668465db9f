//! Hooks of this crate in a handshake that may not wait ([`Parking::Never`](crate::Parking::Never)): they answer at once, or
//! the handshake fails and says what it would have waited for.

use core::cell::Cell;
use core::task::Poll;
use std::sync::Arc;

use engine_core::{Engine, EngineError, Work};
use job_core::JobId;
use rustls::{Error, OtherError};

use crate::rustls23::connection::{Broken, FinalOutput, Processed, Returned};

thread_local! {
    /// The innermost packet of this thread whose hooks may not wait.
    static PACKET: Cell<Option<AtOnce>> = const { Cell::new(None) };
}

/// A packet whose hooks may not wait.
#[derive(Clone, Copy)]
struct AtOnce {
    /// The job that it runs in, if any. A hook in another job is another session's, on a fiber.
    inside: Option<JobId>,
    /// What a hook would have waited for.
    missed: Option<&'static str>,
}

impl AtOnce {
    /// That of the hook which calls this.
    fn of_hook() -> Option<Self> {
        PACKET.get().filter(|packet| packet.inside == current_job())
    }
}

fn current_job() -> Option<JobId> {
    job_core::current().map(|job| job.id())
}

/// Runs `packet` as `at_once` says, and restores what the enclosing packet finds.
fn enter<T>(at_once: Option<AtOnce>, packet: impl FnOnce() -> T) -> T {
    struct Restore(Option<AtOnce>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PACKET.set(self.0);
        }
    }
    let _restore = Restore(PACKET.replace(at_once));
    packet()
}

/// Carries through rustls what a hook would have waited for.
#[derive(Debug, thiserror::Error)]
#[error("it would have to wait for {0}")]
struct WouldWait(&'static str);

/// Processes a packet whose hooks may not wait.
///
/// What rustls makes of a hook without an answer does not count: it leaves out a ticket, for instance, and goes on.
pub(crate) fn during(packet: impl FnOnce() -> Processed) -> Processed {
    // If the packet runs in a job of the caller's: a pause would let other sessions run in its place.
    let _blocked = job_core::block_pause();
    let at_once = AtOnce { inside: current_job(), missed: None };
    let (processed, missed) = enter(Some(at_once), || {
        let processed = packet();
        (processed, PACKET.get().and_then(|packet| packet.missed))
    });
    let Some(what) = missed else { return processed };
    let output = match processed {
        Ok(Returned { mut tls, .. }) => {
            tls.give_up();
            FinalOutput::Connection(tls)
        }
        Err(broken) => broken.output,
    };
    Err(Broken { error: Error::Other(OtherError(Arc::new(WouldWait(what)))), output })
}

/// Processes a packet whose hooks may block, perhaps inside a hook of one that may not.
pub(crate) fn not_during<T>(packet: impl FnOnce() -> T) -> T {
    enter(None, packet)
}

/// What a hook would have waited for, if the packet failed for that.
pub(crate) fn missed(error: &Error) -> Option<&'static str> {
    match error {
        Error::Other(OtherError(inner)) => inner.downcast_ref::<WouldWait>().map(|why| why.0),
        _ => None,
    }
}

pub(super) fn is_required() -> bool {
    AtOnce::of_hook().is_some()
}

/// What a hook returns that would have to wait for `what`.
pub(super) fn would_wait(what: &'static str) -> EngineError {
    if let Some(packet) = AtOnce::of_hook() {
        PACKET.set(Some(AtOnce { missed: Some(what), ..packet }));
    }
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
