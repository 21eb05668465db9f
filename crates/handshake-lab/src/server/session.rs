//! What the core of the event loop asks of a session, whatever stands for TLS and transport in it.

use std::fmt;
use std::time::Duration;

use super::{
    phase::{Cause, Milestone, Phase, SessionProgress},
    service::LiveCounters,
};

pub(crate) trait Session {
    /// Why one ended before its time.
    type Failure: fmt::Display;

    /// Goes on as far as it can: until the transport would block, it parks, or it has ended.
    fn advance(&mut self, live: &LiveCounters) -> Result<SessionProgress, Self::Failure>;

    /// It has just parked.
    fn parked(&mut self) -> Result<(), Self::Failure> {
        Ok(())
    }

    /// Whether a request of it is under way, so that it waits for a wake and not for its transport.
    fn is_parked(&self) -> bool;

    /// Looks after the peer of a parked session without resuming it.
    fn watch_peer(&mut self) -> Result<(), Self::Failure>;

    /// Cancels the operation that it is parked on; the next `advance` submits another. False if it is not parked or does
    /// not support this.
    fn start_over(&mut self) -> bool {
        false
    }

    /// Ends a wait that exceeded `limit`, with an answer to the peer where the protocol has one. True if the session
    /// still has that answer to send; false if the caller must drop it.
    fn time_out(&mut self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    fn milestone(&self) -> Milestone;

    /// What it waits for. Its time limit starts again whenever this changes.
    fn phase(&self) -> Phase {
        match self.milestone() {
            Milestone::Established => Phase::Idle(0),
            _ => Phase::Handshake,
        }
    }

    /// From now on it ends with its next answer. True if it is between two requests, so that it ends now.
    fn drain(&mut self) -> bool;

    /// Its number in logs, if it has one.
    fn id(&self) -> Option<u64> {
        None
    }

    /// Whether it failed because the peer went away.
    fn has_hung_up(failure: &Self::Failure) -> bool;

    /// Why it failed, as failures are counted.
    fn cause(failure: &Self::Failure) -> Cause {
        if Self::has_hung_up(failure) { Cause::HungUp } else { Cause::Other }
    }
}

/// Whom the CPU time of sessions is charged to.
pub(crate) trait Charge {
    /// What the price of a session depends on.
    type Tariff: Copy + fmt::Debug;

    /// A session goes from one station to another. Returns when the time for it has passed.
    fn charge(&mut self, tariff: Self::Tariff, from: Milestone, to: Milestone);

    /// A session has done what it could for now.
    fn step_ended(&mut self);

    /// The session `key` has parked, or does not park any more.
    fn parked(&mut self, key: usize, parked: bool) {
        let _ = (key, parked);
    }
}

/// Real time passes by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealTime;

impl Charge for RealTime {
    type Tariff = ();

    fn charge(&mut self, _tariff: (), _from: Milestone, _to: Milestone) {}

    fn step_ended(&mut self) {}
}
