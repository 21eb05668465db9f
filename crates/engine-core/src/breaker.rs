//! The circuit breaker: a device that fails repeatedly gets no requests for a while.
//!
//! ```text
//!      failures (a row, or a share), or no heartbeat
//!   Closed ----------------------------------------> Open
//!     ^                                               |  pause over, and a heartbeat
//!     |                     failure, no heartbeat     v
//!     +------- success ------- HalfOpen <-------------+   (one probe at a time)
//!                                  |                  ^
//!                                  +------------------+
//! ```
//!
//! A pure state machine: the engine passes in events and the time.

use core::time::Duration;
use std::collections::VecDeque;

use crate::error::{DeviceError, EngineError};
use crate::work::RequestId;

/// When a breaker opens, and for how long.
///
/// What counts as a failure of the device: [`EngineError::Invalid`], [`EngineError::Deadline`] of a request that the
/// device held, and every [`EngineError::Device`] but [`DeviceError::Unsupported`] and [`DeviceError::Permanent`]. With
/// those two a device has answered: they close a breaker that tries the device again, and so does [`DeviceError::Busy`].
///
/// Each attempt of a request counts once at most: an error that comes after the deadline has counted says nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerPolicy {
    /// What opens it, besides a device without a heartbeat and a probe that fails. By default 5 failures in a row.
    pub opens: BreakerOpens,
    /// How long it stays open before one request may try the device again, and how long that request may take before
    /// another may. Another may at once if that request ends before the device has it, and when the device has answered one
    /// that its caller had given up. [`Duration::MAX`] is for ever. Default 1 s.
    pub pause: Duration,
    /// The interval of checks of the device's [health](crate::Accelerator::health) while requests are under way; at least
    /// a millisecond. Default 1 s, twice the usual period of a heartbeat.
    pub check_every: Duration,
}

/// What opens a breaker that is closed. A device whose [health](crate::Accelerator::health) is dead opens each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerOpens {
    /// This number of failures in a row; zero is as one.
    Failures(u32),
    /// A share of the last calls that has failed.
    Share(FailedShare),
    /// No failures, however many.
    HealthOnly,
}

/// A share of failed calls that opens a breaker. For a device that works on several requests at once: one hiccup of it
/// fails them all, which is a row of failures and yet one event. So the share is taken of at least twice the number of
/// requests that the device has lately held at once.
///
/// A device that is away fails the next ones, too: the breaker also opens after a row of failures that is longer than the
/// number of requests that the device held when the row began, by `percent` of `calls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedShare {
    /// In percent, of the last [`calls`](Self::calls).
    pub percent: u32,
    /// Of how many calls at least; of twice the number of requests that the device held at once, if that is more. With fewer
    /// calls since the breaker closed only a row of failures opens it.
    pub calls: u32,
}

/// The most calls that are remembered: a few kilobytes.
const MOST_CALLS: usize = 1 << 16;

/// The shortest interval: with a shorter one a driver would do nothing else.
const SHORTEST_CHECK: Duration = Duration::from_millis(1);

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            opens: BreakerOpens::Failures(5),
            pause: Duration::from_secs(1),
            check_every: Duration::from_secs(1),
        }
    }
}

impl BreakerPolicy {
    /// Opens after this number of failures in a row; zero is as one.
    pub const fn failures(self, failures: u32) -> Self {
        Self { opens: BreakerOpens::Failures(failures), ..self }
    }

    /// Opens when `percent` of the last `calls` have failed, in whatever order; see [`FailedShare`] for a device that holds
    /// more requests at once.
    pub const fn failed_share(self, percent: u32, calls: u32) -> Self {
        Self { opens: BreakerOpens::Share(FailedShare { percent, calls }), ..self }
    }

    /// Opens only when the device's [health](crate::Accelerator::health) is dead, and never because requests fail: for a device
    /// that answers with errors while it recovers by itself. Half-open, a probe that fails still opens it again.
    pub const fn health_only(self) -> Self {
        Self { opens: BreakerOpens::HealthOnly, ..self }
    }

    /// Stays open for this time.
    pub const fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Checks the device's health at this interval.
    pub const fn check_every(self, check_every: Duration) -> Self {
        Self { check_every, ..self }
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The device gets the work; also if there is no breaker.
    Closed,
    /// The device gets nothing.
    Open,
    /// The device gets one request at a time, as a probe.
    HalfOpen,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    phase: Phase,
    health_due: Duration,
    /// With a [`FailedShare`], which of the last calls have failed, oldest first. Empty unless closed.
    calls: VecDeque<bool>,
    /// How many of them.
    failed: usize,
    /// The most requests that the device held at once, in the present window of calls and in the one before it.
    most_held: [usize; 2],
    /// Calls of the present window.
    in_window: usize,
    /// How many requests the device held when the present row of failures began.
    held_before_row: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Duration },
    HalfOpen { probe: Option<Probe> },
}

/// The request that tries a half-open breaker's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    since: Duration,
    request: RequestId,
}

impl Breaker {
    pub(crate) const fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            phase: Phase::Closed { failures: 0 },
            health_due: Duration::ZERO,
            calls: VecDeque::new(),
            failed: 0,
            most_held: [0; 2],
            in_window: 0,
            held_before_row: 0,
        }
    }

    /// Whether the device may get one more request, this one. Half-open, a yes makes it the probe.
    pub(crate) fn admit(&mut self, now: Duration, request: RequestId) -> bool {
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { until } if now < until => false,
            Phase::HalfOpen { probe: Some(Probe { since, .. }) }
                if now < since.saturating_add(self.policy.pause) =>
            {
                false
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => {
                self.phase = Phase::HalfOpen { probe: Some(Probe { since: now, request }) };
                true
            }
        }
    }

    /// Whether this request is the one that tries the device.
    pub(crate) fn is_probe(&self, request: RequestId) -> bool {
        matches!(self.phase, Phase::HalfOpen { probe: Some(probe) } if probe.request == request)
    }

    /// No answer to this request will be told here: the device never got it, or has answered when it was over. If it was the
    /// probe, another may be at once.
    pub(crate) fn forget_probe(&mut self, request: RequestId) {
        if self.is_probe(request) {
            self.phase = Phase::HalfOpen { probe: None };
        }
    }

    /// The device has carried out a request, one of the `held` that it had.
    pub(crate) fn handle_success(&mut self, held: usize) {
        match self.phase {
            Phase::Closed { .. } => {
                self.phase = Phase::Closed { failures: 0 };
                if let BreakerOpens::Share(share) = self.policy.opens {
                    // A success never raises the share.
                    let _ = self.count(share, false, held);
                }
            }
            Phase::HalfOpen { .. } => self.phase = Phase::Closed { failures: 0 },
            // Submitted before the breaker opened: a late success does not close it.
            Phase::Open { .. } => {}
        }
    }

    /// The device has answered that it will not carry out a request. It is alive, and no more is known of it.
    pub(crate) fn handle_refusal(&mut self) {
        if let Phase::HalfOpen { .. } = self.phase {
            self.phase = Phase::Closed { failures: 0 };
        }
    }

    /// The device has failed a request, one of the `held` that it had. True if that opens the breaker.
    #[must_use = "requests in flight have to be moved to the standby"]
    pub(crate) fn handle_failure(&mut self, now: Duration, held: usize) -> bool {
        match &mut self.phase {
            Phase::Closed { failures } => {
                *failures = failures.saturating_add(1);
                let in_a_row = *failures;
                if in_a_row == 1 {
                    self.held_before_row = held;
                }
                let opens = match self.policy.opens {
                    BreakerOpens::Failures(failures) => in_a_row >= failures.max(1),
                    BreakerOpens::Share(share) => {
                        let more = u64::from(share.calls.max(1)) * u64::from(share.percent) / 100;
                        let is_no_hiccup = self.held_before_row as u64 + more.max(1);
                        let share_is_too_high = self.count(share, true, held);
                        share_is_too_high || u64::from(in_a_row) >= is_no_hiccup
                    }
                    BreakerOpens::HealthOnly => false,
                };
                opens && self.open(now)
            }
            Phase::HalfOpen { .. } => self.open(now),
            Phase::Open { .. } => false,
        }
    }

    /// The device has asked to be left alone for a while: a failure of a device that is alive. True if that opens the
    /// breaker.
    #[must_use = "requests in flight have to be moved to the standby"]
    pub(crate) fn handle_busy(&mut self, now: Duration, held: usize) -> bool {
        match self.phase {
            Phase::HalfOpen { .. } => {
                self.handle_refusal();
                false
            }
            Phase::Closed { .. } | Phase::Open { .. } => self.handle_failure(now, held),
        }
    }

    /// When the device's health is checked next.
    pub(crate) const fn health_due(&self) -> Duration {
        self.health_due
    }

    /// Records a check of the device's health. True if that opens the breaker.
    #[must_use = "requests in flight have to be moved to the standby"]
    pub(crate) fn handle_health(&mut self, now: Duration, alive: bool) -> bool {
        self.health_due = now.saturating_add(self.policy.check_every.max(SHORTEST_CHECK));
        match self.phase {
            _ if alive => false,
            Phase::Open { .. } => {
                self.open(now);
                false
            }
            Phase::Closed { .. } | Phase::HalfOpen { .. } => self.open(now),
        }
    }

    pub(crate) fn is_open(&self, now: Duration) -> bool {
        matches!(self.phase, Phase::Open { until } if now < until)
    }

    pub(crate) fn state(&self, now: Duration) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Counts a call, and returns whether the share of failed ones is too high.
    fn count(&mut self, share: FailedShare, failed: bool, held: usize) -> bool {
        let FailedShare { percent, calls } = share;
        self.most_held[0] = self.most_held[0].max(held);
        let at_once = self.most_held[0].max(self.most_held[1]);
        let calls = at_once.saturating_mul(2).max(calls as usize).clamp(1, MOST_CALLS);
        self.calls.push_back(failed);
        self.failed += usize::from(failed);
        while self.calls.len() > calls {
            self.failed -= usize::from(self.calls.pop_front() == Some(true));
        }
        self.in_window += 1;
        if self.in_window >= calls {
            // A device that once held many and now holds few is judged by few calls again, but not before these are over.
            self.most_held = [0, self.most_held[0]];
            self.in_window = 0;
        }
        let enough = self.calls.len() >= calls;
        enough && self.failed as u64 * 100 >= u64::from(percent) * calls as u64
    }

    fn open(&mut self, now: Duration) -> bool {
        self.calls.clear();
        self.failed = 0;
        self.most_held = [0; 2];
        self.in_window = 0;
        self.phase = Phase::Open { until: now.saturating_add(self.policy.pause) };
        true
    }
}

/// What an operation ends with that the device does not get because of its breaker.
pub(crate) const SHUT_OFF: DeviceError = DeviceError::Unavailable("the circuit breaker is open");

/// Whether an error is the device's failure.
pub(crate) const fn counts(error: &EngineError) -> bool {
    match error {
        EngineError::Device(DeviceError::Unsupported(_) | DeviceError::Permanent(_)) => false,
        EngineError::Device(_) | EngineError::Invalid(_) | EngineError::Deadline => true,
        EngineError::Refused(_) | EngineError::Cancelled | EngineError::Gone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(BreakerPolicy::default().failures(failures).pause(PAUSE))
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_good_probe() {
        let mut breaker = breaker(3);
        assert!(!breaker.handle_failure(at(0), 1));
        assert!(!breaker.handle_failure(at(0), 1));
        breaker.handle_success(1);
        assert!(!breaker.handle_failure(at(1), 1));
        assert!(!breaker.handle_failure(at(1), 1));
        assert!(breaker.handle_failure(at(1), 1));
        assert!(!breaker.admit(at(10), RequestId(1)));
        breaker.handle_success(1); // of a request from before
        assert_eq!(breaker.state(at(10)), BreakerState::Open);
        assert!(breaker.admit(at(11), RequestId(1)), "the probe");
        assert!(!breaker.admit(at(11), RequestId(1)), "one at a time");
        breaker.handle_success(1);
        assert_eq!(breaker.state(at(11)), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_one_without_an_answer_is_followed_by_another() {
        let mut breaker = breaker(1);
        assert!(breaker.handle_failure(at(0), 1));
        assert!(breaker.admit(at(10), RequestId(1)));
        assert!(breaker.handle_failure(at(12), 1));
        assert!(!breaker.admit(at(21), RequestId(1)));
        assert!(breaker.admit(at(22), RequestId(1)));
        assert!(!breaker.admit(at(31), RequestId(1)));
        assert!(breaker.admit(at(32), RequestId(1)), "the probe has not answered");
    }

    #[test]
    fn a_probe_that_is_over_is_followed_by_another_at_once() {
        let mut breaker = breaker(1);
        assert!(breaker.handle_failure(at(0), 1));
        assert!(breaker.admit(at(10), RequestId(1)));
        breaker.forget_probe(RequestId(2)); // which is not the probe
        assert!(!breaker.admit(at(11), RequestId(2)), "one at a time");
        breaker.forget_probe(RequestId(1));
        assert!(breaker.admit(at(11), RequestId(3)));
        breaker.forget_probe(RequestId(1)); // the probe before
        assert!(!breaker.admit(at(12), RequestId(4)), "one at a time");
        breaker.handle_success(1);
        breaker.forget_probe(RequestId(3));
        assert_eq!(breaker.state(at(12)), BreakerState::Closed);
    }

    #[test]
    fn with_health_only_failures_do_not_open_it_until_it_tries_the_device_again() {
        let mut breaker = Breaker::new(BreakerPolicy::default().health_only().pause(PAUSE));
        assert!(!(0..10_000).any(|_| breaker.handle_failure(at(0), 1)));
        assert!(!(0..10_000).any(|_| breaker.handle_busy(at(0), 1)));
        assert!(breaker.handle_health(at(0), false));
        assert!(breaker.admit(at(10), RequestId(1)), "the probe");
        assert!(breaker.handle_failure(at(10), 1));
        assert!(breaker.admit(at(20), RequestId(1)), "the probe");
        breaker.handle_success(1);
        assert!(!breaker.handle_failure(at(20), 1));
    }

    #[test]
    fn a_device_that_is_busy_opens_it_and_as_the_answer_to_a_probe_closes_it() {
        let mut breaker = breaker(2);
        assert!(!breaker.handle_busy(at(0), 1));
        assert!(breaker.handle_busy(at(0), 1));
        assert!(!breaker.handle_busy(at(1), 1), "open before");
        assert!(breaker.admit(at(10), RequestId(1)));
        assert!(!breaker.handle_busy(at(10), 1));
        assert_eq!(breaker.state(at(10)), BreakerState::Closed);
    }

    #[test]
    fn with_a_share_one_hiccup_of_all_threads_does_not_open_it_and_a_device_that_is_half_dead_does()
    {
        let policy = BreakerPolicy::default().failed_share(50, 16).pause(PAUSE);
        let mut breaker = Breaker::new(policy);
        for _ in 0..8 {
            breaker.handle_success(1);
        }
        for _ in 0..7 {
            assert!(!breaker.handle_failure(at(0), 1));
        }
        for _ in 0..9 {
            breaker.handle_success(1);
        }
        // From here on every second call fails.
        let tripped = (0..16).any(|_| {
            breaker.handle_success(1);
            breaker.handle_failure(at(1), 1)
        });
        assert!(tripped);
        assert!(breaker.admit(at(11), RequestId(1)), "the probe");
        breaker.handle_success(1);
        assert!(!breaker.handle_failure(at(12), 1), "it begins anew");
    }

    /// Whatever the policy says: the number of requests at once is the device's.
    #[test]
    fn one_hiccup_of_all_that_the_device_holds_does_not_open_it_and_further_failures_do() {
        let policy = BreakerPolicy::default().failed_share(50, 16).pause(PAUSE);
        let mut breaker = Breaker::new(policy);
        assert!(!(1..=100).rev().any(|held| breaker.handle_failure(at(0), held)));
        let failures = (1..).find(|_| breaker.handle_failure(at(0), 1));
        assert_eq!(failures, Some(8));
        // With one request at a time.
        assert!(breaker.admit(at(11), RequestId(1)), "the probe");
        breaker.handle_success(1);
        let failures = (1..).find(|_| breaker.handle_failure(at(12), 1));
        assert_eq!(failures, Some(9));
        // Half of the requests fail, and no row is long.
        assert!(breaker.admit(at(23), RequestId(1)), "the probe");
        breaker.handle_success(100);
        let failures = (1..).find(|_| {
            breaker.handle_success(100);
            breaker.handle_failure(at(23), 100)
        });
        assert_eq!(failures, Some(100));
    }

    #[test]
    fn a_device_that_held_many_once_is_judged_by_few_calls_again() {
        let mut breaker = Breaker::new(BreakerPolicy::default().failed_share(50, 16).pause(PAUSE));
        (1..=100).for_each(|held| breaker.handle_success(held));
        (0..1_000).for_each(|_| breaker.handle_success(1));
        let failures = (1..).find(|_| breaker.handle_failure(at(0), 1));
        assert_eq!(failures, Some(8));
    }

    #[test]
    fn without_a_heartbeat_it_stays_open() {
        let mut breaker = breaker(5);
        assert!(!breaker.handle_health(at(0), true));
        assert!(breaker.handle_health(at(1), false));
        assert!(!breaker.handle_health(at(9), false));
        assert!(
            !breaker.admit(at(18), RequestId(1)),
            "ten seconds from the last time it was found dead"
        );
        assert!(!breaker.handle_health(at(18), true));
        assert!(breaker.admit(at(19), RequestId(1)));
    }

    proptest! {
        /// An open breaker admits no request before its pause is over, and always one after.
        #[test]
        fn an_open_breaker_admits_no_request_and_no_breaker_stays_open_for_ever(
            events in prop::collection::vec((0u8..7, 0u64..15, 1usize..9), 1..80), failures in 1u32..4, by_share: bool,
        ) {
            let mut breaker = breaker(failures);
            if by_share {
                breaker.policy = breaker.policy.failed_share(50, failures);
            }
            let (mut now, mut opened, mut probe) = (at(0), None, None);
            for (n, (event, later, held)) in (0u64..).zip(events) {
                now += at(later);
                let tripped = match event {
                    0 => {
                        let admitted = breaker.admit(now, RequestId(n));
                        if opened.is_some_and(|opened| now < opened + PAUSE) {
                            prop_assert!(!admitted);
                        } else if opened.take().is_some() {
                            prop_assert!(admitted, "the pause is over");
                        }
                        // One at a time, unless it is over or has had its time; and then another at once.
                        if breaker.state(now) == BreakerState::HalfOpen {
                            let may = probe.is_none_or(|(_, since)| now >= since + PAUSE);
                            prop_assert_eq!(admitted, may);
                            probe = if may { Some((n, now)) } else { probe };
                        }
                        false
                    }
                    1 => {
                        breaker.handle_success(held);
                        false
                    }
                    2 => breaker.handle_failure(now, held),
                    3 => {
                        breaker.handle_refusal();
                        false
                    }
                    4 => breaker.handle_busy(now, held),
                    5 => {
                        // One of the last requests is over.
                        let over = n.saturating_sub(held as u64 - 1);
                        breaker.forget_probe(RequestId(over));
                        probe.take_if(|(request, _)| *request == over);
                        false
                    }
                    _ => breaker.handle_health(now, true),
                };
                if tripped {
                    prop_assert_eq!(breaker.state(now), BreakerState::Open);
                    opened = Some(now);
                }
                if breaker.state(now) != BreakerState::HalfOpen {
                    probe = None;
                }
                let n_probes = (0..=n).filter(|n| breaker.is_probe(RequestId(*n))).count();
                prop_assert_eq!(n_probes, usize::from(probe.is_some()));
            }
            prop_assert!(breaker.admit(now + 2 * PAUSE, RequestId(1)));
            prop_assert_eq!(breaker.failed, breaker.calls.iter().filter(|failed| **failed).count());
        }
    }
}
