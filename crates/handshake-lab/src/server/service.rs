//! What a session is for once its handshake is done.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use std::{fmt, time::Duration};

use super::{
    phase::{Cause, Phase},
    tally::Timeouts,
};

#[derive(Debug, Clone)]
pub enum Service {
    /// The handshake alone: the server says goodbye (`close_notify`) as soon as it is done.
    HandshakeOnly,
    /// A small page over HTTP/1.1, with keep-alive.
    Page {
        /// The engine, as the page names it.
        engine: Arc<str>,
    },
}

/// Collects the answers of a device that must be polled. Called by the workers when they are idle.
pub trait Collect: fmt::Debug + Send + Sync {
    /// Hands out the answers that are there, if it is time to look. `sessions` is how many the server has. Returns when
    /// to ask again at the latest.
    fn collect(&self, sessions: usize) -> Option<Duration>;
}

/// Counters that all workers of a server share, to look at while it runs.
#[derive(Debug, Default)]
pub struct LiveCounters {
    handshakes: AtomicU64,
    /// By [`Cause`].
    failed: [AtomicU64; Cause::ALL.len()],
    requests: AtomicU64,
    accepted: AtomicU64,
    /// Times that no connection could be accepted for want of descriptors or memory.
    accept_pauses: AtomicU64,
    /// By what was waited for: handshake, request, response, next request.
    timeouts: [AtomicU64; 4],
    sessions: AtomicUsize,
    draining: AtomicBool,
}

impl LiveCounters {
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Sessions that ended in an error, those included whose peer hung up.
    pub fn failed(&self) -> u64 {
        Cause::ALL.into_iter().map(|cause| self.failures(cause)).sum()
    }

    /// Sessions that ended in an error of this kind.
    pub fn failures(&self, cause: Cause) -> u64 {
        self.failed[cause as usize].load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Times that a worker stopped accepting for a while, for want of descriptors or memory.
    pub fn accept_pauses(&self) -> u64 {
        self.accept_pauses.load(Ordering::Relaxed)
    }

    /// Sessions that waited for their peers longer than they may.
    pub fn timeouts(&self) -> Timeouts {
        let [handshakes, requests, responses, idle] =
            self.timeouts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Timeouts { handshakes, requests, responses, idle }
    }

    /// Whether the server takes no new connections any more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(super) fn accept_pause(&self) {
        self.accept_pauses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn timed_out(&self, phase: Phase) {
        let at = match phase {
            Phase::Handshake => 0,
            Phase::Request(_) => 1,
            Phase::Response(_) | Phase::Closing => 2,
            Phase::Idle(_) => 3,
        };
        self.timeouts[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn opened(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failure(&self, cause: Cause) {
        self.failed[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}
