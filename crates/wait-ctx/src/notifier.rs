//! The waker half of a wait context: the request word and the routes by which a wake travels.
//!
//! Who may touch what:
//! 1. The word is changed by anybody, by compare-and-swap only. It decides *whether* there is a wake.
//! 2. The routes are behind one lock. They decide *where* it goes. The word's `routed` bit is written under that lock.
//! 3. Foreign code (a callback, a `Waker`) runs with the lock released, and is entered in `running` before.

use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use crate::callback::{Callback, CallbackArg, InsideCallback, Notification, Reason, Running};
use crate::inflight::InFlight;
use crate::ready::{ReadySender, Token};
use crate::request::{RequestEvent, RequestState, Status};
use crate::signal::Signal;
use crate::sync::{Condvar, Mutex, lock};
use crate::word::{AtomicWord, Flag, Generation, Word};

/// Where a wake goes when neither a callback nor a descriptor was asked for.
#[derive(Debug, Clone)]
pub enum Route {
    /// Onto the ready queue of the serving thread, as this token. The usual one.
    Ready(ReadySender, Token),
    /// To a task.
    Waker(Waker),
}

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

#[derive(Debug, Default)]
struct Tally {
    callback: AtomicU64,
    fd: AtomicU64,
    ready: AtomicU64,
    waker: AtomicU64,
    unrouted: AtomicU64,
    panics: AtomicU64,
}

/// What a notifier has delivered so far, by route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotifierCounters {
    /// Calls of the callback.
    pub callback: u64,
    /// Writes to the session's own descriptor.
    pub fd: u64,
    /// Tokens pushed onto a ready queue.
    pub ready: u64,
    /// Tasks woken.
    pub waker: u64,
    /// Wakes that were due while there was no route.
    pub unrouted: u64,
    /// Callbacks (or task wakers) that panicked. The panic ends there.
    pub panics: u64,
}

impl NotifierCounters {
    /// Wakes delivered by any route.
    pub const fn delivered(&self) -> u64 {
        self.callback + self.fd + self.ready + self.waker
    }
}

#[derive(Default)]
struct Routes {
    callback: Option<Callback>,
    arg: Option<CallbackArg>,
    signal: Option<Arc<Signal>>,
    /// The signal was raised since it was last drained.
    raised: bool,
    route: Option<Route>,
    running: Running,
}

impl Routes {
    const fn is_empty(&self) -> bool {
        self.callback.is_none() && self.signal.is_none() && self.route.is_none()
    }
}

pub(crate) struct Shared {
    pub(crate) word: AtomicWord,
    routes: Mutex<Routes>,
    /// Signalled when the last running callback ends.
    idle: Condvar,
    tally: Tally,
}

/// A wake that is due.
#[derive(Clone, Copy)]
pub(crate) struct Due {
    pub(crate) reason: Reason,
    pub(crate) status: Status,
    pub(crate) generation: Generation,
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
        Self {
            shared: Arc::new(Shared {
                word: AtomicWord::new(),
                routes: Mutex::new(Routes::default()),
                idle: Condvar::new(),
                tally: Tally::default(),
            }),
        }
    }

    /// The status of the current request, or of the last one. One atomic load, on any thread.
    pub fn status(&self) -> Status {
        self.shared.word.load().state().into()
    }

    /// Begins a request, in the state `Queued`. Whatever still carries an earlier request can no longer wake anybody.
    ///
    /// # Errors
    /// [`RequestLive`] while the last request is queued or submitted: a session has at most one.
    pub fn begin(&self) -> Result<InFlight, RequestLive> {
        let (_, word) = self.shared.word.update(Word::next).map_err(|_illegal| RequestLive)?;
        Ok(InFlight::new(self.clone(), word.generation()))
    }

    /// Sets where a wake goes if there is neither a callback nor a descriptor.
    pub fn set_route(&self, route: Route) {
        self.change_routes(|routes| routes.route = Some(route));
    }

    /// Forgets the route. No wake begins to take it after this has returned.
    pub fn clear_route(&self) {
        self.change_routes(|routes| routes.route = None);
    }

    /// A `Waker` that takes the same routes, for futures awaited inside a job. It costs a reference count.
    ///
    /// Such wakes belong to no request. Anybody may make any number of them.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.shared))
    }

    /// What was delivered so far.
    pub fn counters(&self) -> NotifierCounters {
        let Tally { callback, fd, ready, waker, unrouted, panics } = &self.shared.tally;
        NotifierCounters {
            callback: callback.load(Ordering::Relaxed),
            fd: fd.load(Ordering::Relaxed),
            ready: ready.load(Ordering::Relaxed),
            waker: waker.load(Ordering::Relaxed),
            unrouted: unrouted.load(Ordering::Relaxed),
            panics: panics.load(Ordering::Relaxed),
        }
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

    pub(crate) fn set_callback(&self, callback: Callback) {
        self.change_routes(|routes| routes.callback = Some(callback));
    }

    pub(crate) fn set_callback_arg(&self, arg: Option<CallbackArg>) {
        // The old argument is dropped after the lock is released: it is foreign code.
        let _old = std::mem::replace(&mut lock(&self.shared.routes).arg, arg);
    }

    pub(crate) fn callback(&self) -> Option<(Callback, Option<CallbackArg>)> {
        let routes = lock(&self.shared.routes);
        routes.callback.clone().map(|callback| (callback, routes.arg.clone()))
    }

    pub(crate) fn unset_callback(&self) -> Option<Callback> {
        let mut old = None;
        self.change_routes(|routes| old = routes.callback.take());
        old
    }

    pub(crate) fn unset_and_wait(&self) -> Result<Option<Callback>, InsideCallback> {
        if lock(&self.shared.routes).running.includes_me() {
            return Err(InsideCallback);
        }
        let old = self.unset_callback();
        let mut routes = lock(&self.shared.routes);
        while !routes.running.is_idle() {
            routes =
                self.shared.idle.wait(routes).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Ok(old)
    }

    pub(crate) fn set_signal(&self, signal: Arc<Signal>) {
        self.change_routes(|routes| routes.signal = Some(signal));
    }

    pub(crate) fn drain_signal(&self) {
        let mut routes = lock(&self.shared.routes);
        if std::mem::take(&mut routes.raised)
            && let Some(signal) = &routes.signal
        {
            signal.drain();
        }
    }

    /// The session is gone: its request is cancelled and no wake goes anywhere any more.
    pub(crate) fn shut(&self) {
        let _ = self.shared.word.update(|word| match word.after(RequestEvent::Cancel) {
            Ok(cancelled) => Ok(cancelled.at_rest()),
            Err(_settled) => Ok::<_, Infallible>(word.at_rest()),
        });
        let mut old = Routes::default();
        self.change_routes(|routes| {
            std::mem::swap(&mut old.callback, &mut routes.callback);
            std::mem::swap(&mut old.arg, &mut routes.arg);
            std::mem::swap(&mut old.signal, &mut routes.signal);
            std::mem::swap(&mut old.route, &mut routes.route);
        });
    }

    /// Changes the routes, keeps the word's bit in step, and delivers a wake that waited for a route.
    fn change_routes(&self, change: impl FnOnce(&mut Routes)) {
        let owed = {
            let mut routes = lock(&self.shared.routes);
            change(&mut routes);
            let routed = !routes.is_empty();
            let update = self.shared.word.update(|word| {
                Ok::<_, Infallible>(if routed && word.has(Flag::Owed) {
                    word.with(Flag::Routed).without(Flag::Owed)
                } else if routed {
                    word.with(Flag::Routed)
                } else {
                    word.without(Flag::Routed)
                })
            });
            let Ok((before, _)) = update;
            (routed && before.has(Flag::Owed)).then_some(before)
        };
        if let Some(word) = owed {
            // The word does not say which wake it was. A queued request whose armed bit is gone was told to retry.
            let reason = match word.state() {
                RequestState::Done | RequestState::Failed | RequestState::Cancelled => {
                    Reason::Settled
                }
                RequestState::Queued if !word.has(Flag::Armed) => Reason::Retry,
                _ => Reason::Future,
            };
            let status = word.state().into();
            self.shared.deliver(Due { reason, status, generation: word.generation() });
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.shared.word.load();
        f.debug_struct("Notifier")
            .field("state", &word.state())
            .field("generation", &word.generation().as_u64())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Sends a wake on its one route. False if there is none, or if its request is no longer the current one.
    pub(crate) fn deliver(&self, due: Due) -> bool {
        let mut routes = lock(&self.routes);
        if self.word.load().generation() != due.generation {
            return false;
        }
        if let Some(callback) = routes.callback.clone() {
            let arg = routes.arg.clone();
            let thread = routes.running.enter();
            drop(routes);
            count(&self.tally.callback);
            self.contain(|| {
                callback(&Notification {
                    reason: due.reason,
                    status: due.status,
                    generation: due.generation.as_u64(),
                    arg: arg.as_ref(),
                });
                // Dropped here, so that `unset_and_wait` also waits for the end of what the callback owns.
                drop((callback, arg));
            });
            let mut routes = lock(&self.routes);
            routes.running.leave(thread);
            if routes.running.is_idle() {
                self.idle.notify_all();
            }
        } else if let Some(signal) = &routes.signal {
            count(&self.tally.fd);
            signal.raise();
            routes.raised = true;
        } else {
            match &routes.route {
                Some(Route::Ready(sender, token)) => {
                    count(&self.tally.ready);
                    sender.push(*token);
                }
                Some(Route::Waker(waker)) => {
                    let waker = waker.clone();
                    drop(routes);
                    count(&self.tally.waker);
                    self.contain(|| waker.wake());
                }
                None => {
                    count(&self.tally.unrouted);
                    let _ = self.word.update(|word| {
                        Ok::<_, Infallible>(if word.generation() == due.generation {
                            word.with(Flag::Owed)
                        } else {
                            word
                        })
                    });
                    return false;
                }
            }
        }
        true
    }

    pub(crate) fn count_unrouted(&self) {
        count(&self.tally.unrouted);
    }

    /// Runs foreign code; a panic in it is counted and goes no further.
    fn contain(&self, foreign: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(foreign)).is_err() {
            count(&self.tally.panics);
            tracing::error!("a wake callback panicked; the session counts as woken");
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let word = self.word.load();
        let status = word.state().into();
        self.deliver(Due { reason: Reason::Future, status, generation: word.generation() });
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
