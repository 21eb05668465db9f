//! The waker half of a wait context: what engines and devices hold.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::inflight::InFlight;
use crate::request::Status;
use crate::routes::{NotifierCounters, Route, Shared};
use crate::word::{AtomicWord, Word};

/// The waker half of a session: `Send + Sync`, and cheap to clone. There is one per session, and a request made through
/// it allocates nothing.
///
/// A wake takes exactly one route: the callback if one is set, else the session's own descriptor if somebody asked for
/// it, else the [`Route`]. With none of them the wake is remembered, and delivered by the first route that is added; an
/// application may also simply call again whenever it likes.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

/// A request was begun while the last one of this notifier was still live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session's last request has no outcome yet: collect or cancel it before beginning another"
)]
#[non_exhaustive]
pub struct RequestLive;

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifier {
    /// A notifier of its own, for requests outside any wait context.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new()) }
    }

    /// The status of the current request, or of the last one. One atomic load, on any thread.
    #[inline]
    pub fn status(&self) -> Status {
        self.shared.word.load().phase().into()
    }

    /// Begins a request, in the state `Queued`. Whatever still carries an earlier request can no longer wake anybody.
    ///
    /// # Errors
    /// [`RequestLive`] while the last request is queued or submitted: a session has at most one.
    #[inline]
    pub fn begin(&self) -> Result<InFlight, RequestLive> {
        let (_, word) = self.shared.word.update(Word::next).map_err(|_illegal| RequestLive)?;
        Ok(InFlight::new(self.clone(), word.generation()))
    }

    /// Sets where a wake goes if there is neither a callback nor a descriptor.
    pub fn set_route(&self, route: Route) {
        self.shared.set_route(Some(route));
    }

    /// Forgets the route. No wake begins to take it after this has returned.
    pub fn clear_route(&self) {
        self.shared.set_route(None);
    }

    /// A `Waker` that takes the same routes, for futures awaited inside a job. It costs a reference count.
    ///
    /// Such wakes belong to no request. Anybody may make any number of them; on a ready queue they coalesce, as they do in
    /// an executor.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.shared))
    }

    /// What was delivered so far.
    pub fn counters(&self) -> NotifierCounters {
        self.shared.counters()
    }

    /// Whether both are the same notifier.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn word(&self) -> &AtomicWord {
        &self.shared.word
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.shared.word.load();
        f.debug_struct("Notifier")
            .field("phase", &word.phase())
            .field("generation", &word.generation().as_u64())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
