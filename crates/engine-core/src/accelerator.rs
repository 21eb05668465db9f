//! What a device has to do to serve an engine.

use core::fmt;
use core::time::Duration;

use crate::request::Request;
use crate::work::Work;

/// A device that carries out work: a card, a token, a remote service, a thread pool.
///
/// # Contract
///
/// - [`submit`](Self::submit) never blocks and may be called from several threads at once.
/// - An accepted [`Request`] is owned by the device until it calls [`Request::complete`]. A request that is dropped
///   instead completes with [`DeviceError::Lost`](crate::DeviceError::Lost), so nothing hangs.
/// - The device frees the ring entry *first* and completes the request *then*: a completion is what makes the engine
///   try the requests that wait for an entry.
/// - `complete` is called without a lock that `submit` takes.
pub trait Accelerator<W: Work>: Send + Sync + fmt::Debug {
    /// Takes a request, or hands it back at once.
    ///
    /// # Errors
    ///
    /// [`Rejected::Full`] while there is no free ring entry: the engine keeps the request and tries again when a
    /// request completes. [`Rejected::Unsupported`] if it never will be taken.
    fn submit(&self, request: Request<W>) -> Result<(), Rejected<W>>;

    /// Moves the device to `now`, completes what is due, and says when to call again. A device that has a thread of
    /// its own does nothing here.
    fn poll(&self, now: Duration) -> Option<Duration> {
        let _ = now;
        None
    }

    /// What the engine may rely on.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// What an engine may rely on in a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Completions run on a thread of the device, not on the serving thread. It makes checking every result cheap for
    /// the serving thread, so [`CheckPolicy::Auto`](crate::CheckPolicy::Auto) does it.
    pub completion_thread: bool,
    /// The device moves only in [`Accelerator::poll`]; somebody has to call [`Engine::poll`](crate::Engine::poll).
    pub needs_poll: bool,
}

/// A request that the device did not take.
pub enum Rejected<W: Work> {
    /// No ring entry is free now.
    Full(Request<W>),
    /// The device will never take this request.
    Unsupported(Request<W>, &'static str),
}

impl<W: Work> fmt::Debug for Rejected<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(request) => f.debug_tuple("Full").field(request).finish(),
            Self::Unsupported(request, why) => {
                f.debug_tuple("Unsupported").field(request).field(why).finish()
            }
        }
    }
}
