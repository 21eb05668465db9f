//! The routes of one notifier, and the delivery of a wake by one of them.
//!
//! What protects what:
//! 1. The word is changed by any thread, by compare-and-swap only. It decides *whether* there is a wake.
//! 2. The routes are behind one lock. They decide *where* it goes. The word's `routed` bit is written under that lock.
//! 3. Foreign code (a callback, a `Waker`, the `Drop` of either) runs [contained](contain) and with the lock released; a
//!    callback is entered in `running` before. So routes are moved and shared under the lock, never cloned or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use crate::callback::{Callback, CallbackArg, InsideCallback, Notification, Reason, Running};
use crate::contain::{contain, contain_drop};
use crate::plant::{self, Bug};
use crate::ready::{ReadySender, Token};
use crate::request::{RequestEvent, RequestPhase, Status};
use crate::signal::Signal;
use crate::sync::{Condvar, Mutex, lock};
use crate::word::{AtomicWord, Flag, Generation, Word};

/// Where a wake goes when the session has neither a callback nor a descriptor of its own.
#[derive(Debug, Clone)]
pub enum Route {
    /// Onto the ready queue of the serving thread, as this token. The usual route.
    Ready(ReadySender, Token),
    /// To a task.
    Waker(Waker),
}

/// What a notifier has delivered so far, by route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotifierCounters {
    /// Calls of the callback.
    pub callback: u64,
    /// Writes to the session's own descriptor.
    pub fd: u64,
    /// Tokens pushed onto a ready queue. A future's wake that finds its token queued already adds none.
    pub ready: u64,
    /// Tasks woken.
    pub waker: u64,
    /// Wakes that were due while there was no route.
    pub unrouted: u64,
    /// Callbacks and task wakers that panicked, in the call or in their drop. The panic is contained, and the session
    /// counts as woken.
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
    /// Boxed: most sessions wake by a route, and every parked one keeps this.
    callbacks: Option<Box<Callbacks>>,
    signal: Option<Arc<Signal>>,
    /// The signal was raised since it was last drained.
    raised: bool,
    route: Option<Shareable>,
    delivered: Delivered,
}

/// The callback of a session, and the calls of it. Kept once made.
#[derive(Default)]
struct Callbacks {
    callback: Option<Callback>,
    arg: Option<CallbackArg>,
    running: Running,
    /// Threads that wait for `idle`.
    waiting: usize,
}

/// All of [`NotifierCounters`] but `unrouted`, which is counted without the lock.
#[derive(Default)]
struct Delivered {
    callback: u64,
    fd: u64,
    ready: u64,
    waker: u64,
    panics: u64,
}

/// A [`Route`] that can be used without the lock, and is not cloned for that: the clone of a waker is foreign code.
enum Shareable {
    Ready(ReadySender, Token),
    Waker(Arc<Waker>),
}

impl From<Route> for Shareable {
    fn from(route: Route) -> Self {
        match route {
            Route::Ready(sender, token) => Self::Ready(sender, token),
            Route::Waker(waker) => Self::Waker(Arc::new(waker)),
        }
    }
}

impl Routes {
    fn is_empty(&self) -> bool {
        self.callback().is_none() && self.signal.is_none() && self.route.is_none()
    }

    fn callback(&self) -> Option<&Callback> {
        self.callbacks.as_ref()?.callback.as_ref()
    }

    fn callbacks(&mut self) -> &mut Callbacks {
        self.callbacks.get_or_insert_default()
    }

    fn is_running(&self) -> bool {
        self.callbacks.as_ref().is_some_and(|callbacks| !callbacks.running.is_idle())
    }

    fn remove_all(&mut self) -> Removed {
        let mut removed =
            Removed { signal: self.signal.take(), route: self.route.take(), ..Removed::default() };
        // Stays: calls of the callback may be running.
        if let Some(callbacks) = &mut self.callbacks {
            (removed.callback, removed.arg) = (callbacks.callback.take(), callbacks.arg.take());
        }
        removed
    }
}

/// Routes that a session has no more, to be dropped without its lock.
#[derive(Default)]
struct Removed {
    callback: Option<Callback>,
    arg: Option<CallbackArg>,
    signal: Option<Arc<Signal>>,
    route: Option<Shareable>,
}

impl Removed {
    /// Drops foreign values one by one: a second panic during the first would abort the process.
    fn discard(self) {
        discard(A_CALLBACK, self.callback);
        discard(AN_ARGUMENT, self.arg);
        discard_route(self.route);
        drop(self.signal);
    }
}

fn discard<T>(what: &'static str, foreign: Option<T>) {
    if let Some(foreign) = foreign {
        contain_drop(what, foreign);
    }
}

fn discard_route(route: Option<Shareable>) {
    if let Some(Shareable::Waker(waker)) = route {
        contain_drop(A_WAKER, waker);
    }
}

/// The request word of one session, with the routes of its wakes.
pub(crate) struct NotifierInner {
    pub(crate) word: AtomicWord,
    routes: Mutex<Routes>,
    /// Signalled when the last running callback ends.
    idle: Condvar,
    unrouted: AtomicU64,
}

/// Names in the log of the foreign code that is called and dropped here.
const A_CALLBACK: &str = "a wake callback";
const AN_ARGUMENT: &str = "the argument of a wake callback";
const A_WAKER: &str = "the waker of a task";

/// One wake, to be delivered.
#[derive(Clone, Copy)]
pub(crate) struct Wakeup {
    pub(crate) reason: Reason,
    pub(crate) status: Status,
    pub(crate) generation: Generation,
}

impl Wakeup {
    /// Whether its request is still the current one. A future's wake belongs to no request.
    fn is_current(self, word: Word) -> bool {
        self.reason == Reason::Future || word.generation() == self.generation
    }

    /// The bit that keeps it while there is no route.
    fn owed_as(self) -> Flag {
        if self.reason == Reason::Future { Flag::OwedToFuture } else { Flag::Owed }
    }
}

impl NotifierInner {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicWord::new(),
            routes: Mutex::new(Routes::default()),
            idle: Condvar::new(),
            unrouted: AtomicU64::new(0),
        }
    }

    pub(crate) fn counters(&self) -> NotifierCounters {
        let unrouted = self.unrouted.load(Ordering::Relaxed);
        let Delivered { callback, fd, ready, waker, panics } = lock(&self.routes).delivered;
        NotifierCounters { callback, fd, ready, waker, unrouted, panics }
    }

    pub(crate) fn set_route(&self, route: Option<Route>) {
        let (route, mut old) = (route.map(Shareable::from), None);
        self.change_routes(|routes| old = std::mem::replace(&mut routes.route, route));
        discard_route(old);
    }

    /// Sends a wake on its one route. False if there is none, or if its request is no longer the current one.
    pub(crate) fn deliver(&self, wakeup: Wakeup) -> bool {
        let mut routes = lock(&self.routes);
        if !wakeup.is_current(self.word.load()) {
            return false;
        }
        if let Some(callbacks) = &mut routes.callbacks
            && let Some(callback) = callbacks.callback.clone()
        {
            let arg = callbacks.arg.clone();
            let thread = callbacks.running.enter();
            routes.delivered.callback += 1;
            drop(routes);
            self.run(A_CALLBACK, || {
                callback(&Notification {
                    reason: wakeup.reason,
                    status: wakeup.status,
                    generation: wakeup.generation.as_u64(),
                    arg: arg.as_ref(),
                });
            });
            // Dropped before `leave`, so that `unset_and_wait` also waits for the drop of what the callback owns; and one
            // by one: a second panic during the first would abort the process.
            self.run(A_CALLBACK, || drop(callback));
            if let Some(arg) = arg {
                self.run(AN_ARGUMENT, || drop(arg));
            }
            let mut routes = lock(&self.routes);
            let callbacks = routes.callbacks();
            callbacks.running.leave(thread);
            // Notifying is a system call, and there is hardly ever a waiter.
            if callbacks.waiting > 0 && callbacks.running.is_idle() {
                self.idle.notify_all();
            }
        } else if let Some(signal) = &routes.signal {
            signal.raise();
            routes.raised = true;
            routes.delivered.fd += 1;
        } else {
            match &routes.route {
                Some(Shareable::Ready(sender, token)) => {
                    let pushed = match wakeup.reason {
                        Reason::Future => sender.push_of_future(*token),
                        _ => sender.push(*token),
                    };
                    routes.delivered.ready += u64::from(pushed);
                }
                Some(Shareable::Waker(waker)) => {
                    let waker = Arc::clone(waker);
                    routes.delivered.waker += 1;
                    drop(routes);
                    self.run(A_WAKER, || waker.wake_by_ref());
                    // The last owner, if the route was replaced meanwhile.
                    self.run(A_WAKER, || drop(waker));
                }
                None => {
                    self.count_unrouted();
                    let _ = self.word.try_update(|word| {
                        wakeup.is_current(word).then(|| word.with(wakeup.owed_as()))
                    });
                    return false;
                }
            }
        }
        true
    }

    pub(crate) fn count_unrouted(&self) {
        self.unrouted.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs foreign code, and counts a panic in it.
    fn run(&self, what: &'static str, foreign: impl FnOnce()) {
        if contain(what, foreign).is_err() {
            lock(&self.routes).delivered.panics += 1;
        }
    }

    pub(crate) fn set_callback(&self, callback: Callback) {
        let mut old = None;
        self.change_routes(|routes| old = routes.callbacks().callback.replace(callback));
        discard(A_CALLBACK, old);
    }

    pub(crate) fn set_callback_arg(&self, arg: Option<CallbackArg>) {
        let mut routes = lock(&self.routes);
        if arg.is_none() && routes.callbacks.is_none() {
            return;
        }
        let old = std::mem::replace(&mut routes.callbacks().arg, arg);
        drop(routes);
        discard(AN_ARGUMENT, old);
    }

    pub(crate) fn callback(&self) -> Option<(Callback, Option<CallbackArg>)> {
        let routes = lock(&self.routes);
        let callbacks = routes.callbacks.as_ref()?;
        callbacks.callback.clone().map(|callback| (callback, callbacks.arg.clone()))
    }

    pub(crate) fn unset_callback(&self) -> Option<Callback> {
        let mut old = None;
        if plant::armed(Bug::CallbackAfterUnset) {
            return lock(&self.routes).callback().cloned();
        }
        self.change_routes(|routes| {
            old = routes.callbacks.as_mut().and_then(|callbacks| callbacks.callback.take());
        });
        old
    }

    pub(crate) fn unset_and_wait(&self) -> Result<Option<Callback>, InsideCallback> {
        let is_inside = |callbacks: &Callbacks| callbacks.running.includes_me();
        if lock(&self.routes).callbacks.as_deref().is_some_and(is_inside) {
            return Err(InsideCallback);
        }
        let old = self.unset_callback();
        let mut routes = lock(&self.routes);
        if routes.is_running() {
            routes.callbacks().waiting += 1;
            while routes.is_running() {
                routes = self.idle.wait(routes).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            routes.callbacks().waiting -= 1;
        }
        Ok(old)
    }

    pub(crate) fn set_signal(&self, signal: Arc<Signal>) {
        self.change_routes(|routes| routes.signal = Some(signal));
    }

    pub(crate) fn drain_signal(&self) {
        let mut routes = lock(&self.routes);
        if std::mem::take(&mut routes.raised)
            && let Some(signal) = &routes.signal
        {
            signal.drain();
        }
    }

    /// Cancels the request and removes every route. Called when the session is dropped.
    pub(crate) fn shut(&self) {
        self.word.update(|word| word.after(RequestEvent::Cancel).unwrap_or(word).at_rest());
        let mut removed = Removed::default();
        self.change_routes(|routes| removed = routes.remove_all());
        removed.discard();
    }

    /// Changes the routes, keeps the word's bit in step, and delivers the wakes that waited for a route.
    ///
    /// `change` must drop nothing: callbacks, arguments and wakers are foreign code, and the lock is held. Callers take
    /// the old value out and drop it afterwards.
    fn change_routes(&self, change: impl FnOnce(&mut Routes)) {
        let (word, routed) = {
            let mut routes = lock(&self.routes);
            change(&mut routes);
            let routed = !routes.is_empty();
            let (before, _) = self.word.update(|word| match routed {
                true => word.with(Flag::Routed).without(Flag::Owed).without(Flag::OwedToFuture),
                false => word.without(Flag::Routed),
            });
            (before, routed)
        };
        if routed {
            self.deliver_owed(word);
        }
    }

    /// Delivers what `word` says is owed: at most one wake of its request, and one of futures.
    fn deliver_owed(&self, word: Word) {
        let (status, generation) = (word.phase().into(), word.generation());
        if word.has(Flag::Owed) {
            // The word does not record the reason. A queued request whose armed bit was taken was woken for a retry.
            let reason = match word.phase() {
                RequestPhase::Done | RequestPhase::Failed | RequestPhase::Cancelled => {
                    Reason::Settled
                }
                _ => Reason::Retry,
            };
            self.deliver(Wakeup { reason, status, generation });
        }
        if word.has(Flag::OwedToFuture) {
            self.deliver(Wakeup { reason: Reason::Future, status, generation });
        }
    }
}

impl Drop for NotifierInner {
    fn drop(&mut self) {
        let routes = self.routes.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        routes.remove_all().discard();
    }
}

impl Wake for NotifierInner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let word = self.word.load();
        let status = word.phase().into();
        self.deliver(Wakeup { reason: Reason::Future, status, generation: word.generation() });
    }
}
