//! Random schedules of many jobs against a model of what they should do.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use job_core::{
    Job, JobPool, Pause, StartRefused, Step, block_pause, current, on_parent_stack, pause,
};
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// One thing that a job does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Pause,
    /// Pauses under a block, which is refused.
    BlockedPause,
    /// Pauses on the parent's stack, which is refused.
    DetachedPause,
    /// Pauses, and catches a panic of that.
    CaughtPause,
    /// Starts a nested job that pauses this often, and runs it to its end.
    Nest(usize),
    /// Starts a nested job and drops it paused.
    NestAndDrop,
    Panic,
}

/// What a job does when a pause returns `Cancelled`.
#[derive(Clone, Copy, Debug)]
enum OnCancel {
    Return,
    Panic,
    Ignore,
}

#[derive(Clone, Debug)]
struct Script {
    acts: Vec<Act>,
    on_cancel: OnCancel,
}

/// What a job records while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Answer(Pause),
    Caught,
    Nested(bool),
}

/// How a step of a job ended, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Refused,
    Paused,
    Finished(usize),
    Panicked,
    Cancelled(Option<usize>),
    Dropped,
}

#[derive(Clone, Debug)]
enum Transition {
    Start(Script),
    Resume(usize),
    Cancel(usize),
    Drop(usize),
    Preallocate(usize),
    Shrink,
}

/// The documented number of unwinds that a cancelled job may catch.
const UNWIND_LIMIT: u64 = 3;

#[derive(Clone, Debug)]
struct ModelJob {
    name: usize,
    script: Script,
    /// The act after the one that the job is in.
    next: usize,
    in_pause: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    max_jobs: usize,
    /// Whether the pool unwinds cancelled jobs.
    unwind: bool,
    jobs: Vec<ModelJob>,
    peak_live: usize,
    started: u64,
    cancelled: u64,
    resumes: u64,
    swallowed_panics: u64,
    swallowed_unwinds: u64,
    quarantined: u64,
    /// The result of the last transition, and the events recorded during it.
    seen: Option<Seen>,
    events: Vec<Event>,
}

/// How a run of a job's code ended.
enum Stop {
    Pause,
    Return,
    Panic,
    Unwind,
    Stuck,
}

impl Model {
    fn start(&mut self, script: &Script) -> Seen {
        if self.jobs.len() == self.max_jobs {
            return Seen::Refused;
        }
        let name = self.started as usize;
        self.note_start();
        self.jobs.push(ModelJob { name, script: script.clone(), next: 0, in_pause: false });
        self.resume(self.jobs.len() - 1)
    }

    fn note_start(&mut self) {
        self.started += 1;
        self.peak_live = self.peak_live.max(self.jobs.len() + 1);
    }

    fn resume(&mut self, at: usize) -> Seen {
        let stop = self.run(at, false);
        if matches!(stop, Stop::Pause) {
            return Seen::Paused;
        }
        let job = self.jobs.remove(at);
        if matches!(stop, Stop::Return) { Seen::Finished(job.name) } else { Seen::Panicked }
    }

    fn cancel(&mut self, at: usize) -> Option<usize> {
        let stop = self.run(at, true);
        let job = self.jobs.remove(at);
        self.cancelled += 1;
        match stop {
            Stop::Return => return Some(job.name),
            Stop::Panic => self.swallowed_panics += 1,
            Stop::Stuck => self.quarantined += 1,
            Stop::Unwind | Stop::Pause => {}
        }
        None
    }

    /// Continues a job until it stops.
    fn run(&mut self, at: usize, cancelling: bool) -> Stop {
        let ModelJob { script, mut next, in_pause, .. } = self.jobs[at].clone();
        self.resumes += 1;
        let mut unwinds = 0;
        if in_pause && cancelling {
            if let Some(stop) = self.answer_cancelled(&script, script.acts[next - 1]) {
                return stop;
            }
        } else if in_pause {
            self.events.push(Event::Answer(Pause::Resumed));
        }
        while let Some(&act) = script.acts.get(next) {
            next += 1;
            match act {
                Act::Pause | Act::CaughtPause if !cancelling => {
                    self.jobs[at].next = next;
                    self.jobs[at].in_pause = true;
                    return Stop::Pause;
                }
                Act::Pause | Act::CaughtPause if !self.unwind => {
                    if let Some(stop) = self.answer_cancelled(&script, act) {
                        return stop;
                    }
                }
                Act::Pause | Act::CaughtPause => {
                    self.swallowed_unwinds += u64::from(unwinds > 0);
                    if unwinds == UNWIND_LIMIT {
                        return Stop::Stuck;
                    }
                    unwinds += 1;
                    if matches!(act, Act::Pause) {
                        return Stop::Unwind;
                    }
                    self.events.push(Event::Caught);
                }
                Act::BlockedPause | Act::DetachedPause => {
                    self.events.push(Event::Answer(Pause::Blocked));
                }
                Act::Nest(_) | Act::NestAndDrop if self.jobs.len() == self.max_jobs => {
                    self.events.push(Event::Nested(false));
                }
                Act::Nest(pauses) => {
                    self.note_start();
                    self.resumes += 1 + pauses as u64;
                    self.events.push(Event::Nested(true));
                }
                Act::NestAndDrop => {
                    self.note_start();
                    self.resumes += 2;
                    self.cancelled += 1;
                    self.events.push(Event::Nested(true));
                }
                Act::Panic => return Stop::Panic,
            }
        }
        self.swallowed_unwinds += u64::from(unwinds > 0);
        Stop::Return
    }

    /// A pause returns `Cancelled` to the job. Returns how the job stops, if it does.
    fn answer_cancelled(&mut self, script: &Script, act: Act) -> Option<Stop> {
        self.events.push(Event::Answer(Pause::Cancelled));
        match script.on_cancel {
            OnCancel::Return => Some(Stop::Return),
            OnCancel::Panic if matches!(act, Act::Pause) => Some(Stop::Panic),
            OnCancel::Panic => {
                self.events.push(Event::Caught);
                None
            }
            OnCancel::Ignore => None,
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Pause),
        1 => Just(Act::BlockedPause),
        1 => Just(Act::DetachedPause),
        2 => Just(Act::CaughtPause),
        1 => (0..3_usize).prop_map(Act::Nest),
        1 => Just(Act::NestAndDrop),
        1 => Just(Act::Panic),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let on_cancel =
        prop_oneof![Just(OnCancel::Return), Just(OnCancel::Panic), Just(OnCancel::Ignore)];
    (prop::collection::vec(act(), 0..8), on_cancel)
        .prop_map(|(acts, on_cancel)| Script { acts, on_cancel })
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        (1..6_usize, any::<bool>())
            .prop_map(|(max_jobs, unwind)| Self { max_jobs, unwind, ..Self::default() })
            .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Transition> {
        let start = script().prop_map(Transition::Start);
        let upkeep =
            prop_oneof![(0..4_usize).prop_map(Transition::Preallocate), Just(Transition::Shrink)];
        if state.jobs.is_empty() {
            return prop_oneof![8 => start, 1 => upkeep].boxed();
        }
        let job = 0..state.jobs.len();
        prop_oneof![
            6 => start,
            8 => job.clone().prop_map(Transition::Resume),
            2 => job.clone().prop_map(Transition::Cancel),
            2 => job.prop_map(Transition::Drop),
            1 => upkeep,
        ]
        .boxed()
    }

    fn preconditions(state: &Self, transition: &Transition) -> bool {
        match transition {
            Transition::Resume(at) | Transition::Cancel(at) | Transition::Drop(at) => {
                *at < state.jobs.len()
            }
            _ => true,
        }
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        state.events.clear();
        state.seen = match transition {
            Transition::Start(script) => Some(state.start(script)),
            Transition::Resume(at) => Some(state.resume(*at)),
            Transition::Cancel(at) => Some(Seen::Cancelled(state.cancel(*at))),
            Transition::Drop(at) => {
                state.cancel(*at);
                Some(Seen::Dropped)
            }
            Transition::Preallocate(_) | Transition::Shrink => None,
        };
        state
    }
}

/// The system under test.
struct Real {
    pool: JobPool,
    jobs: Vec<Job<usize>>,
    events: Rc<RefCell<Vec<Event>>>,
    /// Markers on the stacks of live jobs.
    markers: Rc<Cell<u64>>,
}

/// Counts itself while it exists.
struct Marker(Rc<Cell<u64>>);

impl Marker {
    fn new(count: &Rc<Cell<u64>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Raises a panic that the hook does not print.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("a job panics"))
}

impl Real {
    fn body(&self, name: usize, script: Script) -> impl FnOnce() -> usize + 'static {
        let pool = self.pool.clone();
        let events = Rc::clone(&self.events);
        let markers = Rc::clone(&self.markers);
        move || {
            let _marker = Marker::new(&markers);
            let id = current().expect("in a job").id();
            let note = |event| events.borrow_mut().push(event);
            // Returns whether the job goes on.
            let pause_noting = || {
                let answer = pause();
                note(Event::Answer(answer));
                match script.on_cancel {
                    OnCancel::Return => answer != Pause::Cancelled,
                    OnCancel::Panic if answer == Pause::Cancelled => panic_quietly(),
                    OnCancel::Panic | OnCancel::Ignore => true,
                }
            };
            for act in &script.acts {
                assert_eq!(current().map(|job| job.id()), Some(id));
                let goes_on = match *act {
                    Act::Pause => pause_noting(),
                    Act::CaughtPause => catch_unwind(AssertUnwindSafe(pause_noting))
                        .unwrap_or_else(|_| {
                            note(Event::Caught);
                            true
                        }),
                    Act::BlockedPause => {
                        let _block = block_pause();
                        note(Event::Answer(pause()));
                        true
                    }
                    Act::DetachedPause => {
                        note(Event::Answer(on_parent_stack(pause)));
                        true
                    }
                    Act::Nest(pauses) => {
                        note(Event::Nested(nest(&pool, pauses, false)));
                        true
                    }
                    Act::NestAndDrop => {
                        note(Event::Nested(nest(&pool, 1, true)));
                        true
                    }
                    Act::Panic => panic_quietly(),
                };
                if !goes_on {
                    break;
                }
            }
            name
        }
    }

    fn step(&mut self, at: Option<usize>, step: impl FnOnce() -> Step<usize>) -> Seen {
        match catch_unwind(AssertUnwindSafe(step)) {
            Ok(Step::Paused(job)) => {
                self.jobs.insert(at.unwrap_or(self.jobs.len()), job);
                Seen::Paused
            }
            Ok(Step::Finished(name)) => Seen::Finished(name),
            Err(_) => Seen::Panicked,
        }
    }
}

/// Starts a job inside a job, which resumes it to its end or drops it. Returns whether it started.
fn nest(pool: &JobPool, pauses: usize, and_drop: bool) -> bool {
    let inner = move || (0..pauses).all(|_| pause() == Pause::Resumed);
    let mut step = match pool.start(inner) {
        Ok(step) => step,
        Err(error) => {
            assert!(matches!(error.reason, StartRefused::NoJobs { .. }));
            return false;
        }
    };
    if and_drop {
        drop(step);
        return true;
    }
    for _ in 0..pauses {
        let job = step.paused().expect("one more pause");
        step = job.resume();
    }
    step.finished().expect("no more pauses")
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let builder =
            JobPool::builder().max_jobs(model.max_jobs).stack_size(128 * 1024).unwind(model.unwind);
        Self {
            pool: builder.build().expect("settings that are valid"),
            jobs: Vec::new(),
            events: Rc::default(),
            markers: Rc::default(),
        }
    }

    fn apply(mut real: Self, model: &Model, transition: Transition) -> Self {
        let seen = match transition {
            Transition::Start(script) => {
                let name = real.pool.stats().started as usize;
                let body = real.body(name, script);
                let pool = real.pool.clone();
                let is_full = pool.stats().live == model.max_jobs;
                if is_full {
                    let error = pool.start(body).expect_err("the pool is full");
                    assert_eq!(error.reason, StartRefused::NoJobs { max_jobs: model.max_jobs });
                    drop(error.into_closure());
                    Some(Seen::Refused)
                } else {
                    Some(real.step(None, || pool.start(body).expect("the pool has room")))
                }
            }
            Transition::Resume(at) => {
                let job = real.jobs.remove(at);
                Some(real.step(Some(at), || job.resume()))
            }
            Transition::Cancel(at) => Some(Seen::Cancelled(real.jobs.remove(at).cancel())),
            Transition::Drop(at) => {
                drop(real.jobs.remove(at));
                Some(Seen::Dropped)
            }
            Transition::Preallocate(n) => {
                assert!(real.pool.preallocate(n) <= n);
                None
            }
            Transition::Shrink => {
                real.pool.shrink();
                None
            }
        };
        assert_eq!(seen, model.seen);
        real
    }

    fn check_invariants(real: &Self, model: &Model) {
        assert_eq!(real.events.take(), model.events);
        let stats = real.pool.stats();
        let live = model.jobs.len();
        assert_eq!((stats.live, stats.paused, stats.stacks_in_use), (live, live, live));
        assert_eq!(stats.created, stats.idle + stats.stacks_in_use);
        assert_eq!((stats.peak_live, stats.started), (model.peak_live, model.started));
        assert_eq!((stats.cancelled, stats.resumes), (model.cancelled, model.resumes));
        assert_eq!(stats.finished, model.started - model.cancelled - live as u64);
        assert_eq!(stats.swallowed_panics, model.swallowed_panics);
        assert_eq!(stats.swallowed_unwinds, model.swallowed_unwinds);
        assert_eq!(stats.quarantined, model.quarantined);
        assert_eq!(real.markers.get(), live as u64 + model.quarantined);
        assert_eq!((pause(), current()), (Pause::NotInJob, None));
    }

    fn teardown(real: Self, model: Model) {
        let Self { pool, jobs, markers, .. } = real;
        drop(jobs);
        let stats = pool.stats();
        assert_eq!((stats.live, stats.stacks_in_use), (0, 0));
        assert_eq!(markers.get(), stats.quarantined);
        assert!(stats.quarantined >= model.quarantined);
        // The pool has room for all of its jobs.
        let again: Vec<_> = (0..model.max_jobs).map(|_| pool.start(pause)).collect();
        assert!(again.iter().all(Result::is_ok));
    }
}

prop_state_machine! {
    #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

    #[test]
    fn l5_l10_l11_random_schedules_match_the_model(sequential 1..60 => Real);
}
