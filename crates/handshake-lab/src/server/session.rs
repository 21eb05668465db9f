//! What the core of the event loop asks of a session, whatever stands for TLS and transport in it.

use std::fmt;
use std::time::Duration;

use super::service::LiveCounters;

/// A session of a worker.
pub(crate) trait Session {
    /// Why one ended before its time.
    type Failure: fmt::Display;

    /// Goes on as far as it can: until the transport would block, it parks, or it has ended.
    fn advance(&mut self, live: &LiveCounters) -> Result<Progress, Self::Failure>;

    /// It has just parked.
    fn parked(&mut self) -> Result<(), Self::Failure> {
        Ok(())
    }

    /// Whether a request of it is under way, so that it waits for a wake and not for its transport.
    fn is_parked(&self) -> bool;

    /// Looks after the peer of a parked session without resuming it.
    fn watch_peer(&mut self) -> Result<(), Self::Failure>;

    /// Cancels the operation that it is parked on, keeps everything else, and is about to ask anew. False if it is not
    /// parked, or is of the kind that never does.
    fn start_over(&mut self) -> bool {
        false
    }

    /// What it waits for has not come within `limit`: the peer is told, as far as it can be. True if the session goes on,
    /// to say its goodbye; false if it is to be dropped.
    fn time_out(&mut self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    /// How far its handshake has come.
    fn milestone(&self) -> Milestone;

    /// What it waits for, which says how long it may: the time begins anew whenever this changes.
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

/// Why a session failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The peer went away.
    HungUp,
    /// The peer broke the protocol, or nothing could be agreed on.
    Tls,
    /// The key's operation failed.
    Key,
    /// It was not done in time.
    TimedOut,
    /// Anything else, as a transport that fails.
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::HungUp, Self::Tls, Self::Key, Self::TimedOut, Self::Other];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Tls => "tls",
            Self::Key => "key",
            Self::TimedOut => "timed_out",
            Self::Other => "other",
        }
    }
}

/// What a session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for its transport or, if it is parked, for its wake.
    Waits,
    /// It waits for a job: the pool is at its maximum.
    WaitsForJob,
    /// It has ended in good order.
    Ended,
}

/// What a session waits for. The number tells one wait of a kind from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The end of its handshake.
    Handshake,
    /// The end of a request: the first one, or one that has begun.
    Request(u64),
    /// That the peer takes a response.
    Response(u64),
    /// The next request.
    Idle(u64),
    /// That the peer takes the goodbye.
    Closing,
}

/// Stations of a server's handshake. Between two of them lies work that costs about the same every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Milestone {
    /// Nothing has been received.
    Accepted,
    /// The client's hello has been worked off, and the key has been asked for a signature.
    Signing,
    /// The server's flight has been sent.
    Answered,
    /// The client's has been received.
    Established,
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
