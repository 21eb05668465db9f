//! How long a session may wait for its peer, and when to look.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::phase::Phase;

/// How long a session may be in each phase. `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to the end of the handshake. It has to be longer than the key takes.
    pub handshake: Option<Duration>,
    /// From the end of the handshake, or the first byte of a later request, to the end of the request.
    pub request: Option<Duration>,
    /// Between two requests; and how long the peer may take for a response.
    pub idle: Option<Duration>,
}

/// How long the peer of a limited session may take for the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

impl Limits {
    /// How long a session may be in this phase.
    pub(super) fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Handshake => self.handshake,
            Phase::Request(_) => self.request,
            Phase::Response(_) | Phase::Idle(_) => self.idle,
            Phase::Closing => self.idle.or(self.request).map(|_| GOODBYE),
        }
    }
}

/// When to look at sessions: the earliest first. One alarm a session is enough: it goes off at the session's deadline or
/// before it, and is then set anew.
#[derive(Debug, Default)]
pub(super) struct Alarms(BinaryHeap<Reverse<(Duration, usize)>>);

impl Alarms {
    /// Sets an alarm for the session `key`.
    pub(super) fn set(&mut self, at: Duration, key: usize) {
        self.0.push(Reverse((at, key)));
    }

    pub(super) fn first(&self) -> Option<(Duration, usize)> {
        self.0.peek().map(|&Reverse(alarm)| alarm)
    }

    pub(super) fn take_first(&mut self) {
        self.0.pop();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes away those that are of no use any more, if they are many beside this many sessions.
    pub(super) fn tidy(
        &mut self,
        sessions: usize,
        mut is_of_use: impl FnMut(Duration, usize) -> bool,
    ) {
        if self.0.len() > 4 * sessions + 1024 {
            self.0.retain(|&Reverse((at, key))| is_of_use(at, key));
        }
    }
}
