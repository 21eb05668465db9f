//! Permits to submit (`OnFull::Notify`) whose owners never come: law L13 holds for the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_core::{Engine, EngineError, OnFull, RequestOptions};
use job_core::{Job, JobPool, Step};
use proptest::prelude::*;
use wait_ctx::WaitCtx;

use crate::support::{Answer, Bench, KINDS, Negate, Secret};

type Outcome = Result<Secret, EngineError>;

struct Session {
    woken: Arc<AtomicBool>,
    job: Option<Job<Outcome>>,
}

struct World {
    bench: Bench,
    engine: Arc<Engine<Negate>>,
    pool: JobPool,
    sessions: Vec<Session>,
}

impl World {
    fn new(depth: usize, tells: bool) -> Self {
        let bench = Bench::with_rings(depth, 1);
        if tells {
            bench.device.tell_credits();
        }
        let engine = bench.builder(RequestOptions::new()).on_full(OnFull::Notify).build();
        Self { bench, engine, pool: JobPool::new(), sessions: Vec::new() }
    }

    fn begin(&mut self) {
        let n = self.sessions.len() as u64;
        let (ctx, woken) = (WaitCtx::new(), Arc::<AtomicBool>::default());
        let wake = Arc::clone(&woken);
        ctx.set_callback(move |_| wake.store(true, Ordering::SeqCst));
        let (engine, work) = (Arc::clone(&self.engine), self.bench.work(n));
        let job = self.pool.start_with(&ctx, move || engine.run(work)).unwrap().paused();
        self.sessions.push(Session { woken, job });
    }

    /// The application leaks the job: its request is never given up.
    fn forget(&mut self, nth: usize) {
        core::mem::forget(self.sessions[nth].job.take());
    }

    fn answer_all(&self) -> bool {
        let mut any = false;
        while self.bench.device.answer(KINDS[0], 0, Answer::Right) {
            any = true;
        }
        any
    }

    fn resume_woken(&mut self) -> bool {
        let mut any = false;
        for session in &mut self.sessions {
            if !session.woken.swap(false, Ordering::SeqCst) {
                continue;
            }
            let Some(job) = session.job.take() else { continue };
            any = true;
            if let Step::Paused(job) = job.resume() {
                session.job = Some(job);
            }
        }
        any
    }

    /// As an event loop does: answers, resumes, and sleeps until the engine wants to be polled.
    fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            if self.answer_all() | self.resume_woken() {
                continue;
            }
            match self.engine.poll() {
                Some(next) => {
                    self.bench.clock.advance(next.saturating_sub(self.engine.now()));
                    self.engine.poll();
                }
                None => return,
            }
        }
    }

    fn n_parked(&self) -> usize {
        self.sessions.iter().filter(|session| session.job.is_some()).count()
    }
}

/// Four jobs are leaked before their permits come: the eight others all get theirs.
#[test]
fn l13_a_permit_whose_owner_never_comes_is_passed_on() {
    for tells in [false, true] {
        let mut world = World::new(2, tells);
        (0..12).for_each(|_| world.begin());
        (2..6).for_each(|nth| world.forget(nth));
        world.run(1000);
        assert_eq!(world.n_parked(), 0, "credits told: {tells}");
        assert_eq!(world.engine.stats().completed, 8);
        assert_eq!(world.engine.stats().permits_expired, 4);
        // The four exist, and nothing waits for them.
        assert_eq!(world.engine.stats().requests.now, 4);
        assert_eq!(world.engine.poll(), None, "no timer while no request waits");
    }
}

/// An owner that is merely late finds its place again.
#[test]
fn l13_an_owner_that_comes_late_is_served_in_its_place() {
    let mut world = World::new(1, true);
    (0..4).for_each(|_| world.begin());
    assert!(world.answer_all());
    // The second has its permit and does not come; the third gets the room.
    world.bench.clock.advance(Duration::from_millis(99));
    world.engine.poll();
    assert!(!world.sessions[2].woken.load(Ordering::SeqCst), "not yet");
    world.bench.clock.advance(Duration::from_millis(1));
    world.engine.poll();
    assert!(world.sessions[2].woken.load(Ordering::SeqCst));
    let resume = |world: &mut World, nth: usize| {
        let job = world.sessions[nth].job.take().unwrap();
        world.sessions[nth].job = job.resume().paused();
    };
    resume(&mut world, 2);
    assert_eq!(world.bench.device.taken(), [0, 2]);
    // The ring is full again: the second waits, before the fourth.
    resume(&mut world, 1);
    assert_eq!(world.bench.device.taken(), [0, 2]);
    world.run(100);
    assert_eq!(world.bench.device.taken(), [0, 2, 1, 3]);
    assert_eq!(world.n_parked(), 0);
    assert_eq!(world.engine.stats().out_of_order, 0);
}

/// A session that ends while what waits for it was leaked leaves no permit behind.
#[test]
fn l13_a_permit_that_was_leaked_ends_with_its_session() {
    let mut world = World::new(1, false);
    world.begin();
    let ctx = WaitCtx::new();
    let mut leaked = world.engine.submit_on(ctx.notifier(), world.bench.work(1)).unwrap();
    assert!(leaked.poll_result().is_pending());
    core::mem::forget(leaked);
    assert!(world.answer_all());
    drop(ctx);
    world.begin();
    assert_eq!(world.engine.stats().waiters.now, 2);
    world.run(100);
    assert_eq!(world.n_parked(), 0);
    assert_eq!(world.engine.stats().waiters.now, 0);
}

#[derive(Clone, Debug)]
enum Act {
    Begin,
    Forget(usize),
    Answer,
    Resume,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Begin),
        2 => (0usize..16).prop_map(Act::Forget),
        2 => Just(Act::Answer),
        2 => Just(Act::Resume),
        1 => (0u64..150).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    /// Whatever is leaked and when: every job that is still there gets its result, in bounded time.
    #[test]
    fn l13_leaked_jobs_keep_no_other_job_waiting(
        acts in prop::collection::vec(act(), 1..60), depth in 1usize..4, tells: bool,
    ) {
        let mut world = World::new(depth, tells);
        for act in acts {
            match act {
                Act::Begin => world.begin(),
                Act::Forget(nth) if nth < world.sessions.len() => world.forget(nth),
                Act::Forget(_) => {}
                Act::Answer => drop(world.answer_all()),
                Act::Resume => drop(world.resume_woken()),
                Act::Wait(ms) => {
                    world.bench.clock.advance(Duration::from_millis(ms));
                    world.engine.poll();
                }
            }
        }
        world.run(2000);
        prop_assert_eq!(world.n_parked(), 0);
        prop_assert_eq!(world.engine.stats().out_of_order, 0);
        prop_assert_eq!(world.engine.poll(), None);
    }
}
