//! The waker half of a wait context, and one request that is made through it: what engines and devices hold.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::Waker;

use crate::callback::Reason;
use crate::plant::{self, Bug};
use crate::request::{Ending, RequestEvent, RequestPhase, Status};
use crate::routes::{NotifierCounters, NotifierInner, Route, Wakeup};
use crate::word::{Flag, Generation, Word};

/// The waker half of a session: `Send + Sync`, and cheap to clone. There is one per session, and a request made through
/// it allocates nothing.
///
/// A wake takes exactly one route: the callback if one is set, else the session's own descriptor if it was ever asked
/// for, else the [`Route`]. With none of them the wake is kept, and delivered by the first route that is added; an
/// application may also simply call again whenever it likes.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<NotifierInner>,
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
        Self { shared: Arc::new(NotifierInner::new()) }
    }

    /// The status of the current request, or of the last one. One atomic load, on any thread.
    #[inline]
    pub fn status(&self) -> Status {
        self.shared.word.load().phase().into()
    }

    /// Begins a request, in the phase `Queued`. From here on, completions of earlier requests wake nothing.
    ///
    /// # Errors
    /// [`RequestLive`] while the last request is queued or submitted: a session has at most one.
    #[inline]
    pub fn begin(&self) -> Result<InFlight, RequestLive> {
        let (_, word) = self.shared.word.try_update(Word::next).ok_or(RequestLive)?;
        Ok(InFlight { notifier: self.clone(), generation: word.generation() })
    }

    /// Sets the route of wakes that find neither a callback nor a descriptor.
    pub fn set_route(&self, route: Route) {
        self.shared.set_route(Some(route));
    }

    /// Removes the route. No wake begins to take it after this has returned.
    pub fn clear_route(&self) {
        self.shared.set_route(None);
    }

    /// A `Waker` that takes the same routes, for futures awaited inside a job. It costs a reference count.
    ///
    /// Such wakes belong to no request, and there may be any number of them; on a ready queue they coalesce, as they do
    /// in an executor.
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

    pub(crate) fn shared(&self) -> &NotifierInner {
        &self.shared
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

/// A request that was begun. Clones name the same request. `Send + Sync`: one side is the job, the other the device.
///
/// It carries the generation of its request, so a completion that comes after the request was collected, cancelled or
/// followed by another one changes nothing and wakes nothing.
#[derive(Clone)]
pub struct InFlight {
    notifier: Notifier,
    generation: Generation,
}

/// What a job must do after it tried to arm its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "pausing without being armed may never be followed by a resume"]
pub enum Arm {
    /// Pause. From here on a completion or a retry wakes the session.
    Armed,
    /// Do not pause: a retry was announced meanwhile. Submit again.
    Retry,
    /// Do not pause: the request is settled and no wake will come.
    Settled(RequestPhase),
}

impl InFlight {
    /// The notifier this request was begun on.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Counts the requests of one notifier.
    pub const fn generation(&self) -> u64 {
        self.generation.as_u64()
    }

    /// The phase; `Cancelled` if a later request was begun. After `Done` or `Failed` the result, stored before, is
    /// visible to this thread.
    #[inline]
    pub fn phase(&self) -> RequestPhase {
        let word = self.notifier.shared.word.load();
        self.if_own(word).map_or(RequestPhase::Cancelled, Word::phase)
    }

    /// Records that the device took the request. Does nothing if the completion was faster, or the request was
    /// cancelled.
    #[inline]
    pub fn accept(&self) {
        let _ = self.update(|word| Some(word.after(RequestEvent::Accept)?.without(Flag::Retry)));
    }

    /// Arms the request; the job calls it right before it pauses. It may be called again after a resume without a
    /// reason.
    #[inline]
    pub fn arm(&self) -> Arm {
        let armed = self.update(|word| match word.phase().is_live() {
            true if word.has(Flag::Retry) => Some(word.without(Flag::Retry).without(Flag::Owed)),
            true => Some(word.with(Flag::Armed).without(Flag::Owed)),
            false => None,
        });
        match armed {
            Some((before, _)) if before.has(Flag::Retry) => Arm::Retry,
            Some(_) => Arm::Armed,
            None => Arm::Settled(self.phase()),
        }
    }

    /// Whether the request is armed: a completion now would wake the session. Another thread may change it at any time.
    pub fn is_armed(&self) -> bool {
        self.if_own(self.notifier.shared.word.load()).is_some_and(|word| word.has(Flag::Armed))
    }

    /// Claims the right to complete this request. `None` if it was completed, claimed or cancelled before.
    ///
    /// The winner stores the result and then calls [`Claim::wake`]. Until then the phase stays what it was.
    #[inline]
    pub fn claim(&self, ending: Ending) -> Option<Claim<'_>> {
        let (_, word) = self.update(|word| {
            let is_free = word.phase().is_live() && !word.has(Flag::Claimed);
            is_free.then(|| word.with(Flag::Claimed))
        })?;
        Some(Claim { request: self, ending, word })
    }

    /// Cancels the request. True if this call settled it; false if it was settled or claimed before.
    ///
    /// Either way no wake of this request begins afterwards, and the next request may be begun at once. A completion that
    /// had claimed the request still stores its result; its wake delivers nothing.
    pub fn cancel(&self) -> bool {
        self.update(|word| Some(word.after(RequestEvent::Cancel)?.at_rest().without(Flag::Owed)))
            .is_some_and(|(before, _)| !before.has(Flag::Claimed))
    }

    /// Announces that a request which found the device full may be submitted again. True if a wake was delivered.
    ///
    /// It wakes once per [`arm`](Self::arm), and only while the status is `Again`. Announced to a job that is not armed
    /// yet, it makes the next `arm` answer [`Arm::Retry`] instead.
    pub fn notify_retry(&self) -> bool {
        let retry = self.update(|word| match word.phase() {
            RequestPhase::Queued if word.has(Flag::Claimed) => None,
            RequestPhase::Queued if word.has(Flag::Armed) => {
                Some(owing_if_unrouted(word).without(Flag::Armed))
            }
            RequestPhase::Queued => Some(word.with(Flag::Retry)),
            _ => None,
        });
        match retry {
            Some((before, _)) if before.has(Flag::Armed) => {
                self.deliver(before, Reason::Retry, RequestPhase::Queued)
            }
            _ => false,
        }
    }

    /// Publishes the ending of a claim, and wakes the job if it was armed.
    #[inline]
    fn settle(&self, claimed: Word, ending: Ending) -> bool {
        // Nearly always the word is as the claim has left it.
        let settled = self.notifier.shared.word.try_update_from(claimed, |word| {
            // Illegal if the request was cancelled since.
            let after = self.if_own(word)?.after(ending.event())?.at_rest();
            Some(if word.has(Flag::Armed) { owing_if_unrouted(after) } else { after })
        });
        match settled {
            Some((before, after)) if before.has(Flag::Armed) => {
                self.deliver(before, Reason::Settled, after.phase())
            }
            _ => false,
        }
    }

    fn deliver(&self, before: Word, reason: Reason, phase: RequestPhase) -> bool {
        let shared = &self.notifier.shared;
        if !before.has(Flag::Routed) {
            shared.count_unrouted();
            return false;
        }
        shared.deliver(Wakeup { reason, status: phase.into(), generation: self.generation })
    }

    fn if_own(&self, word: Word) -> Option<Word> {
        let is_own = word.generation() == self.generation;
        (is_own || plant::armed(Bug::StaleGeneration)).then_some(word)
    }

    /// Changes the word, and returns it before and after. `None` if `f` returns that or the generation is stale.
    #[inline]
    fn update(&self, mut f: impl FnMut(Word) -> Option<Word>) -> Option<(Word, Word)> {
        self.notifier.shared.word.try_update(|word| self.if_own(word).and_then(&mut f))
    }
}

/// Marks a wake that finds no route as owed: the first route added delivers it.
const fn owing_if_unrouted(word: Word) -> Word {
    if word.has(Flag::Routed) { word } else { word.with(Flag::Owed) }
}

impl PartialEq for InFlight {
    /// Whether both name the same request.
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation && self.notifier.same(&other.notifier)
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("generation", &self.generation())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

/// The right to complete a request, held by exactly one party.
///
/// Store the result, then [`wake`](Self::wake). A claim that is dropped instead, for example by a panic while storing,
/// settles the request as `Failed` and wakes the job, so that nothing waits for ever.
#[derive(Debug)]
#[must_use = "store the result, then call wake"]
pub struct Claim<'a> {
    request: &'a InFlight,
    ending: Ending,
    /// The word as the claim left it.
    word: Word,
}

impl Claim<'_> {
    /// Publishes the ending, and wakes the session if its job was armed. True if a wake was delivered.
    #[inline]
    pub fn wake(self) -> bool {
        let claim = ManuallyDrop::new(self);
        let woken = claim.request.settle(claim.word, claim.ending);
        #[cfg(feature = "proptest")]
        crate::interrupt::after_wake();
        woken
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.request.settle(self.word, Ending::Failed);
    }
}
