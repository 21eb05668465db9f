//! On whose stack foreign code runs: never on that of a job, whichever thread polls, submits or gives up (law L4).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::{
    Accelerator, BreakerPolicy, Capabilities, CheckFailed, CheckPolicy, DeviceRefused, Engine,
    Fallback, Health, Inline, Kind, OnFull, Request, RequestOptions, Work,
};
use job_core::{JobPool, Pause, Step, block_pause, on_job_stack, on_parent_stack, pause};
use wait_ctx::{Route, WaitCtx};

use crate::support::{Counter, HandClock};

/// What foreign code has seen: where it was called, and how a pause was answered there.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<(&'static str, bool, Pause)>>);

impl Seen {
    fn note(&self, what: &'static str) {
        let seen = (what, on_job_stack(), pause());
        self.0.lock().unwrap().push(seen);
    }

    fn n(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|seen| seen.0 == what).count()
    }

    /// Every call was made off the stacks of jobs; a pause in it was refused.
    #[track_caller]
    fn expect_off_stacks(&self, inside_a_job: bool) {
        let answer = if inside_a_job { Pause::Blocked } else { Pause::NotInJob };
        let seen = std::mem::take(&mut *self.0.lock().unwrap());
        for (what, on_stack, paused) in seen {
            assert_eq!((on_stack, paused), (false, answer), "{what}");
        }
    }
}

/// Work that notes where everything of it runs.
#[derive(Debug)]
struct Probe(Arc<Seen>);

impl Work for Probe {
    type Output = Arc<Seen>;

    fn kind(&self) -> Kind {
        Kind::new("probe")
    }

    fn check(&self, output: &Arc<Seen>) -> Result<(), CheckFailed> {
        output.note("check");
        Ok(())
    }

    fn duplicate(&self) -> Option<Self> {
        self.0.note("duplicate");
        Some(Self(Arc::clone(&self.0)))
    }

    fn erase(output: Arc<Seen>) {
        output.note("erase");
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.note("drop work");
    }
}

/// Keeps what it gets until it is polled with `answers` set.
#[derive(Debug)]
struct Device {
    seen: Arc<Seen>,
    ring: Mutex<Vec<Request<Probe>>>,
    depth: usize,
    health: Mutex<Health>,
    answers: Mutex<bool>,
}

impl Device {
    fn new(seen: &Arc<Seen>, depth: usize) -> Arc<Self> {
        let (seen, health) = (Arc::clone(seen), Mutex::new(Health::Alive));
        Arc::new(Self { seen, ring: Mutex::default(), depth, health, answers: Mutex::new(false) })
    }
}

impl Accelerator<Probe> for Device {
    fn submit(&self, request: Request<Probe>) -> Result<(), DeviceRefused<Probe>> {
        self.seen.note("submit");
        let mut ring = self.ring.lock().unwrap();
        if ring.len() >= self.depth {
            return Err(DeviceRefused::Full(request));
        }
        ring.push(request);
        Ok(())
    }

    fn poll(&self, _: Duration) -> Option<Duration> {
        self.seen.note("poll");
        if *self.answers.lock().unwrap() {
            let ring = std::mem::take(&mut *self.ring.lock().unwrap());
            ring.into_iter().for_each(|request| request.complete(Ok(Arc::clone(&self.seen))));
        }
        None
    }

    fn credits(&self, _: Kind) -> Option<usize> {
        self.seen.note("credits");
        Some(self.depth - self.ring.lock().unwrap().len())
    }

    fn health(&self, _: Duration) -> Health {
        self.seen.note("health");
        *self.health.lock().unwrap()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { needs_poll: true, ..Capabilities::default() }
    }
}

struct Scene {
    seen: Arc<Seen>,
    device: Arc<Device>,
    clock: Arc<HandClock>,
    engine: Arc<Engine<Probe>>,
    pool: JobPool,
}

impl Scene {
    /// Over a device with a heart, with software that stands by.
    fn new(depth: usize, on_full: OnFull) -> Self {
        let (seen, clock) = (Arc::<Seen>::default(), Arc::<HandClock>::default());
        let device = Device::new(&seen, depth);
        let engine = Engine::builder(device.clone())
            .standby(Arc::new(Inline::new(|work: &Probe| {
                work.0.note("compute");
                Ok(Arc::clone(&work.0))
            })))
            .breaker(BreakerPolicy::default().check_every(BEAT))
            .clock(clock.clone())
            .checks(CheckPolicy::Always)
            .on_full(on_full)
            .options(RequestOptions::new().fallback(Fallback::Standby))
            .build();
        Self { seen, device, clock, engine, pool: JobPool::new() }
    }

    fn work(&self) -> Probe {
        Probe(Arc::clone(&self.seen))
    }

    /// A session that waits for an operation and is woken by a callback.
    fn park(&self) -> (WaitCtx, job_core::Job<bool>) {
        let (ctx, seen) = (WaitCtx::new(), Arc::clone(&self.seen));
        ctx.set_callback(move |_| seen.note("callback"));
        let (engine, work) = (Arc::clone(&self.engine), self.work());
        let step = self.pool.start_with(&ctx, move || engine.run(work).is_ok()).unwrap();
        (ctx, step.paused().expect("the device answers later"))
    }

    /// Five sessions wait, and the heart of their device stops.
    fn five_parked_and_a_dead_device(&self) -> Vec<(WaitCtx, job_core::Job<bool>)> {
        let parked: Vec<_> = (0..5).map(|_| self.park()).collect();
        *self.device.health.lock().unwrap() = Health::Dead;
        self.clock.advance(2 * BEAT);
        self.seen.0.lock().unwrap().clear();
        parked
    }

    /// The five were served by software, each once, whatever called the engine.
    #[track_caller]
    fn expect_five_served(&self, own: usize, parked: Vec<(WaitCtx, job_core::Job<bool>)>) {
        assert_eq!(self.seen.n("callback"), 5);
        assert_eq!((self.seen.n("compute"), self.seen.n("check")), (5 + own, 5 + own));
        assert_eq!(self.engine.stats().on_job_stack, 0);
        self.seen.expect_off_stacks(true);
        for (_, job) in parked {
            assert_eq!(job.resume().finished(), Some(true));
        }
    }
}

const BEAT: Duration = Duration::from_secs(1);

#[test]
fn l4_a_job_that_submits_runs_what_others_wait_for_off_its_stack() {
    let scene = Scene::new(8, OnFull::Queue);
    let parked = scene.five_parked_and_a_dead_device();
    let (engine, work) = (Arc::clone(&scene.engine), scene.work());
    let step = scene.pool.start(move || engine.run(work).is_ok()).unwrap();
    assert_eq!(step.finished(), Some(true), "software has served it at once");
    scene.expect_five_served(1, parked);
}

#[test]
fn l4_a_job_that_polls_runs_what_others_wait_for_off_its_stack() {
    let scene = Scene::new(8, OnFull::Queue);
    let parked = scene.five_parked_and_a_dead_device();
    let engine = Arc::clone(&scene.engine);
    let step = scene.pool.start(move || engine.poll()).unwrap();
    assert!(step.finished().is_some());
    scene.expect_five_served(0, parked);
}

#[test]
fn l4_a_job_that_may_not_pause_waits_off_its_stack() {
    let scene = Scene::new(8, OnFull::Queue);
    let parked = scene.five_parked_and_a_dead_device();
    let (engine, work) = (Arc::clone(&scene.engine), scene.work());
    let step = scene.pool.start(move || {
        let _block = block_pause();
        engine.run(work).is_ok()
    });
    assert_eq!(step.unwrap().finished(), Some(true));
    scene.expect_five_served(1, parked);
}

#[test]
fn l4_a_job_in_a_job_polls_on_the_stack_of_neither() {
    let scene = Scene::new(8, OnFull::Queue);
    let parked = scene.five_parked_and_a_dead_device();
    let (engine, pool) = (Arc::clone(&scene.engine), scene.pool.clone());
    let step = scene.pool.start(move || {
        let inner = pool.start(move || {
            // The parent of this job is a job.
            on_parent_stack(|| engine.poll());
        });
        assert!(matches!(inner.unwrap(), Step::Finished(())));
    });
    assert!(matches!(step.unwrap(), Step::Finished(())));
    scene.expect_five_served(0, parked);
}

#[test]
fn l4_a_job_that_blocks_until_its_device_answers_polls_off_its_stack() {
    let scene = Scene::new(8, OnFull::Queue);
    let parked: Vec<_> = (0..5).map(|_| scene.park()).collect();
    *scene.device.answers.lock().unwrap() = true;
    scene.seen.0.lock().unwrap().clear();
    let (engine, work) = (Arc::clone(&scene.engine), scene.work());
    let step = scene.pool.start(move || {
        let _block = block_pause();
        engine.run(work).is_ok()
    });
    assert_eq!(step.unwrap().finished(), Some(true));
    assert_eq!((scene.seen.n("callback"), scene.seen.n("check")), (5, 6));
    scene.seen.expect_off_stacks(true);
    for (_, job) in parked {
        assert_eq!(job.resume().finished(), Some(true));
    }
}

#[test]
fn l4_what_a_full_ring_makes_a_job_submit_and_give_up_is_done_off_its_stack() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        let scene = Scene::new(1, on_full);
        let seen = Arc::clone(&scene.seen);
        let (engine, works) = (Arc::clone(&scene.engine), [(); 3].map(|()| scene.work()));
        let device = Arc::clone(&scene.device);
        let step = scene.pool.start(move || {
            let [first, second, third] = works.map(|work| engine.submit(work).unwrap());
            // The second goes to the device in place of the first, whose answer is late; the third waits no longer.
            drop(first);
            drop(third);
            *device.answers.lock().unwrap() = true;
            engine.poll();
            engine.poll();
            drop(second);
        });
        assert!(matches!(step.unwrap(), Step::Finished(())), "{on_full:?}");
        assert!(seen.n("erase") >= 1 && seen.n("drop work") >= 1, "{on_full:?}");
        assert_eq!(scene.engine.stats().on_job_stack, 0);
        seen.expect_off_stacks(true);
    }
}

#[test]
fn l4_software_in_the_place_of_a_device_does_not_compute_on_the_stack_of_the_job_that_asks() {
    let seen = Arc::<Seen>::default();
    let computes = Inline::new(|work: &Probe| {
        work.0.note("compute");
        Ok(Arc::clone(&work.0))
    });
    let engine = Engine::builder(Arc::new(computes)).checks(CheckPolicy::Always).build();
    let work = Probe(Arc::clone(&seen));
    let step = JobPool::new().start(move || engine.run(work).is_ok()).unwrap();
    assert_eq!(step.finished(), Some(true));
    assert_eq!((seen.n("compute"), seen.n("check"), seen.n("drop work")), (1, 1, 1));
    seen.expect_off_stacks(true);
}

#[test]
fn l4_outside_jobs_the_same_runs_where_it_is_called() {
    let scene = Scene::new(8, OnFull::Queue);
    let parked = scene.five_parked_and_a_dead_device();
    scene.engine.poll();
    assert_eq!((scene.seen.n("callback"), scene.seen.n("check")), (5, 5));
    scene.seen.expect_off_stacks(false);
    for (_, job) in parked {
        assert_eq!(job.resume().finished(), Some(true));
    }
}

/// Wakes that belong to no request: of a future that another job has made ready, and of one that was owed.
#[test]
fn l4_wakes_that_a_job_brings_about_call_back_off_its_stack() {
    let (seen, pool) = (Arc::<Seen>::default(), JobPool::new());
    let other = WaitCtx::new();
    let noted = Arc::clone(&seen);
    other.set_callback(move |_| noted.note("callback"));
    let (own, noted, waker) = (WaitCtx::new(), Arc::clone(&seen), other.notifier().waker());
    let task = Arc::<Counter>::default();
    let woken = task.waker();
    let step = pool.start_with(&own, move || {
        waker.wake();
        let own = job_core::current().unwrap().wait_ctx().unwrap();
        own.notifier().waker().wake();
        own.set_callback(move |_| noted.note("callback"));
        own.unset_callback();
        own.notifier().set_route(Route::Waker(woken));
        own.notifier().waker().wake();
    });
    assert!(matches!(step.unwrap(), Step::Finished(())));
    assert_eq!((seen.n("callback"), task.wakes()), (2, 1));
    seen.expect_off_stacks(true);
}
