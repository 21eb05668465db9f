//! How a token is recovered: which thread does what after which error. A pure state machine; the time is an argument.
//!
//! ```text
//!              error            done, or a rung higher while it fails
//!   Serving ----------> Climbing -----------------------------------> Serving, in a new epoch
//!      ^                   |  |
//!      |  pause over       |  +-- the top rung failed --> Resting     every request fails at once
//!      +-------------------+                                 |
//!                          ^---------------------------------+
//!                          |
//!                          +-- wrong PIN --> Stopped                  for good: only a person goes on
//! ```
//!
//! The rungs are what may help, the cheapest first: [`Rung`]. One thread at a time climbs; the others wait for it. An error
//! that was met in an earlier epoch says nothing about this one, so its thread only tries again. A climb after which no
//! signature succeeds does not count: the next one begins a rung higher, and after the top rung the token rests.

use core::time::Duration;

use crate::fault::Class;

/// What a recovery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// Logs in again, and finds the keys again.
    Login,
    /// Closes all sessions first.
    Sessions,
    /// Finalizes the module first, and initializes it.
    Module,
}

impl Rung {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Sessions => "sessions",
            Self::Module => "module",
        }
    }

    pub(crate) const fn above(self) -> Option<Self> {
        match self {
            Self::Login => Some(Self::Sessions),
            Self::Sessions => Some(Self::Module),
            Self::Module => None,
        }
    }
}

/// Counts the logins. What was learnt in one, such as the handle of a key, is worth nothing in the next.
pub(crate) type Epoch = u64;

/// What a thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Signs, with what was learnt in this epoch.
    Sign(Epoch),
    /// Waits until the stage changes, and asks again.
    Wait,
    /// Climbs from this rung, and says how it went.
    Climb(Rung),
    /// Fails its request: another attempt may come after this time.
    Rest(Duration),
    /// Fails its request, and nothing is tried any more.
    Stopped,
}

/// What becomes of a request whose signature failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Ask [`Ladder::next`] and try again.
    Again,
    /// Climb, say how it went, and try again.
    Climb(Rung),
    /// This request cannot succeed.
    Refuse,
    /// Another attempt may come after this time.
    Later(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Climbing,
    Resting { until: Duration },
    Stopped,
}

/// The state of a token's recovery.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    stage: Stage,
    /// A thread climbs, also while the stage is another: a person may let the token go on before it has ended.
    climbs: bool,
    epoch: Epoch,
    /// The highest rung there is: a module of another owner is never finalized.
    top: Rung,
    /// The rung of the last climb, while no signature has succeeded since.
    unproven: Option<Rung>,
    /// Rests since the last signature.
    rests: u32,
    /// Unclear errors that no other session helped against, since the last signature.
    unclear: u32,
}

/// The first rest; each further one is twice as long.
pub(crate) const FIRST_REST: Duration = Duration::from_millis(50);

/// The longest rest.
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(5);

/// How long a request waits that found no session left.
pub(crate) const BUSY: Duration = Duration::from_millis(200);

/// After this number of requests in a row with unclear errors the token is recovered. Fewer may be the fault of one key.
pub(crate) const UNCLEAR_LIMIT: u32 = 8;

impl Ladder {
    /// The state after the first login.
    pub(crate) const fn new(top: Rung) -> Self {
        Self {
            stage: Stage::Serving,
            climbs: false,
            epoch: 1,
            top,
            unproven: None,
            rests: 0,
            unclear: 0,
        }
    }

    /// Sets the highest rung: the owner of the module has changed.
    pub(crate) const fn set_top(&mut self, top: Rung) {
        self.top = top;
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stage == Stage::Stopped
    }

    /// What a thread does that wants to sign.
    pub(crate) fn next(&mut self, now: Duration) -> Next {
        match self.stage {
            Stage::Serving => Next::Sign(self.epoch),
            Stage::Climbing => Next::Wait,
            Stage::Resting { until } if now < until => Next::Rest(until - now),
            Stage::Resting { .. } => {
                self.begin_climb();
                Next::Climb(Rung::Login)
            }
            Stage::Stopped => Next::Stopped,
        }
    }

    /// Whether what was learnt in this epoch holds: it is the present one, and no thread climbs.
    pub(crate) fn serves_in(&self, epoch: Epoch) -> bool {
        epoch == self.epoch && self.stage == Stage::Serving
    }

    /// A signature succeeded.
    pub(crate) fn signed(&mut self, epoch: Epoch) {
        if self.serves_in(epoch) {
            (self.unproven, self.rests, self.unclear) = (None, 0, 0);
        }
    }

    /// Whether [`signed`](Self::signed) would change anything.
    pub(crate) const fn is_unproven(&self) -> bool {
        self.unproven.is_some() || self.rests > 0 || self.unclear > 0
    }

    /// A signature failed that was begun in `epoch`. `first` is whether the request has met no error of its own before.
    pub(crate) fn failed(
        &mut self,
        now: Duration,
        epoch: Epoch,
        class: Class,
        first: bool,
    ) -> AfterFailure {
        match class {
            Class::Request => return AfterFailure::Refuse,
            Class::Pin if epoch == self.epoch => {
                self.stage = Stage::Stopped;
                return AfterFailure::Refuse;
            }
            Class::Busy => return AfterFailure::Later(BUSY),
            _ => {}
        }
        if !self.serves_in(epoch) {
            return AfterFailure::Again;
        }
        let rung = match class {
            Class::Session | Class::Unclear if first => return AfterFailure::Again,
            Class::Session | Class::Login => Rung::Login,
            Class::Unclear => {
                self.unclear += 1;
                if self.unclear < UNCLEAR_LIMIT {
                    return AfterFailure::Refuse;
                }
                Rung::Sessions
            }
            _ => Rung::Sessions,
        };
        self.unclear = 0;
        let rung = match self.unproven {
            None => rung.min(self.top),
            // What was done last did not help.
            Some(last) => match last.above().filter(|above| *above <= self.top) {
                Some(above) => rung.max(above).min(self.top),
                None => return AfterFailure::Later(self.rest(now)),
            },
        };
        self.begin_climb();
        AfterFailure::Climb(rung)
    }

    const fn begin_climb(&mut self) {
        (self.stage, self.climbs) = (Stage::Climbing, true);
    }

    /// The rung to try after this one has failed. None once another thread has learnt that the PIN is of no use: each rung
    /// would give it.
    pub(crate) fn higher(&self, rung: Rung) -> Option<Rung> {
        rung.above().filter(|above| *above <= self.top && !self.is_stopped())
    }

    /// The thread that climbs reached a rung at which the keys were found.
    pub(crate) fn climbed(&mut self, rung: Rung) {
        if self.stage == Stage::Climbing {
            self.stage = Stage::Serving;
        }
        self.climbs = false;
        self.epoch += 1;
        self.unproven = Some(rung);
    }

    /// The thread that climbs found that the top rung does not help. Returns how long the token rests.
    pub(crate) fn fell(&mut self, now: Duration) -> Duration {
        self.climbs = false;
        self.epoch += 1;
        if self.stage == Stage::Stopped { LONGEST_REST } else { self.rest(now) }
    }

    /// The thread that climbs found that the token refuses the PIN, or is about to lock.
    pub(crate) fn stop(&mut self) {
        (self.stage, self.climbs) = (Stage::Stopped, false);
    }

    /// A person says that the PIN is right now. The next request climbs, or waits for the thread that does.
    pub(crate) fn resume(&mut self) {
        if self.stage == Stage::Stopped {
            self.stage = match self.climbs {
                true => Stage::Climbing,
                false => Stage::Resting { until: Duration::ZERO },
            };
            (self.unproven, self.rests) = (None, 0);
        }
    }

    fn rest(&mut self, now: Duration) -> Duration {
        let rest = FIRST_REST.saturating_mul(1 << self.rests.min(16)).min(LONGEST_REST);
        self.rests += 1;
        self.unproven = None;
        self.stage = Stage::Resting { until: now + rest };
        rest
    }
}

#[cfg(test)]
mod tests;
