//! The interrupt line of an instance: coalescing, delivery, and loss.
//!
//! ```text
//!             response written            count or delay reached          latency
//!   quiet ------------------------> counting ----------------> in transit ---------> pending
//!     ^                                 |                                              |
//!     +---------- ring drained ---------+                 taken by the software <------+
//! ```

use core::time::Duration;

use crate::config::InterruptMode;

/// The state of the interrupt line. Times are absolute.
#[derive(Debug)]
pub(crate) struct InterruptLine {
    mode: InterruptMode,
    latency: Duration,
    /// Responses written since the last interrupt was raised.
    unannounced: u32,
    /// When the coalescing delay of the oldest of them ends.
    timer: Option<Duration>,
    /// When the interrupt in transit reaches the software.
    arrives: Option<Duration>,
    pending: bool,
}

/// What the device must do about its interrupt line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Signal {
    Nothing,
    /// Raise an interrupt now: call [`InterruptLine::raise`], or lose it.
    Raise,
    /// An interrupt reached the software.
    Delivered,
}

impl InterruptLine {
    pub(crate) const fn new(mode: InterruptMode, latency: Duration) -> Self {
        Self { mode, latency, unannounced: 0, timer: None, arrives: None, pending: false }
    }

    /// Counts a written response.
    pub(crate) fn handle_response(&mut self, now: Duration) -> Signal {
        let (responses, delay) = match self.mode {
            InterruptMode::Polling => return Signal::Nothing,
            InterruptMode::PerResponse => (1, Duration::ZERO),
            InterruptMode::Coalesced { responses, delay } => (responses, delay),
        };
        self.unannounced += 1;
        if self.unannounced >= responses {
            return self.fire();
        }
        if self.timer.is_none() {
            self.timer = Some(now.saturating_add(delay));
        }
        Signal::Nothing
    }

    /// Handles the event at [`deadline`](Self::deadline).
    pub(crate) fn handle_deadline(&mut self, now: Duration) -> Signal {
        if self.arrives.is_some_and(|at| at <= now) {
            self.arrives = None;
            self.pending = true;
            return Signal::Delivered;
        }
        if self.timer.is_some_and(|at| at <= now) {
            return self.fire();
        }
        Signal::Nothing
    }

    /// Whether an interrupt is in transit or not yet taken; it announces later responses, too.
    const fn is_covered(&self) -> bool {
        self.pending || self.arrives.is_some()
    }

    /// Raises an interrupt, which arrives after the latency.
    pub(crate) fn raise(&mut self, now: Duration) {
        self.arrives = Some(now.saturating_add(self.latency));
    }

    /// Records that the software drained the ring: nothing is left to announce.
    pub(crate) fn handle_drained(&mut self) {
        self.unannounced = 0;
        self.timer = None;
    }

    pub(crate) fn take(&mut self) -> bool {
        core::mem::take(&mut self.pending)
    }

    pub(crate) const fn is_pending(&self) -> bool {
        self.pending
    }

    /// Whether the instance uses interrupts.
    pub(crate) fn is_used(&self) -> bool {
        self.mode != InterruptMode::Polling
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        match (self.timer, self.arrives) {
            (Some(timer), Some(arrives)) => Some(timer.min(arrives)),
            (timer, arrives) => timer.or(arrives),
        }
    }

    fn fire(&mut self) -> Signal {
        self.unannounced = 0;
        self.timer = None;
        if self.is_covered() { Signal::Nothing } else { Signal::Raise }
    }
}
