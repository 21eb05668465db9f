//! The reference model of one session: what its status is and when it is woken, in plain sequential code.

use crate::request::{Ending, RequestEvent, RequestPhase, Status, transition};

/// One session without atomics, routes or threads. Each method says whether a wake is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionModel {
    phase: RequestPhase,
    armed: bool,
    retry: bool,
    wakes: u64,
}

/// What a job should do, according to the model. See [`Arm`](crate::Arm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelArm {
    /// Pause: a wake will come.
    Pause,
    /// Submit again.
    Retry,
    /// Collect the result: no wake will come.
    Collect,
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

    /// The status that an application must be shown.
    pub fn status(&self) -> Status {
        self.phase.into()
    }

    /// How many wakes were due so far.
    pub const fn wakes(&self) -> u64 {
        self.wakes
    }

    /// Whether the current request is armed: its next event wakes the session.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// A request begins. False, and nothing happens, while one is live.
    pub fn begin(&mut self) -> bool {
        let begun = self.take(RequestEvent::Begin);
        if begun {
            (self.armed, self.retry) = (false, false);
        }
        begun
    }

    /// The device takes the request. Nothing happens if it was faster than that.
    pub fn accept(&mut self) {
        if self.take(RequestEvent::Accept) {
            self.retry = false;
        }
    }

    /// The job is about to pause.
    pub fn arm(&mut self) -> ModelArm {
        if !self.phase.is_live() {
            ModelArm::Collect
        } else if std::mem::take(&mut self.retry) {
            ModelArm::Retry
        } else {
            self.armed = true;
            ModelArm::Pause
        }
    }

    /// A completion arrives. True if it is the first, false if it is late or a duplicate.
    pub fn settle(&mut self, outcome: Ending) -> bool {
        let first = self.take(match outcome {
            Ending::Done => RequestEvent::Complete,
            Ending::Failed => RequestEvent::Fail,
        });
        if first {
            self.wake_if_armed();
            self.retry = false;
        }
        first
    }

    /// The job's owner gives the request up. True if it was live.
    pub fn cancel(&mut self) -> bool {
        let cancelled = self.take(RequestEvent::Cancel);
        if cancelled {
            (self.armed, self.retry) = (false, false);
        }
        cancelled
    }

    /// A retry is announced, with the policy [`FullPolicy::Notify`](super::OnFull::Notify).
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
