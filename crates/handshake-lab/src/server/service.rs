//! What a session is for once its handshake is done.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use std::{fmt, time::Duration};

/// What a session is for.
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

/// Somebody who has to be asked for the answers of a device: by the workers, when they have done what there was to do.
pub trait Collect: fmt::Debug + Send + Sync {
    /// Hands out the answers that are there, if it is time to look. `sessions` is how many the server has. Returns when
    /// to ask again at the latest.
    fn collect(&self, sessions: usize) -> Option<Duration>;
}

/// Counters that all workers of a server share, to look at while it runs.
#[derive(Debug, Default)]
pub struct LiveCounters {
    handshakes: AtomicU64,
    failed: AtomicU64,
    requests: AtomicU64,
    /// Sessions that there are.
    sessions: AtomicUsize,
}

impl LiveCounters {
    /// Handshakes completed.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Sessions that ended in an error, those included whose peer hung up.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// HTTP requests answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sessions that there are now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(super) fn opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}
