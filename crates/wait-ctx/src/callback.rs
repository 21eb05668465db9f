//! The application's callback: what it is given, and the bookkeeping that lets `unset_and_wait` wait for it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::request::Status;
use crate::sync::{ThreadId, thread};

/// A completion callback. It runs on the thread that completes the request, so it must be short and must not block:
/// record the wake and return. It never runs on the stack of a job, and a panic in it or in the drop of what it owns is
/// [contained](crate::contain). It cannot resume, pause or drop its session: a [`WaitCtx`](crate::WaitCtx) is neither
/// `Send` nor `Sync` and so cannot be captured.
pub type Callback = Arc<dyn Fn(&Notification<'_>) + Send + Sync>;

/// The argument of a callback, which can be replaced on its own.
pub type CallbackArg = Arc<dyn Any + Send + Sync>;

/// Why a session should be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Its request was completed, with a result or an error.
    Settled,
    /// Its request found the device full and may be submitted again.
    Retry,
    /// A future that its job awaits asked to be polled.
    Future,
}

/// The argument of a [`Callback`]: one wake.
#[non_exhaustive]
pub struct Notification<'a> {
    /// Why the session should be resumed. For a request's wake that was kept until a route was added, a guess from the
    /// phase.
    pub reason: Reason,
    /// The status of the request at the moment the wake was due: [`Status::Again`] tells a retry from a completion.
    pub status: Status,
    /// Counts the requests of this session: wakes for one request have the same number.
    pub generation: u64,
    /// The argument set beside the callback.
    pub arg: Option<&'a CallbackArg>,
}

impl Notification<'_> {
    /// The argument, if one is set and has this type.
    pub fn arg<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.arg.and_then(|arg| arg.downcast_ref())
    }
}

impl fmt::Debug for Notification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("reason", &self.reason)
            .field("status", &self.status)
            .field("generation", &self.generation)
            .field("has_arg", &self.arg.is_some())
            .finish()
    }
}

/// `unset_and_wait` was called from inside the callback that it would have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a callback cannot wait for itself to end: call unset_and_wait outside it, or unset_callback inside"
)]
pub struct InsideCallback;

/// The threads of the calls that have begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct Running(Vec<ThreadId>);

impl Running {
    pub(crate) fn enter(&mut self) -> ThreadId {
        let me = thread::current().id();
        self.0.push(me);
        me
    }

    pub(crate) fn leave(&mut self, thread: ThreadId) {
        if let Some(at) = self.0.iter().rposition(|&t| t == thread) {
            self.0.swap_remove(at);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn includes_me(&self) -> bool {
        self.0.contains(&thread::current().id())
    }
}
