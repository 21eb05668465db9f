//! When the software takes responses off the ring: pure policies.

use core::time::Duration;

/// When finished work is collected from the card.
///
/// | policy | collected by | costs |
/// | --- | --- | --- |
/// | [`Interrupt`](Self::Interrupt) | the card's thread, when the device interrupts | an interrupt for each batch |
/// | [`Interval`](Self::Interval) | a poll of the engine, at an interval | half an interval of latency |
/// | [`Heuristic`](Self::Heuristic) | the serving thread, when it has nothing else to do | a timer |
/// | [`Inline`](Self::Inline) | the serving thread, at every poll | polls that find nothing |
///
/// A time of zero means a microsecond: a card that is due again at once would stop simulated time.
///
/// With all but the first, completions run where [`Engine::poll`](engine_core::Engine::poll) is called: by the event
/// loop, or by an engine's [driver](engine_core::Engine::spawn_driver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polling {
    /// When the device interrupts; and `watchdog` after the last poll, if responses are there and an interrupt was lost.
    Interrupt {
        /// How long a lost interrupt may go unnoticed.
        watchdog: Duration,
    },
    /// At this interval, while anything is in flight.
    Interval(Duration),
    /// When every active connection waits for the card, or `threshold` requests do, so that the thread has nothing better
    /// to do than to poll. Connections are reported by [`set_active`](crate::SimCard::set_active).
    Heuristic {
        /// Poll when this number is in flight, regardless of the connections.
        threshold: usize,
        /// Poll at the latest after this time.
        at_latest: Duration,
    },
    /// At every poll of the engine, which is due at this interval while anything is in flight.
    Inline(Duration),
}

/// The shortest interval between polls.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_micros(1);

impl Default for Polling {
    /// By interrupt, with a watchdog of 10 ms.
    fn default() -> Self {
        Self::Interrupt { watchdog: Duration::from_millis(10) }
    }
}

/// The facts by which a policy decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion {
    /// The device has interrupted, or never interrupts.
    pub(crate) interrupt: bool,
    /// Responses are on the ring.
    pub(crate) ready: bool,
    pub(crate) in_flight: usize,
    /// Connections of the application.
    pub(crate) active: usize,
}

/// A policy and the time of the last poll.
#[derive(Debug)]
pub(crate) struct Poller {
    /// `None`: always due.
    policy: Option<Polling>,
    last: Duration,
}

impl Poller {
    pub(crate) const fn new(policy: Polling) -> Self {
        Self { policy: Some(policy), last: Duration::ZERO }
    }

    /// A poller that is always due, and sets no timer.
    pub(crate) const fn eager() -> Self {
        Self { policy: None, last: Duration::ZERO }
    }

    /// Whether to poll now.
    pub(crate) fn is_due(&self, now: Duration, occasion: Occasion) -> bool {
        let Occasion { interrupt, ready, in_flight, active } = occasion;
        match self.policy {
            None => true,
            Some(Polling::Interrupt { watchdog }) => {
                interrupt || ready && now >= self.last.saturating_add(watchdog)
            }
            Some(Polling::Interval(every)) => now >= self.last.saturating_add(every),
            Some(Polling::Heuristic { threshold, at_latest }) => {
                in_flight >= threshold.min(active.max(1))
                    || now >= self.last.saturating_add(at_latest)
            }
            Some(Polling::Inline(_)) => true,
        }
    }

    /// Records a poll.
    pub(crate) fn record_poll(&mut self, now: Duration) {
        self.last = now;
    }

    /// When the policy polls next. `None` if an event or a submission comes first.
    pub(crate) fn next(&self, now: Duration, occasion: Occasion) -> Option<Duration> {
        let after = |pause: Duration, wanted: bool| {
            wanted.then(|| self.last.saturating_add(pause.max(SHORTEST_PAUSE)).max(now))
        };
        let in_flight = occasion.in_flight > 0;
        match self.policy {
            None => None,
            Some(Polling::Interrupt { watchdog }) => after(watchdog, occasion.ready),
            Some(Polling::Interval(every)) => after(every, in_flight),
            Some(Polling::Heuristic { at_latest, .. }) => after(at_latest, in_flight),
            Some(Polling::Inline(every)) => {
                in_flight.then(|| now.saturating_add(every.max(SHORTEST_PAUSE)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn occasion(in_flight: usize, active: usize) -> Occasion {
        Occasion { interrupt: false, ready: in_flight > 0, in_flight, active }
    }

    #[test]
    fn l7_no_policy_asks_to_be_polled_while_nothing_is_in_flight() {
        let policies = [
            Polling::default(),
            Polling::Interval(MS),
            Polling::Heuristic { threshold: 4, at_latest: MS },
            Polling::Inline(MS),
        ];
        for policy in policies {
            assert_eq!(Poller::new(policy).next(MS, occasion(0, 9)), None, "{policy:?}");
        }
    }

    #[test]
    fn the_heuristic_polls_when_all_wait_or_many_do_or_it_is_late() {
        let mut poller = Poller::new(Polling::Heuristic { threshold: 4, at_latest: 5 * MS });
        poller.record_poll(MS);
        assert!(!poller.is_due(2 * MS, occasion(3, 9)));
        assert!(poller.is_due(2 * MS, occasion(4, 9)), "many");
        assert!(poller.is_due(2 * MS, occasion(2, 2)), "everybody");
        assert!(poller.is_due(6 * MS, occasion(1, 9)), "late");
        assert_eq!(poller.next(2 * MS, occasion(1, 9)), Some(6 * MS));
    }

    #[test]
    fn a_lost_interrupt_is_noticed_by_the_watchdog() {
        let mut poller = Poller::new(Polling::Interrupt { watchdog: 10 * MS });
        poller.record_poll(MS);
        assert!(poller.is_due(2 * MS, Occasion { interrupt: true, ..occasion(1, 1) }));
        assert!(!poller.is_due(10 * MS, occasion(1, 1)));
        assert!(poller.is_due(11 * MS, occasion(1, 1)));
        assert_eq!(poller.next(2 * MS, occasion(1, 1)), Some(11 * MS));
    }

    #[test]
    fn an_interval_is_kept_from_poll_to_poll() {
        let mut poller = Poller::new(Polling::Interval(3 * MS));
        assert!(poller.is_due(3 * MS, occasion(1, 1)));
        poller.record_poll(3 * MS);
        assert!(!poller.is_due(5 * MS, occasion(1, 1)));
        assert_eq!(poller.next(5 * MS, occasion(1, 1)), Some(6 * MS));
        assert_eq!(poller.next(8 * MS, occasion(1, 1)), Some(8 * MS), "not in the past");
    }
}
