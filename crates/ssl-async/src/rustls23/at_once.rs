//! Hooks of this crate in a handshake that may not wait ([`Parking::Never`](crate::Parking::Never)): they answer at once, or
//! the handshake fails and says what it would have waited for.

use core::cell::RefCell;
use core::task::Poll;
use std::sync::Arc;

use engine_core::{Engine, EngineError, Work};
use rustls::{Error, OtherError};

use crate::packet_local::{self, OfPacket};
use crate::rustls23::connection::{Broken, FinalOutput, Processed, Returned};

thread_local! {
    /// Of the innermost packet whose hooks may not wait.
    static PACKET: RefCell<Option<OfPacket<Missed>>> = const { RefCell::new(None) };
}

/// What a hook would have waited for.
type Missed = Option<&'static str>;

/// Calls `f` with what the hooks of the current packet have missed; `None` where they may wait.
fn with_missed<T>(f: impl FnOnce(&mut Missed) -> T) -> Option<T> {
    PACKET.with_borrow_mut(|packet| packet.as_mut().and_then(OfPacket::get_mut).map(f))
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
    let at_once = Some(OfPacket::new(None));
    let (processed, missed) = packet_local::during(&PACKET, at_once, || {
        let processed = packet();
        (processed, with_missed(|missed| *missed).flatten())
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
    packet_local::during(&PACKET, None, packet)
}

/// What a hook would have waited for, if the packet failed for that.
pub(crate) fn missed(error: &Error) -> Option<&'static str> {
    match error {
        Error::Other(OtherError(inner)) => inner.downcast_ref::<WouldWait>().map(|why| why.0),
        _ => None,
    }
}

pub(super) fn is_required() -> bool {
    with_missed(|_| ()).is_some()
}

/// What a hook returns that would have to wait for `what`.
pub(super) fn would_wait(what: &'static str) -> EngineError {
    with_missed(|missed| *missed = Some(what));
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
