//! Handshakes that take too long, without a clock.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::server::session::RealTime;

/// A session that gets as far as it is told.
struct Fake(Milestone);

impl Session for Fake {
    type Failure = Infallible;

    fn advance(&mut self, _live: &LiveCounters) -> Result<Progress, Infallible> {
        self.0 = Milestone::Established;
        Ok(Progress::Waits)
    }

    fn is_parked(&self) -> bool {
        false
    }

    fn watch_peer(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn milestone(&self) -> Milestone {
        self.0
    }

    fn close_if_idle(&mut self) -> bool {
        false
    }

    fn has_hung_up(failure: &Infallible) -> bool {
        match *failure {}
    }
}

fn core(handshake_timeout: Option<Duration>) -> Core<Fake, RealTime> {
    let policy = Policy { unprompted_every: None, polls: false, handshake_timeout };
    let ready = ReadyQueue::new().expect("a descriptor");
    Core::new(JobPool::new(), ready, Arc::default(), policy, RealTime)
}

const LIMIT: Duration = Duration::from_secs(3);

#[test]
fn a_hello_that_is_never_finished_is_given_up_when_its_time_is_over() {
    let mut core = core(Some(LIMIT));
    core.welcome(Duration::ZERO, (), |_, _, _| Some(Fake(Milestone::Accepted)));
    assert_eq!(core.expire(LIMIT - Duration::from_nanos(1)), Some(LIMIT));
    assert_eq!(core.len(), 1);
    assert_eq!(core.expire(LIMIT), None);
    assert_eq!((core.len(), core.report.timed_out, core.report.failed), (0, 1, 0));
}

#[test]
fn without_a_limit_nobody_is_given_up() {
    let mut core = core(None);
    core.welcome(Duration::ZERO, (), |_, _, _| Some(Fake(Milestone::Accepted)));
    assert_eq!(core.expire(Duration::MAX), None);
    assert_eq!(core.len(), 1);
}

proptest! {
    #[test]
    fn whoever_is_done_in_time_stays_and_nobody_else(
        sessions in prop::collection::vec((0_u64..500, prop::option::of(0_u64..8_000)), 1..40),
    ) {
        let mut core = core(Some(LIMIT));
        let mut now = 0;
        // Arrival, and when the handshake is done, if ever; in milliseconds.
        let mut all = Vec::new();
        for (gap, takes) in sessions {
            now += gap;
            all.push((now, takes.map(|takes| now + takes)));
        }
        let mut keys: Vec<Option<usize>> = vec![None; all.len()];
        for now in 0..=now + 9_000 {
            let at = Duration::from_millis(now);
            for (session, (arrives, done)) in all.iter().enumerate() {
                if *arrives == now {
                    keys[session] = core.welcome(at, (), |_, _, _| Some(Fake(Milestone::Accepted)));
                }
                if let (Some(key), Some(done)) = (keys[session], done) && *done == now {
                    core.transport_ready(key, true);
                    while core.begin_one() {}
                }
            }
            let next = core.expire(at);
            prop_assert!(next.is_none_or(|next| next > at));
        }
        let limit = LIMIT.as_millis() as u64;
        let in_time = all.iter().filter(|(arrives, done)| done.is_some_and(|done| done <= arrives + limit));
        prop_assert_eq!(core.len(), in_time.count());
        prop_assert_eq!(core.report.timed_out as usize, all.len() - core.len());
    }
}
