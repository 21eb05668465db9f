//! The circuit breaker: a device that fails again and again is left alone for a while.
//!
//! ```text
//!             failures in a row, or no heartbeat
//!   Closed ----------------------------------------> Open
//!     ^                                               |  pause over, and the heart beats
//!     |                     failure, no heartbeat     v
//!     +------- success ------- HalfOpen <-------------+   (one probe at a time)
//!                                  |                  ^
//!                                  +------------------+
//! ```
//!
//! A pure state machine: the engine tells it what happens and the time.

use core::time::Duration;

use crate::error::{DeviceError, EngineError};

/// When a breaker opens, and for how long.
///
/// What counts as a failure of the device: [`EngineError::Invalid`], [`EngineError::Deadline`] of a request that the
/// device held, and every [`EngineError::Device`] but [`DeviceError::Unsupported`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerPolicy {
    /// So many failures in a row open it; at least 1. Default 5.
    pub failures: u32,
    /// How long it stays open before one request may try the device again; also how long that one may take before
    /// another may. [`Duration::MAX`] is for ever. Default 1 s.
    pub pause: Duration,
    /// How often the device's [health](crate::Accelerator::health) is asked for while requests are under way; at most
    /// once a millisecond, however short it is. Default 1 s, twice the usual period of a heartbeat.
    pub check_every: Duration,
}

/// The shortest interval: a driver that asked more often would do nothing else.
const SHORTEST_CHECK: Duration = Duration::from_millis(1);

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(1), check_every: Duration::from_secs(1) }
    }
}

impl BreakerPolicy {
    /// Opens after so many failures in a row.
    pub const fn failures(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// Stays open for so long.
    pub const fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Asks for the device's health so often.
    pub const fn check_every(self, check_every: Duration) -> Self {
        Self { check_every, ..self }
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All is well, or there is no breaker: the device gets the work.
    Closed,
    /// The device gets nothing.
    Open,
    /// The device gets one request at a time, to see how it does.
    HalfOpen,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: State,
    health_due: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration },
    HalfOpen { probe: Option<Duration> },
}

/// Whether something just made the breaker open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what is in flight has to be brought to safety"]
pub(crate) enum Tripped {
    Yes,
    No,
}

impl Breaker {
    pub(crate) const fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 }, health_due: Duration::ZERO }
    }

    /// Whether the device may get one more request. Half-open, a yes makes that request the probe.
    pub(crate) fn admit(&mut self, now: Duration) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } if now < until => false,
            State::HalfOpen { probe: Some(since) }
                if now < since.saturating_add(self.policy.pause) =>
            {
                false
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { probe: Some(now) };
                true
            }
        }
    }

    /// The device has carried out a request.
    pub(crate) fn handle_success(&mut self) {
        match self.state {
            State::Closed { .. } | State::HalfOpen { .. } => {
                self.state = State::Closed { failures: 0 };
            }
            // Something submitted before it opened. It does not say how the device does now.
            State::Open { .. } => {}
        }
    }

    /// The device has failed a request.
    pub(crate) fn handle_failure(&mut self, now: Duration) -> Tripped {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= self.policy.failures.max(1) { self.open(now) } else { Tripped::No }
            }
            State::HalfOpen { .. } => self.open(now),
            State::Open { .. } => Tripped::No,
        }
    }

    /// When the device's health is next to be asked for.
    pub(crate) const fn health_due(&self) -> Duration {
        self.health_due
    }

    /// The device was asked.
    pub(crate) fn handle_health(&mut self, now: Duration, alive: bool) -> Tripped {
        self.health_due = now.saturating_add(self.policy.check_every.max(SHORTEST_CHECK));
        match self.state {
            _ if alive => Tripped::No,
            State::Open { .. } => {
                self.state = State::Open { until: now.saturating_add(self.policy.pause) };
                Tripped::No
            }
            State::Closed { .. } | State::HalfOpen { .. } => self.open(now),
        }
    }

    pub(crate) fn is_open(&self, now: Duration) -> bool {
        matches!(self.state, State::Open { until } if now < until)
    }

    pub(crate) fn state(&self, now: Duration) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Duration) -> Tripped {
        self.state = State::Open { until: now.saturating_add(self.policy.pause) };
        Tripped::Yes
    }
}

/// Whether an error is the device's failure.
pub(crate) const fn counts(error: &EngineError) -> bool {
    match error {
        EngineError::Device(DeviceError::Unsupported(_)) => false,
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
        assert_eq!(breaker.handle_failure(at(0)), Tripped::No);
        assert_eq!(breaker.handle_failure(at(0)), Tripped::No);
        breaker.handle_success();
        assert_eq!(breaker.handle_failure(at(1)), Tripped::No);
        assert_eq!(breaker.handle_failure(at(1)), Tripped::No);
        assert_eq!(breaker.handle_failure(at(1)), Tripped::Yes);
        assert!(!breaker.admit(at(10)));
        breaker.handle_success(); // of a request from before
        assert_eq!(breaker.state(at(10)), BreakerState::Open);
        assert!(breaker.admit(at(11)), "the probe");
        assert!(!breaker.admit(at(11)), "one at a time");
        breaker.handle_success();
        assert_eq!(breaker.state(at(11)), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_one_without_an_answer_is_followed_by_another() {
        let mut breaker = breaker(1);
        assert_eq!(breaker.handle_failure(at(0)), Tripped::Yes);
        assert!(breaker.admit(at(10)));
        assert_eq!(breaker.handle_failure(at(12)), Tripped::Yes);
        assert!(!breaker.admit(at(21)));
        assert!(breaker.admit(at(22)));
        assert!(!breaker.admit(at(31)));
        assert!(breaker.admit(at(32)), "the probe has not answered");
    }

    #[test]
    fn without_a_heartbeat_it_stays_open() {
        let mut breaker = breaker(5);
        assert_eq!(breaker.handle_health(at(0), true), Tripped::No);
        assert_eq!(breaker.handle_health(at(1), false), Tripped::Yes);
        assert_eq!(breaker.handle_health(at(9), false), Tripped::No);
        assert!(!breaker.admit(at(18)), "ten seconds from the last time it was found dead");
        assert_eq!(breaker.handle_health(at(18), true), Tripped::No);
        assert!(breaker.admit(at(19)));
    }

    proptest! {
        /// However it came there: an open breaker admits nobody before its pause is over, and always somebody after.
        #[test]
        fn an_open_breaker_admits_nobody_and_no_breaker_stays_shut_for_ever(
            events in prop::collection::vec((0u8..4, 0u64..15), 1..80), failures in 1u32..4,
        ) {
            let mut breaker = breaker(failures);
            let (mut now, mut opened) = (at(0), None);
            for (event, later) in events {
                now += at(later);
                let tripped = match event {
                    0 => {
                        let admitted = breaker.admit(now);
                        if opened.is_some_and(|opened| now < opened + PAUSE) {
                            prop_assert!(!admitted);
                        } else if opened.take().is_some() {
                            prop_assert!(admitted, "the pause is over");
                        }
                        Tripped::No
                    }
                    1 => {
                        breaker.handle_success();
                        Tripped::No
                    }
                    2 => breaker.handle_failure(now),
                    _ => breaker.handle_health(now, true),
                };
                if tripped == Tripped::Yes {
                    prop_assert_eq!(breaker.state(now), BreakerState::Open);
                    opened = Some(now);
                }
            }
            prop_assert!(breaker.admit(now + 2 * PAUSE));
        }
    }
}
