//! The life of one request as a pure transition function, and the status that an application sees.

use std::fmt;

/// How far a request has come.
///
/// ```text
///                 Begin                 Accept
///   Free ------------------> Queued ----------------> Submitted
///                            | ^  |                   |   |   |
///                            | |__| Full              |   |   |
///                            |                        |   |   |
///                            +-- Complete --> Done <--+   |   |
///                            +-- Fail ------> Failed <----+   |
///                            +-- Cancel ----> Cancelled <-----+
///
///   Done, Failed, Cancelled -- Begin --> Queued   (the next request, with a new generation)
/// ```
///
/// A completion may overtake the acceptance: a device can answer before the call that submits has returned. That is the
/// edge from `Queued` straight to `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RequestPhase {
    /// No request was ever begun here.
    Free = 0,
    /// Begun, and not yet accepted by the device.
    Queued = 1,
    /// Accepted by the device, which will complete it.
    Submitted = 2,
    /// Completed: the result is stored.
    Done = 3,
    /// Failed for good: the error is stored.
    Failed = 4,
    /// Cancelled by its owner. A completion that comes later is discarded.
    Cancelled = 5,
}

impl RequestPhase {
    /// Every phase, in the order of the committed table.
    pub const ALL: [Self; 6] =
        [Self::Free, Self::Queued, Self::Submitted, Self::Done, Self::Failed, Self::Cancelled];

    /// Whether the request still waits to be settled: `Queued` or `Submitted`.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Queued | Self::Submitted)
    }

    /// Whether the request has ended: `Done`, `Failed` or `Cancelled`.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// An event in the life of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum RequestEvent {
    /// A new request starts.
    Begin = 0,
    /// The device took it.
    Accept = 1,
    /// The device was full; the request stays queued.
    #[cfg_attr(any(not(test), loom), expect(dead_code, reason = "changes no phase; for the table"))]
    Full = 2,
    /// The device completed it.
    Complete = 3,
    /// It failed; no retry follows.
    Fail = 4,
    /// Its owner cancelled it.
    Cancel = 5,
}

/// Returns the phase after `event`; `None` for every pair that the picture at [`RequestPhase`] does not show.
pub(crate) const fn transition(from: RequestPhase, event: RequestEvent) -> Option<RequestPhase> {
    use RequestEvent as E;
    use RequestPhase as P;
    match (from, event) {
        (P::Free | P::Done | P::Failed | P::Cancelled, E::Begin) => Some(P::Queued),
        (P::Queued, E::Full) => Some(P::Queued),
        (P::Queued, E::Accept) => Some(P::Submitted),
        (P::Queued | P::Submitted, E::Complete) => Some(P::Done),
        (P::Queued | P::Submitted, E::Fail) => Some(P::Failed),
        (P::Queued | P::Submitted, E::Cancel) => Some(P::Cancelled),
        (P::Queued | P::Submitted, E::Begin)
        | (P::Submitted, E::Accept | E::Full)
        | (
            P::Free | P::Done | P::Failed | P::Cancelled,
            E::Accept | E::Full | E::Complete | E::Fail | E::Cancel,
        ) => None,
    }
}

/// The status of a session's request as OpenSSL reports it: the values of `ASYNC_WAIT_CTX_get_status`.
///
/// It is computed from the [`RequestPhase`], so it is never stale or published late. Beginning the next request replaces
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// No request was ever made, so no wake will come (`ASYNC_STATUS_UNSUPPORTED`).
    Unsupported = 0,
    /// The request failed or was cancelled (`ASYNC_STATUS_ERR`).
    Err = 1,
    /// The request was accepted, and may be completed already: wait for the wake (`ASYNC_STATUS_OK`).
    Ok = 2,
    /// The device was full, and the request waits in the engine's queue (`ASYNC_STATUS_EAGAIN`).
    Again = 3,
}

impl From<RequestPhase> for Status {
    fn from(phase: RequestPhase) -> Self {
        match phase {
            RequestPhase::Free => Self::Unsupported,
            RequestPhase::Queued => Self::Again,
            RequestPhase::Submitted | RequestPhase::Done => Self::Ok,
            RequestPhase::Failed | RequestPhase::Cancelled => Self::Err,
        }
    }
}

impl From<Status> for i32 {
    fn from(status: Status) -> Self {
        status as Self
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "unsupported",
            Self::Err => "error",
            Self::Ok => "ok",
            Self::Again => "again",
        })
    }
}

/// How a completion ends its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With a result: the phase becomes [`RequestPhase::Done`].
    Done,
    /// With an error: the phase becomes [`RequestPhase::Failed`].
    Failed,
}

impl Ending {
    pub(crate) const fn event(self) -> RequestEvent {
        match self {
            Self::Done => RequestEvent::Complete,
            Self::Failed => RequestEvent::Fail,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    const EVENTS: [RequestEvent; 6] = [
        RequestEvent::Begin,
        RequestEvent::Accept,
        RequestEvent::Full,
        RequestEvent::Complete,
        RequestEvent::Fail,
        RequestEvent::Cancel,
    ];

    fn table() -> String {
        let mut table = format!("{:<10}", "");
        for event in EVENTS {
            write!(table, "{:<11}", format!("{event:?}")).expect("a string takes everything");
        }
        table.push_str("status\n");
        for phase in RequestPhase::ALL {
            write!(table, "{:<10}", format!("{phase:?}")).expect("a string takes everything");
            for event in EVENTS {
                let cell =
                    transition(phase, event).map_or_else(|| "-".to_owned(), |to| format!("{to:?}"));
                write!(table, "{cell:<11}").expect("a string takes everything");
            }
            let status = Status::from(phase);
            writeln!(table, "{} {status}", i32::from(status)).expect("a string takes everything");
        }
        table
    }

    #[test]
    fn the_state_table_is_the_committed_one() {
        insta::assert_snapshot!(table());
    }

    #[test]
    fn a_walk_through_random_events_visits_every_cell_a_hundred_times() {
        let mut visits = [[0_u32; EVENTS.len()]; RequestPhase::ALL.len()];
        let visited = std::cell::RefCell::new(&mut visits);
        let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
        let mut runner =
            TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let walks = prop::collection::vec(prop::sample::select(&EVENTS[..]), 1..64);
        let walked = runner.run(&walks, |events| {
            let mut phase = RequestPhase::Free;
            for event in events {
                visited.borrow_mut()[phase as usize][event as usize] += 1;
                if let Some(next) = transition(phase, event) {
                    // A live request is begun exactly once and settled exactly once.
                    prop_assert_eq!(next.is_live(), !next.is_settled());
                    prop_assert!(next != RequestPhase::Free);
                    phase = next;
                }
            }
            Ok(())
        });
        walked.expect("the table is consistent");
        // Nothing leads back to `Free`, so its row is visited at the start of each walk only.
        for (row, phase) in visits.iter().zip(RequestPhase::ALL) {
            for (&n, event) in row.iter().zip(EVENTS) {
                assert!(n >= 100, "{phase:?} x {event:?} was visited {n} times");
            }
        }
    }
}
