//! One request in flight: what its job does with it, and what its completion does.

use std::fmt;
use std::mem::ManuallyDrop;

use crate::callback::Reason;
use crate::notifier::Notifier;
use crate::plant::{self, Bug};
use crate::request::{Ending, RequestEvent, RequestPhase};
use crate::routes::Due;
use crate::word::{Flag, Generation, Word};

/// A request that was begun. Clones name the same request. `Send + Sync`: one side is the job, the other the device.
///
/// It carries the generation of its request, so a completion that comes after the request was collected, cancelled or
/// followed by another one changes nothing and wakes nobody.
#[derive(Clone)]
pub struct InFlight {
    notifier: Notifier,
    generation: Generation,
}

/// What a job should do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "pausing without being armed may never be followed by a resume"]
pub enum Arm {
    /// Pause. From here on a completion or a retry wakes the session.
    Armed,
    /// Do not pause: a retry was announced meanwhile. Submit again.
    Retry,
    /// Do not pause: the request has its outcome and no wake will come.
    Settled(RequestPhase),
}

/// Not an event for this word: it is another request's, or settled, or claimed.
struct Refused;

impl InFlight {
    pub(crate) const fn new(notifier: Notifier, generation: Generation) -> Self {
        Self { notifier, generation }
    }

    /// The notifier this request was begun on.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Counts the requests of one notifier.
    pub const fn generation(&self) -> u64 {
        self.generation.as_u64()
    }

    /// The state; `Cancelled` if a later request was begun. After `Done` or `Failed` the result, stored before, is
    /// visible to this thread.
    #[inline]
    pub fn phase(&self) -> RequestPhase {
        self.own(self.notifier.word().load()).map_or(RequestPhase::Cancelled, Word::phase)
    }

    /// The device took the request. Does nothing if the completion was faster, or the request is gone.
    #[inline]
    pub fn accept(&self) {
        let _ = self.update(|word| {
            word.after(RequestEvent::Accept).map(|w| w.without(Flag::Retry)).map_err(|_| Refused)
        });
    }

    /// Called by the job right before it pauses. It may be called again after a resume that brought nothing.
    #[inline]
    pub fn arm(&self) -> Arm {
        let armed = self.update(|word| match word.phase().is_live() {
            true if word.has(Flag::Retry) => Ok(word.without(Flag::Retry).without(Flag::Owed)),
            true => Ok(word.with(Flag::Armed).without(Flag::Owed)),
            false => Err(Refused),
        });
        match armed {
            Ok((before, _)) if before.has(Flag::Retry) => Arm::Retry,
            Ok(_) => Arm::Armed,
            Err(Refused) => Arm::Settled(self.phase()),
        }
    }

    /// Whether a job, or whoever else waits, would be woken now. What it comes to may change at any time.
    pub fn is_armed(&self) -> bool {
        self.own(self.notifier.word().load()).is_some_and(|word| word.has(Flag::Armed))
    }

    /// Tries to become the one that completes this request. `None` for everyone else: late, duplicate or cancelled.
    ///
    /// The winner stores the result and then calls [`Claim::wake`]. Until then the state stays what it was.
    #[inline]
    pub fn claim(&self, outcome: Ending) -> Option<Claim<'_>> {
        let claimed = self.update(|word| {
            if word.phase().is_live() && !word.has(Flag::Claimed) {
                Ok(word.with(Flag::Claimed))
            } else {
                Err(Refused)
            }
        });
        let (_, word) = claimed.ok()?;
        Some(Claim { request: self, outcome, word })
    }

    /// Gives the request up. True if this call settled it; false if it was settled or claimed before.
    ///
    /// Either way no wake of this request begins afterwards, and the next request may be begun at once. Where a claim
    /// was already made, whoever made it stores its result for nobody; its wake delivers nothing.
    pub fn cancel(&self) -> bool {
        self.update(|word| {
            word.after(RequestEvent::Cancel)
                .map(|cancelled| cancelled.at_rest().without(Flag::Owed))
                .map_err(|_| Refused)
        })
        .is_ok_and(|(before, _)| !before.has(Flag::Claimed))
    }

    /// Announces that a request which found the device full may be submitted again. True if a wake was delivered.
    ///
    /// It wakes once per [`arm`](Self::arm), and only while the status is `Again`. Announced to a job that is not armed
    /// yet, it makes the next `arm` answer [`Arm::Retry`] instead.
    pub fn notify_retry(&self) -> bool {
        let retry = self.update(|word| match word.phase() {
            RequestPhase::Queued if word.has(Flag::Claimed) => Err(Refused),
            RequestPhase::Queued if word.has(Flag::Armed) => {
                Ok(owing_if_unrouted(word).without(Flag::Armed))
            }
            RequestPhase::Queued => Ok(word.with(Flag::Retry)),
            _ => Err(Refused),
        });
        match retry {
            Ok((before, _)) if before.has(Flag::Armed) => {
                self.deliver(before, Reason::Retry, RequestPhase::Queued)
            }
            _ => false,
        }
    }

    /// Publishes the outcome of a claim and wakes the job if it was armed.
    #[inline]
    fn settle(&self, claimed: Word, outcome: Ending) -> bool {
        // Nearly always the word is as the claim has left it.
        let settled = self.notifier.word().update_from(claimed, |word| {
            let word = self.own(word).ok_or(Refused)?;
            // Refused as well if it was cancelled since.
            let after = word.after(outcome.event()).map_err(|_| Refused)?.at_rest();
            Ok(if word.has(Flag::Armed) { owing_if_unrouted(after) } else { after })
        });
        match settled {
            Ok((before, after)) if before.has(Flag::Armed) => {
                self.deliver(before, Reason::Settled, after.phase())
            }
            Ok(_) | Err(Refused) => false,
        }
    }

    fn deliver(&self, before: Word, reason: Reason, state: RequestPhase) -> bool {
        let shared = self.notifier.shared();
        if !before.has(Flag::Routed) {
            shared.count_unrouted();
            return false;
        }
        shared.deliver(Due { reason, status: state.into(), generation: self.generation })
    }

    fn own(&self, word: Word) -> Option<Word> {
        let is_own = word.generation() == self.generation;
        (is_own || plant::armed(Bug::StaleGeneration)).then_some(word)
    }

    /// Changes the word while it is this request's, and returns what it was before and is now.
    #[inline]
    fn update(
        &self,
        mut f: impl FnMut(Word) -> Result<Word, Refused>,
    ) -> Result<(Word, Word), Refused> {
        self.notifier.word().update(|word| self.own(word).ok_or(Refused).and_then(&mut f))
    }
}

/// A wake that is due now finds no route: the first one added delivers it.
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
/// Store the result, then [`wake`](Self::wake). A claim that is dropped instead, say by a panic while storing, settles
/// the request as `Failed` and wakes the job, so that nothing waits for ever.
#[derive(Debug)]
#[must_use = "store the result, then call wake"]
pub struct Claim<'a> {
    request: &'a InFlight,
    outcome: Ending,
    /// The word as the claim left it.
    word: Word,
}

impl Claim<'_> {
    /// Publishes the outcome, and wakes the session if its job was armed. True if a wake was delivered.
    #[inline]
    pub fn wake(self) -> bool {
        let claim = ManuallyDrop::new(self);
        claim.request.settle(claim.word, claim.outcome)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.request.settle(self.word, Ending::Failed);
    }
}
