//! When the software takes responses off the ring: exchangeable policies, pure.

use core::time::Duration;

/// When finished work is collected from the card.
///
/// | policy | who looks | costs |
/// | --- | --- | --- |
/// | [`Interrupt`](Self::Interrupt) | the card's thread, when the device calls | an interrupt for each batch |
/// | [`Interval`](Self::Interval) | whoever polls the engine, every so often | half an interval of latency |
/// | [`Heuristic`](Self::Heuristic) | the serving thread, when it has nothing else to do | a timer |
/// | [`Inline`](Self::Inline) | the serving thread, at every poll | polls that find nothing |
///
/// A time of zero is taken as a microsecond: who asked to be polled again at once would keep time from going on.
///
/// With all but the first, completions run where [`Engine::poll`](engine_core::Engine::poll) is called: by the event
/// loop, or by an engine's [driver](engine_core::Engine::spawn_driver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polling {
    /// When the device interrupts; and `watchdog` after the last look, if responses lie there and an interrupt was lost.
    Interrupt {
        /// At most so long a lost interrupt goes unnoticed.
        watchdog: Duration,
    },
    /// Every so often, while anything is in flight.
    Interval(Duration),
    /// When every active connection waits for the card, or `threshold` requests do: then there is nothing better to do
    /// than to look. Connections are counted by [`set_active`](crate::SimCard::set_active).
    Heuristic {
        /// Look when so many are in flight, however many connections there are.
        threshold: usize,
        /// Look anyhow when so long has passed since the last time.
        at_latest: Duration,
    },
    /// At every poll; and the engine asks to be polled every so often while anything is in flight.
    Inline(Duration),
}

/// The shortest time after which anything is looked at again.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_micros(1);

impl Default for Polling {
    /// By interrupt, with a watchdog of 10 ms.
    fn default() -> Self {
        Self::Interrupt { watchdog: Duration::from_millis(10) }
    }
}

impl Polling {
    /// Whether the card's own thread collects.
    pub(crate) const fn by_interrupt(self) -> bool {
        matches!(self, Self::Interrupt { .. })
    }
}

/// What there is to know when deciding whether to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion {
    /// The device has interrupted, or never does.
    pub(crate) interrupt: bool,
    /// Responses lie on the ring.
    pub(crate) ready: bool,
    pub(crate) in_flight: usize,
    /// Connections of the application.
    pub(crate) active: usize,
}

/// A policy and when it last looked.
#[derive(Debug)]
pub(crate) struct Poller {
    /// `None`: whoever asks looks.
    policy: Option<Polling>,
    last: Duration,
}

impl Poller {
    pub(crate) const fn new(policy: Polling) -> Self {
        Self { policy: Some(policy), last: Duration::ZERO }
    }

    /// One that looks whenever it is asked, and never asks to be.
    pub(crate) const fn eager() -> Self {
        Self { policy: None, last: Duration::ZERO }
    }

    /// Whether to look now.
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

    /// It has been looked.
    pub(crate) fn handle_look(&mut self, now: Duration) {
        self.last = now;
    }

    /// When to look next, for the policy's own reasons. `None` if something else will give cause.
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
    fn the_heuristic_looks_when_everybody_waits_or_many_do_or_it_gets_late() {
        let mut poller = Poller::new(Polling::Heuristic { threshold: 4, at_latest: 5 * MS });
        poller.handle_look(MS);
        assert!(!poller.is_due(2 * MS, occasion(3, 9)));
        assert!(poller.is_due(2 * MS, occasion(4, 9)), "many");
        assert!(poller.is_due(2 * MS, occasion(2, 2)), "everybody");
        assert!(poller.is_due(6 * MS, occasion(1, 9)), "late");
        assert_eq!(poller.next(2 * MS, occasion(1, 9)), Some(6 * MS));
    }

    #[test]
    fn a_lost_interrupt_is_noticed_by_the_watchdog() {
        let mut poller = Poller::new(Polling::Interrupt { watchdog: 10 * MS });
        poller.handle_look(MS);
        assert!(poller.is_due(2 * MS, Occasion { interrupt: true, ..occasion(1, 1) }));
        assert!(!poller.is_due(10 * MS, occasion(1, 1)));
        assert!(poller.is_due(11 * MS, occasion(1, 1)));
        assert_eq!(poller.next(2 * MS, occasion(1, 1)), Some(11 * MS));
    }

    #[test]
    fn an_interval_is_kept_from_look_to_look() {
        let mut poller = Poller::new(Polling::Interval(3 * MS));
        assert!(poller.is_due(3 * MS, occasion(1, 1)));
        poller.handle_look(3 * MS);
        assert!(!poller.is_due(5 * MS, occasion(1, 1)));
        assert_eq!(poller.next(5 * MS, occasion(1, 1)), Some(6 * MS));
        assert_eq!(poller.next(8 * MS, occasion(1, 1)), Some(8 * MS), "not in the past");
    }
}
