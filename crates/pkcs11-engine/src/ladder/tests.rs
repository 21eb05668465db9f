//! The ladder in a world that breaks and is mended, with several threads in any order.

use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::*;

const THREADS: usize = 3;

/// What is wrong with the token, and so from which rung on a climb helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Broken {
    Nothing,
    Login,
    Sessions,
    Module,
    /// No climb helps.
    Away,
}

impl Broken {
    fn is_healed_by(self, rung: Rung) -> bool {
        self <= match rung {
            Rung::Login => Self::Login,
            Rung::Sessions => Self::Sessions,
            Rung::Module => Self::Module,
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Nothing => unreachable!("a token that is not broken signs"),
            Self::Login => Class::Login,
            Self::Sessions => Class::Unclear,
            Self::Module | Self::Away => Class::Device,
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A thread does its next step: asks, signs, or ends its climb.
    Step(usize),
    Break(Broken),
    /// What is away comes back; the module has to be restarted.
    Mend,
    RightPin(bool),
    Pass(Duration),
    /// A person lets the token go on.
    Resume,
}

/// The world outside.
#[derive(Clone, Debug)]
struct World {
    broken: Broken,
    right_pin: bool,
    is_ours: bool,
}

impl ReferenceStateMachine for World {
    type State = Self;
    type Transition = Event;

    fn init_state() -> BoxedStrategy<Self> {
        any::<bool>()
            .prop_map(|is_ours| Self { broken: Broken::Nothing, right_pin: true, is_ours })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Event> {
        let broken = prop::sample::select(vec![
            Broken::Login,
            Broken::Sessions,
            Broken::Module,
            Broken::Away,
        ]);
        prop_oneof![
            12 => (0..THREADS).prop_map(Event::Step),
            1 => broken.prop_map(Event::Break),
            1 => Just(Event::Mend),
            1 => any::<bool>().prop_map(Event::RightPin),
            2 => (1u64..8000).prop_map(|ms| Event::Pass(Duration::from_millis(ms))),
            1 => Just(Event::Resume),
        ]
        .boxed()
    }

    fn apply(mut state: Self, event: &Event) -> Self {
        match event {
            Event::Break(broken) => state.broken = state.broken.max(*broken),
            Event::Mend if state.broken == Broken::Away => state.broken = Broken::Module,
            Event::RightPin(right) => state.right_pin = *right,
            _ => {}
        }
        state
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    Signing { epoch: Epoch },
    Climbing { rung: Rung },
}

/// The ladder, and the threads of a pool.
struct Pool {
    ladder: Ladder,
    now: Duration,
    world: World,
    threads: [Doing; THREADS],
    /// Failures that the request of each thread has met.
    met: [u32; THREADS],
    /// Wrong PINs that the token has seen since a person last looked.
    wrong_pins: u32,
    epoch: Epoch,
}

impl Pool {
    fn step(&mut self, thread: usize) {
        match self.threads[thread] {
            Doing::Nothing => self.ask(thread),
            Doing::Signing { epoch } => self.sign(thread, epoch),
            Doing::Climbing { rung } => self.stand_on(thread, rung),
        }
    }

    fn ask(&mut self, thread: usize) {
        match self.ladder.next(self.now) {
            Next::Sign(epoch) => self.threads[thread] = Doing::Signing { epoch },
            Next::Climb(rung) => self.begin_climb(thread, rung),
            Next::Wait => assert!(self.n_climbing() == 1, "a thread that is waited for climbs"),
            Next::Rest(rest) => assert!(rest <= LONGEST_REST, "{rest:?}"),
            Next::Stopped => assert!(self.wrong_pins > 0, "a wrong PIN stopped it"),
        }
    }

    fn sign(&mut self, thread: usize, epoch: Epoch) {
        self.threads[thread] = Doing::Nothing;
        if self.world.broken == Broken::Nothing {
            self.ladder.signed(epoch);
            self.met[thread] = 0;
            return;
        }
        let class = self.world.broken.class();
        let first = self.met[thread] == 0;
        self.met[thread] += 1;
        match self.ladder.failed(self.now, epoch, class, first) {
            AfterFailure::Again => {}
            AfterFailure::Climb(rung) => {
                assert_eq!(epoch, self.epoch, "an old failure says nothing about the new login");
                self.begin_climb(thread, rung);
            }
            AfterFailure::Refuse => {
                assert_eq!(class, Class::Unclear, "only such a request may be alone to blame");
                self.met[thread] = 0;
            }
            AfterFailure::Later(time) => {
                assert!(time <= LONGEST_REST);
                self.met[thread] = 0;
            }
        }
    }

    fn begin_climb(&mut self, thread: usize, rung: Rung) {
        assert_eq!(self.n_climbing(), 0, "one thread climbs");
        assert_eq!(self.wrong_pins, 0, "nothing is tried after a wrong PIN");
        assert!(self.world.is_ours || rung < Rung::Module, "another one's module is not restarted");
        self.threads[thread] = Doing::Climbing { rung };
    }

    fn stand_on(&mut self, thread: usize, rung: Rung) {
        // Every rung logs in.
        if !self.world.right_pin {
            self.wrong_pins += 1;
            assert_eq!(self.wrong_pins, 1, "a wrong PIN is given once");
            self.ladder.stop();
        } else if self.world.broken.is_healed_by(rung) {
            self.world.broken = Broken::Nothing;
            self.ladder.climbed(rung);
            self.epoch += 1;
        } else if let Some(higher) = self.ladder.higher(rung) {
            assert!(self.world.is_ours || higher < Rung::Module);
            self.threads[thread] = Doing::Climbing { rung: higher };
            return;
        } else {
            let rest = self.ladder.fell(self.now);
            assert!(rest >= FIRST_REST && rest <= LONGEST_REST);
            self.epoch += 1;
        }
        self.threads[thread] = Doing::Nothing;
    }

    fn n_climbing(&self) -> usize {
        self.threads.iter().filter(|doing| matches!(doing, Doing::Climbing { .. })).count()
    }
}

impl StateMachineTest for Pool {
    type SystemUnderTest = Self;
    type Reference = World;

    fn init_test(world: &World) -> Self {
        let top = if world.is_ours { Rung::Module } else { Rung::Sessions };
        Self {
            ladder: Ladder::new(top),
            now: Duration::ZERO,
            world: world.clone(),
            threads: [Doing::Nothing; THREADS],
            met: [0; THREADS],
            wrong_pins: 0,
            epoch: 1,
        }
    }

    fn apply(mut pool: Self, _: &World, event: Event) -> Self {
        match event {
            Event::Step(thread) => pool.step(thread),
            Event::Pass(time) => pool.now += time,
            Event::Resume => {
                pool.ladder.resume();
                pool.wrong_pins = 0;
            }
            // What is mended is as broken as before for those that hold on to it.
            event => pool.world = World::apply(pool.world.clone(), &event),
        }
        pool
    }

    /// Once nothing is wrong any more, every thread signs, and soon.
    fn teardown(mut pool: Self, _: World) {
        pool.world.right_pin = true;
        let most = if pool.world.is_ours { Broken::Module } else { Broken::Sessions };
        pool.world.broken = pool.world.broken.min(most);
        if pool.ladder.is_stopped() {
            pool.ladder.resume();
            pool.wrong_pins = 0;
        }
        for thread in 0..THREADS {
            let signs = (0..200).any(|_| {
                (0..THREADS).filter(|other| *other != thread).for_each(|other| pool.step(other));
                let was_signing = matches!(pool.threads[thread], Doing::Signing { .. });
                pool.step(thread);
                pool.now += FIRST_REST;
                was_signing && pool.met[thread] == 0 && pool.world.broken == Broken::Nothing
            });
            assert!(signs, "thread {thread} never signs: {:?}", pool.ladder);
        }
    }
}

prop_state_machine! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn one_thread_recovers_a_wrong_pin_is_given_once_and_the_service_returns(sequential 1..120 => Pool);
}

#[test]
fn a_climb_that_did_not_help_is_followed_by_a_higher_one_and_then_by_longer_and_longer_rests() {
    let mut ladder = Ladder::new(Rung::Module);
    let mut now = Duration::ZERO;
    let mut rests = Vec::new();
    while rests.len() < 9 {
        match ladder.next(now) {
            Next::Sign(epoch) => match ladder.failed(now, epoch, Class::Login, true) {
                AfterFailure::Climb(rung) => ladder.climbed(rung),
                AfterFailure::Later(rest) => {
                    rests.push(rest.as_millis());
                    now += rest;
                }
                other => panic!("{other:?}"),
            },
            Next::Climb(rung) => ladder.climbed(rung),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rests, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

#[test]
fn a_key_with_unclear_errors_is_refused_and_only_many_in_a_row_are_the_tokens() {
    let mut ladder = Ladder::new(Rung::Module);
    let now = Duration::ZERO;
    for _ in 0..100 {
        assert_eq!(ladder.failed(now, 1, Class::Unclear, true), AfterFailure::Again);
        assert_eq!(ladder.failed(now, 1, Class::Unclear, false), AfterFailure::Refuse);
        // Another key signs.
        ladder.signed(1);
    }
    for _ in 1..UNCLEAR_LIMIT {
        assert_eq!(ladder.failed(now, 1, Class::Unclear, false), AfterFailure::Refuse);
    }
    let all = ladder.failed(now, 1, Class::Unclear, false);
    assert_eq!(all, AfterFailure::Climb(Rung::Sessions));
}

#[test]
fn a_request_that_is_wrong_disturbs_no_other() {
    let mut ladder = Ladder::new(Rung::Module);
    let refused = ladder.failed(Duration::ZERO, 1, Class::Request, true);
    assert_eq!(refused, AfterFailure::Refuse);
    assert_eq!(ladder.failed(Duration::ZERO, 1, Class::Busy, true), AfterFailure::Later(BUSY));
    assert_eq!(ladder.next(Duration::ZERO), Next::Sign(1));
    assert!(!ladder.is_unproven());
}

/// A signature of before may learn that the PIN is locked while another thread climbs.
#[test]
fn a_person_who_lets_it_go_on_during_a_climb_begins_no_second_one() {
    let now = Duration::ZERO;
    let mut ladder = Ladder::new(Rung::Module);
    let climbs = ladder.failed(now, 1, Class::Login, true);
    assert_eq!(climbs, AfterFailure::Climb(Rung::Login));
    assert_eq!(ladder.failed(now, 1, Class::Pin, true), AfterFailure::Refuse);
    assert_eq!(ladder.higher(Rung::Login), None, "it gives the PIN no more");
    ladder.resume();
    assert_eq!(ladder.next(now), Next::Wait);
    ladder.climbed(Rung::Login);
    assert_eq!(ladder.next(now), Next::Sign(2));
}

#[test]
fn a_pin_that_was_refused_before_the_last_login_stops_nothing() {
    let now = Duration::ZERO;
    let mut ladder = Ladder::new(Rung::Module);
    assert_eq!(ladder.failed(now, 1, Class::Login, true), AfterFailure::Climb(Rung::Login));
    ladder.climbed(Rung::Login);
    assert_eq!(ladder.failed(now, 1, Class::Pin, true), AfterFailure::Again);
    assert_eq!(ladder.next(now), Next::Sign(2));
}
