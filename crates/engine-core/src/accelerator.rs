//! The interface between an engine and a device.

use core::fmt;
use core::time::Duration;
use std::sync::Weak;

use crate::error::DeviceError;
use crate::request::Request;
use crate::threads::{BlockingScope, Shutdown};
use crate::work::{Kind, Role, Work};

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
///
/// The engine calls a device on the thread that submits, polls or completes, but never on the [stack](crate#stacks) of a job:
/// there is no current job in its methods, and a pause in them is refused. What a [panic](crate#panics) in each of them
/// means is on the crate's page.
pub trait Accelerator<W: Work>: Send + Sync + fmt::Debug {
    /// Takes a request, or returns it at once.
    ///
    /// # Errors
    ///
    /// [`DeviceRefused::Full`] while there is no free ring entry: the engine keeps the request and tries again when a
    /// request completes. [`DeviceRefused::Unavailable`] if the device takes no request for now,
    /// [`DeviceRefused::Unsupported`] if it will never take this one: the operation falls back, or fails.
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>>;

    /// Moves the device to `now`, completes what is due, and returns when to call again. The time is computed at the end:
    /// a completion or a notice of room may have submitted more. A device with a thread of its own does nothing here.
    fn poll(&self, now: Duration) -> Option<Duration> {
        let _ = now;
        None
    }

    /// How many more requests of `kind` the device would take now; `None` if unknown. With
    /// [`OnFull::Notify`](crate::OnFull::Notify) the engine wakes one job for each, instead of one for each completion.
    fn credits(&self, kind: Kind) -> Option<usize> {
        let _ = kind;
        None
    }

    /// The health of the device. Called only by an engine with a [breaker](crate::EngineBuilder::breaker).
    fn health(&self, now: Duration) -> Health {
        let _ = now;
        Health::Unknown
    }

    /// Called once by each engine that is built over the device. A device that can have room again *without* completing a
    /// request of that engine keeps the notice and announces the room: one whose ring can be stuck, or one that serves
    /// several engines.
    fn attach(&self, room: RoomNotice) {
        drop(room);
    }

    /// What the engine may rely on.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// How a thread that is in no job waits for the device's answers. By default it blocks. If the waiting thread may be
    /// one that does the device's work, the device returns a scope to wait in, which lets other threads take over, or an
    /// error: otherwise the wait would never end.
    ///
    /// # Errors
    ///
    /// What the operation fails with, if this thread must not wait.
    fn blocking(&self) -> Result<Option<BlockingScope>, DeviceError> {
        Ok(None)
    }

    /// Ends the device's own threads, and waits for them, at most `deadline`: called by
    /// [`Engine::shutdown`](crate::Engine::shutdown) when nothing is submitted any more. `None`, the default, means unknown,
    /// or that the device goes on because other engines use it; then its unanswered requests count as stuck.
    fn end(&self, deadline: Duration) -> Option<Shutdown> {
        let _ = deadline;
        None
    }
}

/// What an engine may rely on in a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Completions run on a thread of the device, not on the serving thread. It makes checking every result cheap for
    /// the serving thread, so [`CheckPolicy::Auto`](crate::CheckPolicy::Auto) does it.
    pub completion_thread: bool,
    /// The device moves only in [`Accelerator::poll`], so a thread has to call [`Engine::poll`](crate::Engine::poll).
    pub needs_poll: bool,
}

/// The health of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Unknown. Only its answers count.
    #[default]
    Unknown,
    /// Its heartbeat runs.
    Alive,
    /// Its heartbeat has stopped: what it holds may never come back.
    Dead,
}

/// Tells an engine that its device has room again. Given to the device by [`Accelerator::attach`].
#[derive(Clone)]
pub struct RoomNotice {
    pub(crate) engine: Weak<dyn Attached>,
    /// Which of the engine's devices the notice is of.
    pub(crate) role: Role,
}

/// An engine, as its device sees it.
pub(crate) trait Attached: Send + Sync {
    fn handle_room(&self, role: Role);

    fn is_open(&self) -> bool;
}

impl RoomNotice {
    /// Makes the engine submit what waits. Call it without holding a lock that [`Accelerator::submit`] takes. Does
    /// nothing once the engine is gone.
    pub fn announce(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.handle_room(self.role);
        }
    }

    /// Whether the engine still accepts work: it exists, and was not closed. For [`Accelerator::end`] of a device that
    /// several engines use.
    pub fn is_open(&self) -> bool {
        self.engine.upgrade().is_some_and(|engine| engine.is_open())
    }
}

impl fmt::Debug for RoomNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomNotice").finish_non_exhaustive()
    }
}

/// A request that the device did not take.
pub enum DeviceRefused<W: Work> {
    /// No ring entry is free now.
    Full(Request<W>),
    /// The device takes no request for now, say after a reset.
    Unavailable(Request<W>, &'static str),
    /// The device will never take this request.
    Unsupported(Request<W>, &'static str),
}

impl<W: Work> fmt::Debug for DeviceRefused<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(request) => f.debug_tuple("Full").field(request).finish(),
            Self::Unavailable(request, why) => {
                f.debug_tuple("Unavailable").field(request).field(why).finish()
            }
            Self::Unsupported(request, why) => {
                f.debug_tuple("Unsupported").field(request).field(why).finish()
            }
        }
    }
}
