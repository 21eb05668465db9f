//! Sessions whose peers take too long, without a clock.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::server::{session::RealTime, tally::Timeouts};

/// A session that reaches the milestone in it and no further.
struct Fake(Milestone);

/// A session past its handshake, in the phases that are put before it.
struct Talking {
    phase: Phase,
    next: VecDeque<Phase>,
    timed_out: bool,
}

impl Session for Talking {
    type Failure = Infallible;

    fn advance(&mut self, _live: &LiveCounters) -> Result<SessionProgress, Infallible> {
        if self.timed_out && self.next.is_empty() {
            return Ok(SessionProgress::Ended);
        }
        self.phase = self.next.pop_front().unwrap_or(self.phase);
        Ok(SessionProgress::Waits)
    }

    fn is_parked(&self) -> bool {
        false
    }

    fn watch_peer(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn time_out(&mut self, _limit: Duration) -> bool {
        self.timed_out = true;
        !matches!(self.phase, Phase::Handshake)
    }

    fn milestone(&self) -> Milestone {
        Milestone::Established
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn drain(&mut self) -> bool {
        false
    }

    fn has_hung_up(failure: &Infallible) -> bool {
        match *failure {}
    }
}

const REQUEST: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

/// A core with one session that goes through these phases, one each time that its transport is ready.
fn talking(phases: &[Phase]) -> (Core<Talking, RealTime>, usize) {
    let limits = Limits { handshake: Some(LIMIT), request: Some(REQUEST), idle: Some(IDLE) };
    let policy = Policy { unprompted_every: None, polls: false, limits };
    let ready = ReadyQueue::new().expect("a descriptor");
    let mut core = Core::new(JobPool::new(), ready, Arc::default(), policy, RealTime);
    let next = phases.iter().copied().collect();
    let session = Talking { phase: Phase::Handshake, next, timed_out: false };
    let key = core.welcome(Duration::ZERO, (), |_, _, _| Some(session)).expect("a place");
    (core, key)
}

/// Says at `now` that the transport is ready, as the loop of a driver does.
fn ready(core: &mut Core<Talking, RealTime>, key: usize, now: Duration) {
    core.set_now(now);
    core.transport_ready(key, true);
    while core.begin_one() {}
}

#[test]
fn each_wait_of_a_session_has_its_own_limit_and_begins_anew() {
    use Phase::{Idle, Request, Response};
    let second = Duration::from_secs(1);
    let (mut core, key) =
        talking(&[Request(0), Idle(1), Request(1), Request(1), Response(2), Idle(2)]);
    // The handshake is done after one second, and the first answer sent after another nine.
    ready(&mut core, key, second);
    assert_eq!(core.expire(second * 2), Some(LIMIT));
    assert_eq!(core.expire(LIMIT), Some(second + REQUEST));
    ready(&mut core, key, second * 10);
    assert_eq!(core.expire(second * 11), Some(second * 10 + IDLE));
    // Bytes of a request do not give it more time.
    ready(&mut core, key, second * 60);
    ready(&mut core, key, second * 65);
    assert_eq!(core.expire(second * 69), Some(second * 70));
    ready(&mut core, key, second * 69);
    ready(&mut core, key, second * 69);
    assert_eq!(core.expire(second * 128), Some(second * 129));
    assert_eq!((core.len(), core.report.timeouts), (1, Timeouts::default()));
    // Its time is over: it says goodbye, and is dropped if the peer does not take that either.
    assert_eq!(core.expire(second * 129), None);
    let idle = Timeouts { idle: 1, ..Timeouts::default() };
    assert_eq!((core.len(), core.report.timeouts, core.report.failed), (0, idle, 0));
}

#[test]
fn a_peer_that_takes_no_goodbye_is_dropped() {
    let (mut core, key) = talking(&[Phase::Request(0), Phase::Closing]);
    ready(&mut core, key, Duration::ZERO);
    let next = core.expire(REQUEST).expect("it says goodbye");
    assert_eq!((core.len(), core.report.timeouts.requests), (1, 1));
    assert_eq!(core.expire(next), None);
    assert_eq!((core.len(), core.report.timeouts.responses), (0, 1));
}

#[test]
fn a_peer_that_takes_no_answer_is_dropped() {
    let (mut core, key) = talking(&[Phase::Response(1)]);
    ready(&mut core, key, Duration::ZERO);
    assert_eq!(core.expire(Duration::ZERO), Some(LIMIT));
    assert_eq!(core.expire(LIMIT), Some(IDLE));
    assert_eq!(core.expire(IDLE), None);
    assert_eq!((core.len(), core.report.timeouts.responses), (0, 1));
}

#[test]
fn l3_a_drain_waits_no_longer_for_a_hello_than_for_a_request() {
    let (mut core, spoken) = talking(&[Phase::Handshake]);
    core.policy.limits.handshake = Some(IDLE);
    let silent = |core: &mut Core<Talking, RealTime>, now| {
        let session = Talking { phase: Phase::Handshake, next: VecDeque::new(), timed_out: false };
        core.welcome(now, (), |_, _, _| Some(session)).expect("a place")
    };
    core.end(spoken, false);
    let spoken = silent(&mut core, Duration::ZERO);
    ready(&mut core, spoken, Duration::ZERO);
    let before = silent(&mut core, Duration::ZERO);
    core.begin_drain();
    let after = silent(&mut core, LIMIT);
    assert_eq!(core.expire(REQUEST), Some(LIMIT + REQUEST));
    assert!(core.sessions.by_key(before).is_none());
    // The one whose handshake has begun has its whole time.
    assert_eq!(core.expire(LIMIT + REQUEST), Some(IDLE));
    assert!(core.sessions.by_key(after).is_none());
    assert!(core.sessions.by_key(spoken).is_some());
    assert_eq!(core.report.timeouts.handshakes, 2);
}

#[test]
fn alarms_of_sessions_that_have_ended_do_not_pile_up() {
    let (mut core, first) = talking(&[]);
    for _ in 0..10_000 {
        let session = Talking { phase: Phase::Handshake, next: VecDeque::new(), timed_out: false };
        let key = core.welcome(Duration::ZERO, (), |_, _, _| Some(session)).expect("a place");
        core.give_up(key);
        core.expire(Duration::ZERO);
    }
    assert!(core.alarms.len() < 2_000, "{} alarms", core.alarms.len());
    assert!(core.sessions.by_key(first).is_some());
    assert_eq!(core.expire(LIMIT), None);
    assert_eq!(core.report.timeouts.handshakes, 1);
}

/// What it is told that its code panics in, when it advances and when it is dropped.
const PANICS: Milestone = Milestone::Signing;

impl Drop for Fake {
    fn drop(&mut self) {
        if self.0 == PANICS {
            resume_unwind(Box::new("as it is dropped"));
        }
    }
}

impl Session for Fake {
    type Failure = Infallible;

    fn advance(&mut self, _live: &LiveCounters) -> Result<SessionProgress, Infallible> {
        if self.0 == PANICS {
            resume_unwind(Box::new("as it goes on"));
        }
        self.0 = Milestone::Established;
        Ok(SessionProgress::Waits)
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

    fn drain(&mut self) -> bool {
        false
    }

    fn has_hung_up(failure: &Infallible) -> bool {
        match *failure {}
    }
}

fn core(handshake_timeout: Option<Duration>) -> Core<Fake, RealTime> {
    let limits = Limits { handshake: handshake_timeout, ..Limits::default() };
    let policy = Policy { unprompted_every: None, polls: false, limits };
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
    assert_eq!((core.len(), core.report.timeouts.handshakes, core.report.failed), (0, 1, 0));
}

#[test]
fn l10_a_session_that_panics_ends_and_its_worker_goes_on() {
    let mut core = core(None);
    let mut keys = [PANICS, Milestone::Accepted].map(|milestone| {
        core.welcome(Duration::ZERO, (), |_, _, _| Some(Fake(milestone))).expect("a session")
    });
    for key in &mut keys {
        core.transport_ready(*key, true);
    }
    while core.begin_one() {}
    assert_eq!((core.len(), core.report.failed, core.report.handshakes), (1, 1, 1));
    assert_eq!(core.live.sessions(), 1);
}

#[test]
fn without_a_limit_no_session_is_closed() {
    let mut core = core(None);
    core.welcome(Duration::ZERO, (), |_, _, _| Some(Fake(Milestone::Accepted)));
    assert_eq!(core.expire(Duration::MAX), None);
    assert_eq!(core.len(), 1);
}

proptest! {
    #[test]
    fn a_session_is_closed_exactly_when_it_misses_its_limit(
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
        prop_assert_eq!(core.report.timeouts.handshakes as usize, all.len() - core.len());
    }
}
