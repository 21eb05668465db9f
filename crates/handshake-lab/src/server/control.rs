//! The order of a server to its workers: go on, drain, or end at once.

use std::sync::atomic::{AtomicU8, Ordering};

/// The latest order to a worker. It only ever goes up.
#[derive(Debug, Default)]
pub(super) struct Control(AtomicU8);

/// No new connection; open ones are served to their end. A new control has 0: the worker runs.
pub(super) const DRAIN: u8 = 1;
/// End at once, whatever is under way.
pub(super) const ABANDON: u8 = 2;

impl Control {
    pub(super) fn say(&self, what: u8) {
        self.0.fetch_max(what, Ordering::Release);
    }

    pub(super) fn draining(&self) -> bool {
        self.0.load(Ordering::Acquire) >= DRAIN
    }

    pub(super) fn abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) >= ABANDON
    }
}
