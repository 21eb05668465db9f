//! `Engine::poll`: everything due is done, and the answer knows of what was submitted in the poll.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::{
    Accelerator, BreakerPolicy, Capabilities, Clock, DeviceRefused, Engine, Fallback, Health,
    Request, RequestOptions, RoomNotice,
};

use crate::support::{Answer, Bench, HandClock, Negate, end};

const MS: Duration = Duration::from_millis(1);

/// A device that takes a millisecond for a request, one at a time, and has no thread: it moves when it is polled.
#[derive(Debug)]
struct Polled {
    clock: Arc<HandClock>,
    state: Mutex<State>,
    polls: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    inside: Option<(Duration, Request<Negate>)>,
    /// How long its ring is to claim to be full, from the next submission on that finds it empty.
    will_be_stuck: Option<Duration>,
    stuck_until: Option<Duration>,
    /// It does not say when its ring opens.
    mute: bool,
    dead: bool,
    room: Option<RoomNotice>,
}

impl Polled {
    fn new(clock: &Arc<HandClock>) -> Arc<Self> {
        let clock = Arc::clone(clock);
        Arc::new(Self { clock, state: Mutex::default(), polls: AtomicU32::new(0) })
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

impl Accelerator<Negate> for Polled {
    fn submit(&self, request: Request<Negate>) -> Result<(), DeviceRefused<Negate>> {
        let (now, mut state) = (self.clock.now(), self.state.lock().unwrap());
        if state.inside.is_none()
            && let Some(lasts) = state.will_be_stuck.take()
        {
            state.stuck_until = Some(now + lasts);
        }
        if state.inside.is_some() || state.stuck_until.is_some() {
            return Err(DeviceRefused::Full(request));
        }
        state.inside = Some((now + MS, request));
        Ok(())
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        loop {
            let mut state = self.state.lock().unwrap();
            if state.stuck_until.is_some_and(|until| until <= now) {
                state.stuck_until = None;
                let room = state.room.clone().filter(|_| !state.mute);
                drop(state);
                if let Some(room) = room {
                    room.announce();
                }
            } else if let Some((_, request)) = state.inside.take_if(|(due, _)| *due <= now) {
                drop(state);
                end(request, Answer::Right);
            } else {
                let due = state.inside.as_ref().map(|(due, _)| *due);
                return due.into_iter().chain(state.stuck_until).min();
            }
        }
    }

    fn health(&self, _: Duration) -> Health {
        if self.state.lock().unwrap().dead { Health::Dead } else { Health::Alive }
    }

    fn attach(&self, room: RoomNotice) {
        self.state.lock().unwrap().room = Some(room);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: false, needs_poll: true }
    }
}

#[test]
fn l3_the_answer_knows_of_a_fault_that_a_refused_submission_brought_down() {
    let bench = Bench::with_rings(1, 1);
    let device = Polled::new(&bench.clock);
    let engine = Engine::builder(device.clone()).clock(bench.clock.clone()).build();
    device.set(|state| state.will_be_stuck = Some(5 * MS));
    let pending = engine.submit(bench.work(0)).unwrap();
    assert_eq!(engine.poll(), Some(5 * MS));
    // The ring opens without a word, and the poll offers the request that waits: the fault strikes again.
    device.set(|state| (state.mute, state.will_be_stuck) = (true, Some(5 * MS)));
    bench.clock.advance(5 * MS);
    assert_eq!(engine.poll(), Some(10 * MS));
    bench.clock.advance(5 * MS);
    assert_eq!(engine.poll(), Some(11 * MS));
    bench.clock.advance(MS);
    assert_eq!(engine.poll(), None);
    assert_eq!(pending.wait().unwrap().value, !0);
}

/// A refusal is no reason to look again and again.
#[test]
fn l7_a_poll_with_a_full_ring_asks_the_device_twice_at_most() {
    let bench = Bench::with_rings(1, 1);
    let device = Polled::new(&bench.clock);
    let engine = Engine::builder(device.clone()).clock(bench.clock.clone()).build();
    let pending: Vec<_> = (0..3).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    let before = device.polls.load(Ordering::SeqCst);
    assert_eq!(engine.poll(), Some(MS));
    assert!(device.polls.load(Ordering::SeqCst) - before <= 2);
    drop(pending);
}

#[test]
fn l14_the_answer_knows_of_what_a_trip_has_sent_to_the_standby() {
    let bench = Bench::with_rings(1, 1);
    let (device, standby) = (Polled::new(&bench.clock), Polled::new(&bench.clock));
    let engine = Engine::builder(device.clone())
        .standby(standby)
        .clock(bench.clock.clone())
        .options(RequestOptions::new().fallback(Fallback::Standby))
        .breaker(BreakerPolicy::default().check_every(4 * MS))
        .build();
    let pending = engine.submit(bench.work(0)).unwrap();
    device.set(|state| {
        state.dead = true;
        state.inside.as_mut().unwrap().0 = 9 * MS;
    });
    assert_eq!(engine.poll(), Some(4 * MS), "the next look at its health");
    bench.clock.advance(4 * MS);
    assert_eq!(engine.poll(), Some(5 * MS), "the standby takes a millisecond");
    bench.clock.advance(MS);
    engine.poll();
    assert_eq!(pending.wait().unwrap().value, !0);
}
