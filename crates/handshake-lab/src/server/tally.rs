//! What a worker counts.

use std::{collections::BTreeMap, time::Duration};

use job_core::PoolStats;
use lab_report::recording::DurationHistogram;

use super::phase::Phase;

/// What one worker has done, after its end.
#[derive(Debug, Clone, Default)]
pub struct WorkerReport {
    pub accepted: u64,
    pub handshakes: u64,
    /// Sessions that failed, for whatever reason but the peer's hanging up.
    pub failed: u64,
    /// Sessions whose peer hung up, before or after the handshake.
    pub hung_up: u64,
    /// Sessions given up one by one, wherever they were.
    pub given_up: u64,
    /// Sessions that waited for their peers longer than they may.
    pub timeouts: Timeouts,
    /// Sessions closed because the time to drain was over.
    pub abandoned: u64,
    /// Turns of the event loop, each of which polls once.
    pub turns: u64,
    pub parks: u64,
    /// Sessions that were parked at the same time, at most.
    pub parked_peak: u64,
    /// Sessions that ended, or asked anew, while they were parked.
    pub dropped: u64,
    /// Tokens that came out of the ready queue.
    pub tokens: u64,
    /// Resumes made because of a token.
    pub resumes: u64,
    /// Resumes made without one, on purpose (law L2).
    pub unprompted_resumes: u64,
    /// How often the ready queue's descriptor was written.
    pub fd_writes: u64,
    /// What was checked of each session.
    pub sessions: SessionChecks,
    pub cpu: Duration,
    /// Time that it was ready to run without a processor; `None` in virtual time and where the system does not tell.
    pub processor_wait: Option<Duration>,
    /// The worker's job pool after its last session ended.
    pub pool: PoolStats,
    /// How late the other task of its thread was, if it had one.
    pub beat_late: Option<DurationHistogram>,
    /// Callbacks of its sessions that ran on the stack of a job (law L4).
    pub calls_on_job_stack: u64,
    /// What failures said, with how often each was seen.
    pub failures: BTreeMap<String, u64>,
}

/// Sessions that waited for their peers longer than they may, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Timeouts {
    /// The end of the handshake.
    pub handshakes: u64,
    /// The end of a request.
    pub requests: u64,
    /// That the peer takes a response, or the goodbye.
    pub responses: u64,
    /// The next request: idle connections.
    pub idle: u64,
}

impl Timeouts {
    pub(super) fn count(&mut self, phase: Phase) {
        let counter = match phase {
            Phase::Handshake => &mut self.handshakes,
            Phase::Request(_) => &mut self.requests,
            Phase::Response(_) | Phase::Closing => &mut self.responses,
            Phase::Idle(_) => &mut self.idle,
        };
        *counter += 1;
    }

    /// With another worker's.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            handshakes: self.handshakes + other.handshakes,
            requests: self.requests + other.requests,
            responses: self.responses + other.responses,
            idle: self.idle + other.idle,
        }
    }
}

/// Laws that are checked session by session, when the session ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionChecks {
    /// Sessions that were resumed without a wake (law L2) ...
    pub unprompted: u64,
    /// ... and failed afterwards, though the peer was still there.
    pub unprompted_harmed: u64,
    /// Sessions that parked (laws L4 and L7) ...
    pub parked: u64,
    /// ... and the wakes they got beyond one for each time that they parked ...
    pub wakes_beyond: u64,
    /// ... or were resumed more often than wakes + 1.
    pub too_many_resumes: u64,
}

/// What was counted of one session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SessionTally {
    /// Times it went from running to parked.
    pub(super) parks: u64,
    pub(super) tokens: u64,
    pub(super) resumes: u64,
    pub(super) unprompted: u64,
}

impl SessionChecks {
    /// Takes up a session at its end; `harmed` if it failed though its peer was still there.
    pub(super) fn take(&mut self, session: &SessionTally, harmed: bool) {
        if session.unprompted > 0 {
            self.unprompted += 1;
            self.unprompted_harmed += u64::from(harmed);
        }
        if session.parks > 0 {
            self.parked += 1;
            self.wakes_beyond += session.tokens.saturating_sub(session.parks);
            self.too_many_resumes += u64::from(session.resumes > session.tokens + 1);
        }
    }

    /// Takes up another worker's.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            unprompted: self.unprompted + other.unprompted,
            unprompted_harmed: self.unprompted_harmed + other.unprompted_harmed,
            parked: self.parked + other.parked,
            wakes_beyond: self.wakes_beyond + other.wakes_beyond,
            too_many_resumes: self.too_many_resumes + other.too_many_resumes,
        }
    }
}
