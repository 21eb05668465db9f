//! The reference model of one session: its status and its wakes, in sequential code.

use crate::Arm;
use crate::request::{Ending, RequestEvent, RequestPhase, Status, transition};

/// One session without atomics, routes or threads. Each method says whether a wake is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionModel {
    phase: RequestPhase,
    armed: bool,
    retry: bool,
    wakes: u64,
}

impl Default for SessionModel {
    fn default() -> Self {
        Self { phase: RequestPhase::Free, armed: false, retry: false, wakes: 0 }
    }
}

impl SessionModel {
    /// A session that has made no request.
    pub fn new() -> Self {
        Self::default()
    }

    /// The phase of its request.
    pub const fn phase(&self) -> RequestPhase {
        self.phase
    }

    /// The status that an application must see.
    pub fn status(&self) -> Status {
        self.phase.into()
    }

    /// The number of wakes that were due so far.
    pub const fn wakes(&self) -> u64 {
        self.wakes
    }

    /// Whether the current request is armed: its next event wakes the session.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Begins a request. False, without an effect, while one is live.
    pub fn begin(&mut self) -> bool {
        let begun = self.take(RequestEvent::Begin);
        if begun {
            (self.armed, self.retry) = (false, false);
        }
        begun
    }

    /// The device takes the request. No effect if it was completed before.
    pub fn accept(&mut self) {
        if self.take(RequestEvent::Accept) {
            self.retry = false;
        }
    }

    /// Arms the request, before the job pauses.
    pub fn arm(&mut self) -> Arm {
        if !self.phase.is_live() {
            Arm::Settled(self.phase)
        } else if std::mem::take(&mut self.retry) {
            Arm::Retry
        } else {
            self.armed = true;
            Arm::Armed
        }
    }

    /// Completes the request. True for the first completion, false for a late one or a duplicate.
    pub fn settle(&mut self, outcome: Ending) -> bool {
        let first = self.take(outcome.event());
        if first {
            self.wake_if_armed();
            self.retry = false;
        }
        first
    }

    /// Cancels the request. True if it was live.
    pub fn cancel(&mut self) -> bool {
        let cancelled = self.take(RequestEvent::Cancel);
        if cancelled {
            (self.armed, self.retry) = (false, false);
        }
        cancelled
    }

    /// Announces a retry, under the policy [`FullPolicy::Notify`](super::FullPolicy::Notify).
    pub fn retry(&mut self) {
        if self.phase == RequestPhase::Queued && !self.wake_if_armed() {
            self.retry = true;
        }
    }

    fn wake_if_armed(&mut self) -> bool {
        let armed = std::mem::take(&mut self.armed);
        self.wakes += u64::from(armed);
        armed
    }

    fn take(&mut self, event: RequestEvent) -> bool {
        match transition(self.phase, event) {
            Some(phase) => {
                self.phase = phase;
                true
            }
            None => false,
        }
    }
}
