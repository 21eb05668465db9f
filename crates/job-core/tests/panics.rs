//! Panics at every place where a pool calls foreign code: wakers, a tracing subscriber, and the `Drop` of values,
//! closures, panic payloads and values stored with a job. In a process of its own, because of the subscriber.
//!
//! No such panic loses a job, a stack, a position in the queue or another job's value, and none aborts.

use std::cell::Cell;
use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use job_core::{Job, JobPool, Pause, Run, Step, WaitCtx, current, pause, run, run_with, wait_for};
use proptest::prelude::*;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// One in this number of calls of foreign code panics; 0 for none.
    static ONE_IN: Cell<u64> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = const { Cell::new(1) };
    static THROWN: Cell<u64> = const { Cell::new(0) };
    /// Values and wakers that exist.
    static VALUES: Cell<i64> = const { Cell::new(0) };
    static WAKERS: Cell<i64> = const { Cell::new(0) };
    static WAKES: Cell<u64> = const { Cell::new(0) };
}

fn random(below: u64) -> u64 {
    let mut x = RANDOM.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    RANDOM.set(x);
    x % below
}

/// Called by all code that is foreign to the pool.
fn maybe_panic() {
    let one_in = ONE_IN.get();
    if one_in != 0 && random(one_in) == 0 {
        THROWN.set(THROWN.get() + 1);
        resume_unwind(Box::new(Payload));
    }
}

/// Runs `f`, and catches its panic and that of the payload's destructor.
fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            if let Err(endless) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(endless);
            }
            None
        }
    }
}

struct Disarm;

impl Drop for Disarm {
    fn drop(&mut self) {
        ONE_IN.set(0);
    }
}

fn drop_quietly<T>(value: T) {
    caught(|| drop(value));
}

/// Panics on behalf of a job.
fn job_panics() -> ! {
    THROWN.set(THROWN.get() + 1);
    resume_unwind(Box::new(Payload))
}

/// Its drop may panic.
struct Value(());

impl Value {
    fn new() -> Self {
        VALUES.set(VALUES.get() + 1);
        Self(())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        VALUES.set(VALUES.get() - 1);
        maybe_panic();
    }
}

/// The payload of panics of foreign code. Not counted, since the payload of its drop's own panic is leaked.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        maybe_panic();
    }
}

struct First(Value);
struct Second(Value);

const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |number| {
        maybe_panic();
        WAKERS.set(WAKERS.get() + 1);
        RawWaker::new(number, &VTABLE)
    },
    |_| {
        WAKERS.set(WAKERS.get() - 1);
        WAKES.set(WAKES.get() + 1);
        maybe_panic();
    },
    |_| {
        WAKES.set(WAKES.get() + 1);
        maybe_panic();
    },
    |_| {
        WAKERS.set(WAKERS.get() - 1);
        maybe_panic();
    },
);

/// A waker that is equal to others of that number. It never leaves the thread.
fn waker(number: usize) -> Waker {
    WAKERS.set(WAKERS.get() + 1);
    let data = ptr::without_provenance(number);
    // SAFETY: the functions ignore the data, and the counters they use belong to the thread. They uphold the contract
    // of wakers in all but not panicking, which `Waker` does not rely on.
    unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
}

/// A subscriber that may panic.
struct Hostile;

impl Subscriber for Hostile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        maybe_panic();
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        maybe_panic();
    }

    fn enter(&self, _: &Id) {
        maybe_panic();
    }

    fn exit(&self, _: &Id) {
        maybe_panic();
    }

    fn clone_span(&self, id: &Id) -> Id {
        maybe_panic();
        id.clone()
    }

    fn try_close(&self, _: Id) -> bool {
        maybe_panic();
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    Return,
    Panic,
    /// Polls a future that panics, with a waker that may panic on top of that.
    PanicInPoll,
}

#[derive(Clone, Copy, Debug)]
struct Script {
    pauses: u8,
    keeps: bool,
    end: End,
    panics_if_cancelled: bool,
}

impl Script {
    fn body(self) -> impl FnOnce() -> Value + 'static {
        let captured = Value::new();
        move || {
            // Not dropped in the job: a destructor that panics while the job does would abort.
            VALUES.set(VALUES.get() - 1);
            std::mem::forget(captured);
            if self.keeps {
                let _ = current().unwrap().set_local(First(Value::new()));
                let _ = current().unwrap().set_local(Second(Value::new()));
            }
            for _ in 0..self.pauses {
                if pause() == Pause::Cancelled {
                    if self.panics_if_cancelled {
                        job_panics();
                    }
                    return Value::new();
                }
            }
            match self.end {
                End::Return => Value::new(),
                End::Panic => job_panics(),
                End::PanicInPoll => {
                    wait_for(std::future::poll_fn(|_| -> Poll<Value> { job_panics() })).unwrap()
                }
            }
        }
    }
}

fn script() -> impl Strategy<Value = Script> {
    let end =
        prop_oneof![3 => Just(End::Return), 1 => Just(End::Panic), 1 => Just(End::PanicInPoll)];
    (0..4_u8, any::<bool>(), end, any::<bool>()).prop_map(
        |(pauses, keeps, end, panics_if_cancelled)| Script {
            pauses,
            keeps,
            end,
            panics_if_cancelled,
        },
    )
}

#[derive(Clone, Debug)]
enum Op {
    Start(Script),
    Run(Script, bool),
    Resume(usize),
    Cancel(usize),
    Drop(usize),
    Poll(usize, usize),
    DropRun(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => script().prop_map(Op::Start),
        4 => (script(), any::<bool>()).prop_map(|(script, ctx)| Op::Run(script, ctx)),
        4 => any::<usize>().prop_map(Op::Resume),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => any::<usize>().prop_map(Op::Drop),
        8 => (any::<usize>(), 0..3_usize).prop_map(|(at, waker)| Op::Poll(at, waker)),
        1 => any::<usize>().prop_map(Op::DropRun),
    ]
}

struct World {
    pool: JobPool,
    ctx: WaitCtx,
    jobs: Vec<Job<Value>>,
    runs: Vec<Pin<Box<Run<Value>>>>,
}

impl World {
    fn step(&mut self, step: impl FnOnce(&JobPool) -> Option<Step<Value>>) {
        match caught(|| step(&self.pool)).flatten() {
            Some(Step::Paused(job)) => self.jobs.push(job),
            Some(Step::Finished(value)) => drop_quietly(value),
            None => {}
        }
    }

    /// Polls one future, and keeps it unless it is done.
    fn poll(&mut self, at: usize, number: usize) {
        let mut run = self.runs.remove(at);
        let waker = waker(number);
        let polled = caught(|| run.as_mut().poll(&mut Context::from_waker(&waker)));
        drop_quietly(waker);
        match polled {
            Some(Poll::Ready(Ok(value))) => drop_quietly(value),
            Some(Poll::Ready(Err(_))) => {}
            Some(Poll::Pending) => self.runs.push(run),
            // Either its job panicked, or its waker did, which leaves it unchanged.
            None if format!("{run:?}").contains("done") => {}
            None => self.runs.push(run),
        }
    }

    fn apply(&mut self, op: Op) {
        let at = |index: usize, len: usize| (len > 0).then(|| index % len);
        match op {
            Op::Start(script) => self.step(|pool| {
                let refused = match pool.start(script.body()) {
                    Ok(step) => return Some(step),
                    Err(error) => error.into_closure(),
                };
                drop(refused);
                None
            }),
            Op::Run(script, with_ctx) => {
                let body = script.body();
                let run = if with_ctx {
                    run_with(&self.pool, &self.ctx, body)
                } else {
                    run(&self.pool, body)
                };
                self.runs.push(Box::pin(run));
            }
            Op::Resume(index) => {
                if let Some(at) = at(index, self.jobs.len()) {
                    let job = self.jobs.remove(at);
                    self.step(|_| Some(job.resume()));
                }
            }
            Op::Cancel(index) => {
                if let Some(at) = at(index, self.jobs.len()) {
                    let job = self.jobs.remove(at);
                    let value = job.cancel();
                    drop_quietly(value);
                }
            }
            Op::Drop(index) => {
                if let Some(at) = at(index, self.jobs.len()) {
                    drop(self.jobs.remove(at));
                }
            }
            Op::Poll(index, number) => {
                if let Some(at) = at(index, self.runs.len()) {
                    self.poll(at, number);
                }
            }
            Op::DropRun(index) => {
                if let Some(at) = at(index, self.runs.len()) {
                    drop(self.runs.remove(at));
                }
            }
        }
    }

    /// Without further panics, ends all jobs and polls all futures to their end, and checks that nothing is left.
    fn settle(mut self, max_jobs: usize) {
        ONE_IN.set(0);
        self.jobs.clear();
        for _ in 0..100 {
            (0..self.runs.len()).rev().for_each(|at| self.poll(at, 7));
        }
        assert!(self.runs.is_empty(), "{:?} never got a job", self.runs);
        let Self { pool, ctx, .. } = self;
        let stats = pool.stats();
        assert_eq!((stats.live, stats.stacks_in_use, stats.quarantined), (0, 0, 0));
        assert_eq!(stats.started, stats.finished + stats.cancelled);
        let again: Vec<_> = (0..max_jobs).map(|_| pool.start(pause)).collect();
        assert!(again.iter().all(Result::is_ok), "the pool has room for all of its jobs");
        drop((again, ctx));
        assert_eq!((VALUES.get(), WAKERS.get()), (0, 0), "values and wakers that were not dropped");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn l8_l10_no_panic_of_foreign_code_loses_anything(
        max_jobs in 1..4_usize,
        one_in in 1..8_u64,
        seed in 1..u64::MAX,
        ops in prop::collection::vec(op(), 0..60),
    ) {
        VALUES.set(0);
        WAKERS.set(0);
        THROWN.set(0);
        RANDOM.set(seed);
        tracing::subscriber::with_default(Hostile, || {
            let mut world = World {
                pool: JobPool::builder().max_jobs(max_jobs).build().unwrap(),
                ctx: WaitCtx::new(),
                jobs: Vec::new(),
                runs: Vec::new(),
            };
            // If an assertion fails, later destructors do not panic.
            let _disarm = Disarm;
            ONE_IN.set(one_in);
            for op in ops {
                world.apply(op);
            }
            assert!(world.pool.stats().swallowed_panics <= THROWN.get());
            world.settle(max_jobs);
        });
    }
}

#[test]
fn l10_l13_a_future_whose_waker_panics_loses_its_place_and_the_next_is_woken() {
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let job = pool.start(pause).unwrap().paused().unwrap();
    let (mut first, mut second) = (Box::pin(run(&pool, || 1)), Box::pin(run(&pool, || 2)));
    let waker = waker(1);
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    ONE_IN.set(1);
    assert_eq!(job.resume().finished(), Some(Pause::Resumed), "the job's owner is not affected");
    ONE_IN.set(0);
    assert_eq!(WAKES.get(), 2, "both were tried");
    assert_eq!(pool.stats().swallowed_panics, 2);
    // Neither blocks the other.
    assert_eq!(second.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(2)));
    assert_eq!(first.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(1)));
}

#[test]
fn l10_a_value_reaches_its_owner_though_destructors_of_its_job_panic() {
    let pool = JobPool::new();
    let keeping = || {
        let _ = current().unwrap().set_local(First(Value::new()));
        let _ = current().unwrap().set_local(Second(Value::new()));
        ONE_IN.set(1);
        3
    };
    let value = caught(|| pool.start(keeping).unwrap().finished());
    ONE_IN.set(0);
    assert_eq!(value, Some(Some(3)));
    assert_eq!((pool.stats().live, pool.stats().swallowed_panics), (0, 2));
}
