//! Panics in all code of users: the engine goes on, its counters are right, and later requests work.
//! It is long because one device, one work and one session panic in every way, for the single cases and for the property test.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use engine_core::{
    Accelerator, BlockingScope, BreakerPolicy, Capabilities, CheckFailed, CheckPolicy, DeviceError,
    DeviceRefused, Engine, EngineError, Fallback, Health, Inline, Kind, OnFull, Pending, Request,
    RequestOptions, RoomNotice, ThreadPoolBuilder, Work,
};
use job_core::{Job, JobPool, Step};
use proptest::prelude::*;
use wait_ctx::{Notifier, Route, Status, WaitCtx};

use crate::support::HandClock;

/// A payload that panics when it is dropped, with another one of its kind.
struct Endless;

impl Drop for Endless {
    fn drop(&mut self) {
        resume_unwind(Box::new(Self));
    }
}

/// Decides where foreign code panics, and counts the foreign values there are.
#[derive(Debug, Default)]
struct Fuse {
    set: Mutex<Set>,
    works: AtomicI64,
    outputs: AtomicI64,
}

#[derive(Debug, Default)]
enum Set {
    #[default]
    Off,
    /// Once, at this place.
    At(&'static str),
    /// Anywhere, each time with this chance of 256.
    Anywhere { random: u64, chance: u64 },
}

impl Fuse {
    fn set(&self, to: Set) {
        *self.set.lock().unwrap() = to;
    }

    /// Panics if that is due. It does not call the panic hook, so none has to be silenced.
    fn strike(&self, at: &str) {
        // Two panics at a time would end the process, and it would be the fault of the second.
        if thread::panicking() {
            return;
        }
        let mut set = self.set.lock().unwrap();
        let payload: Box<dyn Any + Send> = match &mut *set {
            Set::At(place) if *place == at => Box::new(Endless),
            Set::Anywhere { random, chance } => {
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                match *random >> 32 {
                    dice if dice % 256 >= *chance => return,
                    dice if dice & 256 > 0 => Box::new(Endless),
                    _ => Box::new("on purpose"),
                }
            }
            _ => return,
        };
        if matches!(*set, Set::At(_)) {
            *set = Set::Off;
        }
        drop(set);
        resume_unwind(payload);
    }

    fn work(self: &Arc<Self>) -> Fused {
        self.works.fetch_add(1, Ordering::SeqCst);
        Fused(Arc::clone(self))
    }

    fn output(self: &Arc<Self>) -> Output {
        self.outputs.fetch_add(1, Ordering::SeqCst);
        Output(Arc::clone(self))
    }
}

/// A call whose panic is the caller's own: of its work's kind, of a result that it drops, of a job that it resumes.
fn own<R>(call: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(payload) => {
            mem::forget(payload);
            None
        }
    }
}

#[derive(Debug)]
struct Fused(Arc<Fuse>);

#[derive(Debug)]
struct Output(Arc<Fuse>);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.outputs.fetch_sub(1, Ordering::SeqCst);
        self.0.strike("drop of an output");
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        self.0.works.fetch_sub(1, Ordering::SeqCst);
        self.0.strike("drop of work");
    }
}

impl Work for Fused {
    type Output = Output;

    fn kind(&self) -> Kind {
        self.0.strike("kind");
        Kind::new("fused")
    }

    fn check(&self, _: &Output) -> Result<(), CheckFailed> {
        self.0.strike("check");
        Ok(())
    }

    fn must_check(&self) -> bool {
        self.0.strike("must_check");
        true
    }

    fn duplicate(&self) -> Option<Self> {
        self.0.strike("duplicate");
        Some(self.0.work())
    }

    fn erase(output: Output) {
        output.0.strike("erase");
    }
}

thread_local! {
    static SCOPE_PANICS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A ring, answered when it is polled.
#[derive(Debug)]
struct Device {
    fuse: Arc<Fuse>,
    depth: usize,
    ring: Mutex<Vec<Request<Fused>>>,
    room: Mutex<Option<RoomNotice>>,
}

impl Device {
    fn new(fuse: &Arc<Fuse>, depth: usize) -> Arc<Self> {
        let (fuse, room) = (Arc::clone(fuse), Mutex::default());
        Arc::new(Self { fuse, depth, ring: Mutex::default(), room })
    }

    fn announce(&self) {
        let room = self.room.lock().unwrap().clone();
        room.expect("an engine over this device").announce();
    }
}

impl Accelerator<Fused> for Device {
    fn submit(&self, request: Request<Fused>) -> Result<(), DeviceRefused<Fused>> {
        self.fuse.strike("submit");
        let mut ring = self.ring.lock().unwrap();
        if ring.len() >= self.depth {
            return Err(DeviceRefused::Full(request));
        }
        ring.push(request);
        drop(ring);
        self.fuse.strike("submit, having taken it");
        Ok(())
    }

    fn poll(&self, _: Duration) -> Option<Duration> {
        self.fuse.strike("poll");
        loop {
            let request = self.ring.lock().unwrap().pop()?;
            request.complete(Ok(self.fuse.output()));
            self.fuse.strike("poll, having answered one");
        }
    }

    fn credits(&self, _: Kind) -> Option<usize> {
        self.fuse.strike("credits");
        Some(self.depth - self.ring.lock().unwrap().len())
    }

    fn health(&self, _: Duration) -> Health {
        self.fuse.strike("health");
        Health::Alive
    }

    fn blocking(&self) -> Result<Option<BlockingScope>, DeviceError> {
        self.fuse.strike("blocking");
        // The scope is a plain function.
        if own(|| self.fuse.strike("blocking scope")).is_none() {
            SCOPE_PANICS.set(true);
        }
        Ok(Some(|wait| {
            if SCOPE_PANICS.take() {
                resume_unwind(Box::new(Endless));
            }
            wait();
            Ok(())
        }))
    }

    fn attach(&self, room: RoomNotice) {
        *self.room.lock().unwrap() = Some(room);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { needs_poll: true, ..Capabilities::default() }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.fuse.strike("drop of a device");
    }
}

/// Strikes as a callback and as its argument, and as they are dropped.
struct Caller(Arc<Fuse>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.strike("drop of a callback");
    }
}

/// A task whose waker strikes.
struct Task(Arc<Fuse>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.strike("wake");
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.strike("drop of a waker");
    }
}

struct Scene {
    fuse: Arc<Fuse>,
    clock: Arc<HandClock>,
    device: Arc<Device>,
    engine: Arc<Engine<Fused>>,
}

impl Scene {
    fn new(depth: usize, on_full: OnFull) -> Self {
        let (fuse, clock) = (Arc::<Fuse>::default(), Arc::<HandClock>::default());
        let device = Device::new(&fuse, depth);
        let standby = Inline::new(|work: &Fused| {
            work.0.strike("compute");
            Ok(work.0.output())
        });
        let engine = Engine::builder(device.clone())
            .standby(Arc::new(standby))
            .clock(clock.clone())
            .checks(CheckPolicy::Always)
            .breaker(BreakerPolicy::default().pause(SECOND).check_every(SECOND))
            .on_full(on_full)
            .build();
        Self { fuse, clock, device, engine }
    }

    fn offer(&self) -> Pending<Fused> {
        self.engine.submit(self.fuse.work()).expect("there is room in the queue")
    }

    fn ctx(&self) -> WaitCtx {
        let ctx = WaitCtx::new();
        self.set_callback(&ctx);
        ctx
    }

    fn set_callback(&self, ctx: &WaitCtx) {
        let caller = Caller(Arc::clone(&self.fuse));
        ctx.set_callback(move |_| caller.0.strike("callback"));
        ctx.set_callback_arg(Some(Arc::new(Caller(Arc::clone(&self.fuse)))));
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::new(Task(Arc::clone(&self.fuse))))
    }

    /// Nothing is left of anything, and operations are carried out as if nothing had been.
    #[track_caller]
    fn expect_well(&self, at: &str) {
        self.expect_empty(at);
        // The breaker may be open after all that.
        self.clock.advance(100 * SECOND);
        let mut probe = self.offer();
        self.engine.poll();
        assert!(matches!(probe.poll_result(), Poll::Ready(Ok(_))), "{at}: a probe");
        for _ in 0..3 {
            let mut operations = [(); 5].map(|()| Some(self.offer()));
            for _ in 0..10 {
                for operation in &mut operations {
                    match operation.as_mut().map(Pending::poll_result) {
                        Some(Poll::Ready(result)) => {
                            result.expect("nothing strikes now");
                            *operation = None;
                        }
                        Some(Poll::Pending) | None => {}
                    }
                }
                self.engine.poll();
            }
            assert!(operations.iter().all(Option::is_none), "{at}: one was not carried out");
        }
        assert_eq!(self.engine.stats().out_of_order, 0, "{at}");
        self.expect_empty(at);
    }

    #[track_caller]
    fn expect_empty(&self, at: &str) {
        let counted = self.engine.stats();
        assert_eq!((counted.requests.now, counted.waiters.now), (0, 0), "{at}");
        assert_eq!(counted.on_job_stack, 0, "{at}");
        let alive = |count: &AtomicI64| count.load(Ordering::SeqCst);
        assert_eq!((alive(&self.fuse.works), alive(&self.fuse.outputs)), (0, 0), "{at}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Takes the result of an operation, if it is there. Its owner hears of a panic in its drop, as the owner of anything.
fn look(operation: &mut Option<Pending<Fused>>) {
    if let Some(Poll::Ready(result)) = operation.as_mut().map(Pending::poll_result) {
        *operation = None;
        own(|| drop(result));
    }
}

/// Four operations over a ring of one: one given up on the ring and one in the queue, one waited for by a callback and
/// one by a task.
fn strike(on_full: OnFull, at: &'static str, before: bool) {
    let told = format!("{at}, {on_full:?}, before the submissions: {before}");
    let scene = Scene::new(1, on_full);
    let fallback = RequestOptions::new().fallback(Fallback::Standby);
    let standing_by = scene.engine.with_options(fallback);
    let (ctx, woken) = (scene.ctx(), Notifier::new());
    woken.set_route(Route::Waker(scene.waker()));
    let arm = || scene.fuse.set(Set::At(at));
    if before {
        arm();
    }
    let first = scene.engine.submit(scene.fuse.work()).unwrap();
    let mut second = Some(standing_by.submit_on(ctx.notifier(), scene.fuse.work()).unwrap());
    let mut third = Some(scene.engine.submit_on(&woken, scene.fuse.work()).unwrap());
    let fourth = scene.engine.submit(scene.fuse.work()).unwrap();
    let _ = [&mut second, &mut third].map(look);
    if !before {
        arm();
    }
    drop((first, fourth));
    for _ in 0..6 {
        scene.engine.poll();
        scene.clock.advance(SECOND);
        let _ = [&mut second, &mut third].map(look);
    }
    assert!(second.is_none() && third.is_none(), "{told}: no request waits for ever");
    drop((ctx, woken));
    assert!(matches!(*scene.fuse.set.lock().unwrap(), Set::Off), "{told}: it was not come to");
    scene.expect_well(&told);
}

#[test]
fn l8_l10_a_panic_anywhere_leaves_nothing_behind_and_stops_nothing() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        for at in [
            "submit",
            "submit, having taken it",
            "poll",
            "poll, having answered one",
            "health",
            "check",
            "erase",
            "drop of an output",
            "drop of work",
            "callback",
            "drop of a callback",
            "wake",
            "drop of a waker",
        ] {
            strike(on_full, at, false);
            strike(on_full, at, true);
        }
        strike(on_full, "duplicate", true);
    }
    strike(OnFull::Notify, "credits", false);
}

#[test]
fn l10_a_panic_in_the_callers_own_work_is_the_callers_and_leaves_no_request() {
    for at in ["kind", "must_check"] {
        let scene = Scene::new(1, OnFull::Queue);
        let ctx = WaitCtx::new();
        scene.fuse.set(Set::At(at));
        let offered = own(|| scene.engine.submit_on(ctx.notifier(), scene.fuse.work()).is_ok());
        assert_eq!(offered, None, "{at}");
        assert_eq!(ctx.status(), Status::Unsupported, "{at}: nothing was begun");
        scene.expect_well(at);
    }
}

#[test]
fn l10_a_panic_in_the_way_a_device_blocks_leaves_no_request() {
    for at in ["blocking", "blocking scope"] {
        let scene = Scene::new(1, OnFull::Queue);
        scene.fuse.set(Set::At(at));
        let failed = DeviceError::Failed("its blocking scope panicked");
        match scene.engine.run(scene.fuse.work()) {
            Ok(_) => assert_eq!(at, "blocking", "the thread waits by itself"),
            Err(error) => assert_eq!(error, EngineError::Device(failed), "{at}"),
        }
        scene.engine.poll();
        scene.expect_well(at);
    }
}

#[test]
fn l10_a_panic_in_the_drop_of_a_device_ends_there() {
    let scene = Scene::new(1, OnFull::Queue);
    let Scene { fuse, engine, device, .. } = scene;
    drop(device);
    fuse.set(Set::At("drop of a device"));
    drop(engine);
    assert!(matches!(*fuse.set.lock().unwrap(), Set::Off), "it was dropped");
}

#[test]
fn l10_a_pools_only_thread_outlives_every_panic() {
    let fuse = Arc::<Fuse>::default();
    let pool = ThreadPoolBuilder::new().threads(1).build(|work: &Fused| {
        work.0.strike("compute");
        Ok(work.0.output())
    });
    let engine = Engine::builder(Arc::new(pool)).build();
    for at in ["compute", "check", "drop of work"] {
        fuse.set(Set::At(at));
        let result = engine.run(fuse.work());
        let expected = match at {
            "compute" => Err(EngineError::Device(DeviceError::Failed("the computation panicked"))),
            "check" => Err(EngineError::Invalid(CheckFailed("the check panicked"))),
            _ => Ok(()),
        };
        assert_eq!(result.map(drop), expected, "{at}");
        assert!(engine.run(fuse.work()).is_ok(), "{at}: the one after it");
    }
    // The result for a dropped session is erased there, or not computed at all.
    fuse.set(Set::At("erase"));
    drop(engine.submit(fuse.work()).unwrap());
    assert!(engine.run(fuse.work()).is_ok());
}

#[test]
fn l5_a_callback_may_drop_the_engine_that_calls_it() {
    let fuse = Arc::<Fuse>::default();
    let pool = ThreadPoolBuilder::new().build(|work: &Fused| Ok(work.0.output()));
    let engine = Engine::builder(Arc::new(pool)).build();
    let ctx = WaitCtx::new();
    let (last, work) = (Arc::new(Mutex::new(None)), fuse.work());
    let held = Arc::clone(&last);
    let (tell, told) = std::sync::mpsc::channel();
    ctx.set_callback(move |_| {
        let engine: Option<Arc<Engine<Fused>>> = held.lock().unwrap().take();
        tell.send(engine.map(|engine| Arc::strong_count(&engine))).unwrap();
    });
    let mut pending = engine.submit_on(ctx.notifier(), work).unwrap();
    *last.lock().unwrap() = Some(engine);
    // If the answer is there already nothing calls back, and there is nothing to see.
    if pending.poll_result().is_pending() {
        assert_eq!(told.recv().unwrap(), Some(1), "the last one");
        assert!(matches!(pending.poll_result(), Poll::Ready(Ok(_))));
    }
}

/// What happens to an engine under which everything panics now and then.
#[derive(Clone, Debug)]
enum Op {
    /// A caller that drives itself asks, woken by a callback or by a task.
    Offer {
        by_task: bool,
        fallback: bool,
    },
    /// A job asks.
    Job {
        fallback: bool,
    },
    /// A task asks.
    Submit {
        fallback: bool,
    },
    /// One of those is polled or resumed, without a wake as well.
    Look(prop::sample::Index),
    /// One of them is given up.
    GiveUp(prop::sample::Index),
    /// One gets another callback.
    SetCallback(prop::sample::Index),
    Poll,
    /// A job polls.
    PollInJob,
    Advance,
    Announce,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => any::<[bool; 2]>().prop_map(|[by_task, fallback]| Op::Offer { by_task, fallback }),
        4 => any::<bool>().prop_map(|fallback| Op::Job { fallback }),
        3 => any::<bool>().prop_map(|fallback| Op::Submit { fallback }),
        5 => index().prop_map(Op::Look),
        2 => index().prop_map(Op::GiveUp),
        1 => index().prop_map(Op::SetCallback),
        3 => Just(Op::Poll),
        1 => Just(Op::PollInJob),
        1 => Just(Op::Advance),
        1 => Just(Op::Announce),
    ]
}

type Outcome = Result<Output, EngineError>;

/// A caller that waits.
enum Waiter {
    Caller(Pending<Fused>, WaitCtx, Notifier),
    Job(Job<Option<Outcome>>, WaitCtx),
    Task(Pending<Fused>),
}

impl Waiter {
    fn ctx(&self) -> Option<&WaitCtx> {
        match self {
            Self::Caller(_, ctx, _) | Self::Job(_, ctx) => Some(ctx),
            Self::Task(_) => None,
        }
    }

    /// Goes on as far as it can.
    fn look(self, scene: &Scene) -> Option<Self> {
        match self {
            Self::Caller(mut pending, ctx, notifier) => match pending.poll_result() {
                Poll::Pending => Some(Self::Caller(pending, ctx, notifier)),
                Poll::Ready(_) => None,
            },
            Self::Job(job, ctx) => job.resume().paused().map(|job| Self::Job(job, ctx)),
            Self::Task(mut submission) => {
                let waker = scene.waker();
                let polled =
                    std::pin::Pin::new(&mut submission).poll(&mut Context::from_waker(&waker));
                // The task goes on, and drops its waker when it likes.
                mem::forget(waker);
                polled.is_pending().then_some(Self::Task(submission))
            }
        }
    }
}

fn run(ops: &[Op], on_full: OnFull, random: u64, chance: u64) {
    let scene = Scene::new(2, on_full);
    let pool = JobPool::new();
    let options = RequestOptions::new().deadline(3 * SECOND);
    let engines = [Fallback::Fail, Fallback::Standby]
        .map(|fallback| Arc::new(scene.engine.with_options(options.fallback(fallback))));
    let engine = |fallback: bool| &engines[usize::from(fallback)];
    scene.fuse.set(Set::Anywhere { random, chance });
    let mut waiters: Vec<Waiter> = Vec::new();
    for op in ops {
        let come: Option<Option<Waiter>> = match op {
            Op::Offer { by_task, fallback } => own(|| {
                let (ctx, notifier) = (WaitCtx::new(), Notifier::new());
                scene.set_callback(&ctx);
                notifier.set_route(Route::Waker(scene.waker()));
                let on = if *by_task { &notifier } else { ctx.notifier() };
                let pending = engine(*fallback).submit_on(on, scene.fuse.work()).ok()?;
                Some(Waiter::Caller(pending, ctx, notifier))
            }),
            Op::Job { fallback } => own(|| {
                let (ctx, fuse) = (scene.ctx(), Arc::clone(&scene.fuse));
                let engine = Arc::clone(engine(*fallback));
                let body = move || own(|| engine.run(fuse.work()));
                match pool.start_with(&ctx, body).expect("there is a job") {
                    Step::Paused(job) => Some(Waiter::Job(job, ctx)),
                    Step::Finished(_) => None,
                }
            }),
            Op::Submit { fallback } => {
                own(|| engine(*fallback).submit(scene.fuse.work()).ok().map(Waiter::Task))
            }
            Op::Look(nth) if !waiters.is_empty() => {
                let waiter = waiters.swap_remove(nth.index(waiters.len()));
                own(|| waiter.look(&scene))
            }
            Op::GiveUp(nth) if !waiters.is_empty() => {
                let waiter = waiters.swap_remove(nth.index(waiters.len()));
                own(|| drop(waiter));
                None
            }
            Op::SetCallback(nth) if !waiters.is_empty() => {
                let nth = nth.index(waiters.len());
                own(|| waiters[nth].ctx().map(|ctx| scene.set_callback(ctx)));
                None
            }
            Op::Look(_) | Op::GiveUp(_) | Op::SetCallback(_) => None,
            Op::Poll => {
                // Not the caller's own: a panic here is a fault.
                scene.engine.poll();
                None
            }
            Op::PollInJob => {
                let engine = Arc::clone(&scene.engine);
                assert!(pool.start(move || engine.poll()).unwrap().finished().is_some());
                None
            }
            Op::Advance => {
                scene.clock.advance(SECOND);
                None
            }
            Op::Announce => {
                scene.device.announce();
                None
            }
        };
        waiters.extend(come.flatten());
    }
    for waiter in waiters {
        own(|| drop(waiter));
    }
    scene.fuse.set(Set::Off);
    for _ in 0..3 {
        scene.clock.advance(10 * SECOND);
        scene.engine.poll();
    }
    assert_eq!(pool.stats().live, 0);
    scene.expect_well("after the script");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Laws L5, L8 and L10, while every call of foreign code and every drop of a foreign value panics with some chance,
    /// half of the time with a payload that panics when it is dropped.
    #[test]
    fn l8_l10_whatever_panics_the_engine_comes_out_whole(
        ops in prop::collection::vec(op(), 1..80),
        notify in any::<bool>(),
        random in 1..u64::MAX,
        chance in prop_oneof![Just(2_u64), Just(20), Just(100)],
    ) {
        run(&ops, if notify { OnFull::Notify } else { OnFull::Queue }, random, chance);
    }
}
