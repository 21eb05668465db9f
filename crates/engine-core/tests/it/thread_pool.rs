//! The device made of threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use engine_core::{
    Accelerator, CheckFailed, DeviceError, Engine, EngineError, Kind, Pending, RequestOptions,
    Shutdown, ThreadPool, ThreadPoolBuilder, Work, threads_ending,
};

use crate::support::{HandClock, KINDS, Negate, Outputs, PATIENCE, Secret};

fn pool(threads: usize, ring: usize) -> ThreadPoolBuilder {
    ThreadPoolBuilder::new().threads(threads).ring(ring)
}

#[test]
fn many_callers_get_their_own_results() {
    let outputs = Arc::<Outputs>::default();
    let device = pool(3, 4).build(|work: &Negate| Ok(work.right()));
    let engine = Engine::builder(Arc::new(device)).build();
    std::thread::scope(|scope| {
        for caller in 0..4u64 {
            let (engine, outputs) = (&engine, &outputs);
            scope.spawn(move || {
                for n in (0..100).map(|i| caller * 1_000 + i) {
                    assert_eq!(engine.run(Negate::new(n, outputs)).unwrap().value, !n);
                }
            });
        }
    });
    assert!(engine.quiesce(PATIENCE));
    assert_eq!(engine.stats().completed, 400);
    assert_eq!(engine.stats().checked, 400, "L12: it has a thread to check on");
}

/// Also results whose check is optional, because a pool has threads to check on.
#[test]
fn l12_a_pool_checks_everything_and_tells_its_room() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let device = Arc::new(pool(1, 3).build(move |work: &Negate| {
        let _ = gate.lock().unwrap().recv();
        Ok(work.right())
    }));
    assert_eq!(device.credits(KINDS[0]), Some(3));
    let engine = Engine::builder(device.clone()).build();
    let offer =
        |n| engine.submit(Negate { must_check: false, ..Negate::new(n, &outputs) }).unwrap();
    let first = offer(0);
    // Until the thread has it.
    while device.credits(KINDS[0]) != Some(3) {
        std::thread::yield_now();
    }
    let others = [offer(1), offer(2)];
    assert_eq!((device.credits(KINDS[0]), device.credits(KINDS[1])), (Some(1), Some(3)));
    drop(open);
    for (pending, n) in core::iter::once(first).chain(others).zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
    assert_eq!(engine.stats().checked, 3);
}

/// All threads that the slow kind may have are held at a gate; the fast kind is served meanwhile, and before.
#[test]
fn l13_a_slow_kind_never_holds_up_a_fast_one() {
    slow_and_fast(pool(2, 1).kinds(KINDS));
}

#[test]
fn l13_a_kind_with_threads_of_its_own_waits_for_no_other_that_was_first() {
    slow_and_fast(pool(2, 1).threads_per_kind(1));
}

fn slow_and_fast(pool: ThreadPoolBuilder) {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let device = pool.build(move |work: &Negate| {
        if work.kind == KINDS[0] {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    let slow: Vec<_> = (0..20).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    for n in 100..150 {
        let fast = Negate { kind: KINDS[1], ..Negate::new(n, &outputs) };
        assert_eq!(engine.run(fast).unwrap().value, !n);
    }
    assert_eq!(engine.stats().completed, 50);
    drop(open);
    for (pending, n) in slow.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}

#[test]
fn as_many_are_computed_at_a_time_as_there_are_threads() {
    let outputs = Arc::<Outputs>::default();
    let together = Barrier::new(3);
    let device = pool(3, 8).build(move |work: &Negate| {
        together.wait();
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    // Would hang if fewer than three ran at a time.
    let pending: Vec<_> =
        (0..9).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}

#[test]
fn l13_what_waits_in_the_engine_gets_the_place_of_a_request_that_a_thread_takes() {
    let outputs = Arc::<Outputs>::default();
    let (begins, begun) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let answers = Mutex::new(answers);
    let device = pool(1, 1).build(move |work: &Negate| {
        begins.send(work.n).unwrap();
        let _ = answers.lock().unwrap().recv();
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    let submit = |n| engine.submit(Negate::new(n, &outputs)).unwrap();
    let first = submit(0);
    assert_eq!(begun.recv_timeout(PATIENCE), Ok(0));
    let others = [submit(1), submit(2)];
    assert_eq!((engine.stats().accepted, engine.stats().waiters.now), (2, 1));
    answer.send(()).unwrap();
    assert_eq!(begun.recv_timeout(PATIENCE), Ok(1));
    assert_eq!((engine.stats().accepted, engine.stats().waiters.now), (3, 0));
    drop((answer, first, others));
    assert!(engine.quiesce(PATIENCE));
}

#[test]
fn a_panic_fails_its_request_and_nothing_else() {
    let outputs = Arc::<Outputs>::default();
    let device = pool(1, 8).build(|work: &Negate| {
        if work.n == 1 {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    assert_eq!(engine.run(Negate::new(0, &outputs)).unwrap().value, !0);
    let error = engine.run(Negate::new(1, &outputs)).unwrap_err();
    assert_eq!(error, EngineError::Device(DeviceError::Failed("the computation panicked")));
    assert_eq!(engine.run(Negate::new(2, &outputs)).unwrap().value, !2, "on the same thread");
}

/// Three times: a thread without a waiter may happen to be quick.
#[test]
fn l8_the_threads_of_a_pool_have_its_name_and_end_with_it() {
    for _ in 0..3 {
        let outputs = Arc::<Outputs>::default();
        let (ends, ended) = mpsc::channel::<()>();
        let device = pool(2, 4).name("token").build(move |work: &Negate| {
            assert_eq!(std::thread::current().name(), Some("token"));
            let _until_the_threads_end = &ends;
            Ok(work.right())
        });
        let device = Arc::new(device);
        let engine = Engine::builder(device.clone()).build();
        for n in 0..8 {
            assert_eq!(engine.run(Negate::new(n, &outputs)).unwrap().value, !n);
        }
        drop(engine);
        // The last completion may have kept the engine for a moment.
        while Arc::strong_count(&device) > 1 {
            std::thread::yield_now();
        }
        assert_eq!(device.shutdown_blocking(Duration::MAX), Shutdown::Drained);
        drop(device);
        assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}

#[test]
fn l5_a_pool_that_goes_away_drops_what_waits_and_finishes_what_it_computes() {
    let outputs = Arc::<Outputs>::default();
    let (started, starts) = mpsc::channel::<u64>();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let computed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&computed);
    let device = pool(1, 8).build(move |work: &Negate| {
        started.send(work.n).unwrap();
        let _ = gate.lock().unwrap().recv();
        count.fetch_add(1, Ordering::SeqCst);
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).queue_bound(2).build();
    let pending: Vec<_> =
        (0..6).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    assert_eq!(starts.recv_timeout(PATIENCE), Ok(0));
    std::thread::scope(|scope| {
        let dropper = scope.spawn(|| drop(engine));
        // The first that waits is woken first; the one under way ends when the gate opens.
        let mut pending = pending.into_iter();
        let first = pending.next().unwrap();
        drop(open);
        let first = first.wait();
        assert!(first.is_ok_and(|output| output.value == !0));
        for pending in pending {
            // Computed before the pool heard of its end, or not at all.
            match pending.wait() {
                Ok(_) => {}
                Err(error) => assert_eq!(error, EngineError::Gone),
            }
        }
        dropper.join().unwrap();
    });
    assert!(computed.load(Ordering::SeqCst) >= 1);
}

/// The ring is full of one engine's work, and another's waits: it has nothing in flight that could complete.
#[test]
fn l13_engines_that_share_a_pool_hear_of_each_others_room() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let pool = pool(1, 1).build(move |work: &Negate| {
        let _ = gate.lock().unwrap().recv();
        Ok(work.right())
    });
    let pool = Arc::new(pool);
    let [one, other] = [(); 2].map(|()| Engine::builder(pool.clone()).build());
    let first: Vec<_> = (0..8).map(|n| one.submit(Negate::new(n, &outputs)).unwrap()).collect();
    assert!(one.stats().waiters.now > 0, "the ring is full");
    // A thread that blocks polls the engine, and would find the room by itself; a task has to be woken.
    let second: Vec<_> = (8..12).map(|n| other.submit(Negate::new(n, &outputs)).unwrap()).collect();
    drop(open);
    for (pending, n) in second.into_iter().zip(8..) {
        assert_eq!(wait_as_a_task(pending).value, !n);
    }
    for (pending, n) in first.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}

/// Polls only when it is woken.
fn wait_as_a_task(mut pending: Pending<Negate>) -> Secret {
    let (wake, woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Ring(wake)));
    loop {
        match Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result.unwrap(),
            Poll::Pending => woken.recv_timeout(PATIENCE).expect("it is woken when there is room"),
        }
    }
}

struct Ring(mpsc::Sender<()>);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        // It may have its result already.
        let _ = self.0.send(());
    }
}

/// The first two calls hang until the gate opens. The first thread is replaced, the second is not, because one is the cap.
#[test]
fn a_stuck_thread_is_counted_and_replaced_up_to_a_cap() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (begun, begins) = mpsc::channel();
    let device = pool(1, 8).stuck_after(Duration::from_secs(5)).replacements(1);
    let device = Arc::new(device.build(move |work: &Negate| {
        begun.send(work.n).unwrap();
        if work.n < 2 {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(work.right())
    }));
    let clock = Arc::<HandClock>::default();
    let options = RequestOptions::new().deadline(Duration::from_secs(1));
    let engine = Engine::builder(device.clone()).clock(clock.clone()).options(options).build();

    let pending = engine.submit(Negate::new(0, &outputs)).unwrap();
    assert_eq!(begins.recv().unwrap(), 0);
    assert_eq!(engine.poll(), Some(Duration::from_secs(1)), "the deadline comes first");
    clock.advance(Duration::from_secs(5));
    engine.poll();
    assert_eq!((device.n_stuck(), device.n_threads()), (1, 2));
    assert_eq!(pending.wait().unwrap_err(), EngineError::Deadline);

    // The replacement serves, and hangs, too.
    let hangs = engine.submit(Negate::new(1, &outputs)).unwrap();
    assert_eq!(begins.recv().unwrap(), 1);
    assert_eq!(engine.poll(), Some(Duration::from_secs(6)));
    clock.advance(Duration::from_secs(5));
    engine.poll();
    assert_eq!((device.n_stuck(), device.n_threads()), (2, 2));
    drop(hangs);

    // Both come back: one has been replaced and ends, the other serves.
    drop(open);
    assert_eq!(engine.run(Negate::new(7, &outputs)).unwrap().value, !7);
    assert!(engine.quiesce(PATIENCE));
    // A thread ends its turn after it has given its answer.
    while device.n_stuck() > 0 {
        std::thread::yield_now();
    }
}

/// A subscriber that queries the pool at every event.
struct Queries {
    device: Arc<ThreadPool<Negate>>,
    stuck: mpsc::Sender<usize>,
}

impl tracing::Subscriber for Queries {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let _ = self.stuck.send(self.device.n_stuck());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_stuck_thread_is_logged_after_the_pool_has_unlocked() {
    let (_open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (begun, begins) = mpsc::channel();
    let device = pool(1, 8).stuck_after(Duration::from_secs(5)).build(move |work: &Negate| {
        begun.send(()).unwrap();
        let _ = gate.lock().unwrap().recv();
        Ok(work.right())
    });
    let device = Arc::new(device);
    let engine = Engine::builder(device.clone()).clock(Arc::<HandClock>::default()).build();
    let _pending = engine.submit(Negate::new(0, &Arc::<Outputs>::default())).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    let (stuck, answers) = mpsc::channel();
    // On a thread of its own, which would hang if the pool logged under its lock.
    std::thread::spawn(move || {
        let queries = Queries { device: device.clone(), stuck };
        tracing::subscriber::with_default(queries, || {
            let _ = Accelerator::<Negate>::poll(&*device, Duration::ZERO);
            let _ = Accelerator::<Negate>::poll(&*device, Duration::from_secs(5));
        });
    });
    assert_eq!(answers.recv_timeout(PATIENCE), Ok(1));
}

/// Were the stuck thread waited for, this would hang.
#[test]
fn a_pool_that_goes_away_does_not_wait_for_a_thread_that_is_stuck() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (begun, begins) = mpsc::channel();
    let device = pool(1, 8).stuck_after(Duration::from_secs(5)).build(move |work: &Negate| {
        begun.send(()).unwrap();
        let _ = gate.lock().unwrap().recv();
        Ok(work.right())
    });
    let clock = Arc::<HandClock>::default();
    let engine = Engine::builder(Arc::new(device)).clock(clock.clone()).build();
    let pending = engine.submit(Negate::new(0, &outputs)).unwrap();
    begins.recv().unwrap();
    engine.poll();
    clock.advance(Duration::from_secs(5));
    engine.poll();
    drop(pending);
    drop(engine);
    drop(open);
}

/// 60 clients, four threads of ten milliseconds: what the clients wait for is threads, and the key takes ten milliseconds.
#[test]
fn queue_wait_ends_when_a_thread_takes_the_request_up() {
    let outputs = Arc::<Outputs>::default();
    let clock = Arc::<HandClock>::default();
    let (all_offered, together) = (Barrier::new(5), Barrier::new(4));
    let first = AtomicUsize::new(0);
    let barriers = Arc::new((all_offered, together));
    let (theirs, time) = (Arc::clone(&barriers), Arc::clone(&clock));
    let device = pool(4, 64).build(move |work: &Negate| {
        if first.fetch_add(1, Ordering::SeqCst) < 4 {
            theirs.0.wait();
        }
        if theirs.1.wait().is_leader() {
            time.advance(Duration::from_millis(10));
        }
        theirs.1.wait();
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).clock(clock).build();
    let pending: Vec<_> =
        (0..60).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    barriers.0.wait();
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
    let snapshot = engine.stats();
    assert_eq!(snapshot.device_time.mean(), Duration::from_millis(10));
    // Fifteen rounds: the last four wait for 140 ms, the mean is 70.
    assert_eq!(snapshot.queue_wait.mean(), Duration::from_millis(70));
}

/// Four kinds, each with more to do than there are threads.
#[test]
fn threads_are_the_total_over_all_kinds_unless_each_is_given_its_own() {
    const FOUR: [Kind; 4] = [KINDS[0], KINDS[1], Kind::new("another"), Kind::new("and another")];
    for (pool, expected) in [(pool(3, 64), 3), (pool(1, 64).threads_per_kind(2), 8)] {
        let outputs = Arc::<Outputs>::default();
        let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let device = pool.build(move |work: &Negate| {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(work.right())
        });
        let device = Arc::new(device);
        let engine = Engine::builder(device.clone()).build();
        let pending: Vec<_> = (0..400)
            .map(|n| Negate { kind: FOUR[n as usize % 4], ..Negate::new(n, &outputs) })
            .map(|work| engine.submit(work).unwrap())
            .collect();
        for (pending, n) in pending.into_iter().zip(0..) {
            assert_eq!(pending.wait().unwrap().value, !n);
        }
        assert!(device.n_threads() <= expected, "{} threads", device.n_threads());
        assert!(most.load(Ordering::SeqCst) <= expected);
    }
}

/// Work whose foreign parts all panic, and whose panics panic when they are dropped.
struct Hostile(u8);

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("the payload's drop"));
    }
}

impl Work for Hostile {
    type Output = u8;

    fn kind(&self) -> Kind {
        KINDS[0]
    }

    fn check(&self, _: &u8) -> Result<(), CheckFailed> {
        if self.0 == 1 {
            std::panic::resume_unwind(Box::new(Payload));
        }
        Ok(())
    }

    fn erase(_: u8) {
        std::panic::resume_unwind(Box::new(Payload));
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if self.0 == 2 && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Payload));
        }
    }
}

#[test]
fn l10_a_worker_survives_whatever_panics_on_it_and_the_pool_counts_right() {
    let (begun, begins) = mpsc::channel();
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let device = pool(1, 8).build(move |work: &Hostile| {
        begun.send(()).unwrap();
        let _ = gate.lock().unwrap().recv();
        if work.0 == 0 {
            std::panic::resume_unwind(Box::new(Payload));
        }
        Ok(work.0)
    });
    let device = Arc::new(device);
    let engine = Engine::builder(device.clone()).build();
    for round in 0..10 {
        for n in 0..4 {
            let pending = engine.submit(Hostile(n)).unwrap();
            begins.recv_timeout(PATIENCE).expect("the worker has died");
            if n == 3 && round % 2 == 0 {
                // Given up: its result goes to the sink, which panics.
                drop(pending);
                go.send(()).unwrap();
                continue;
            }
            go.send(()).unwrap();
            let result = pending.wait();
            assert_eq!(result.is_ok(), n >= 2, "{n}: {result:?}");
        }
        assert_eq!((device.n_threads(), device.n_stuck()), (1, 0));
    }
    assert_eq!(engine.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    assert_eq!(engine.stats().requests.now, 0);
}

/// The pool and its engine are dropped while a call does not return: that waits for nothing, and the thread is counted.
#[test]
fn l5_dropping_a_pool_waits_for_no_call_and_counts_its_thread_until_it_ends() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (begun, begins) = mpsc::channel();
    let device = pool(1, 8).build(move |work: &Negate| {
        begun.send(()).unwrap();
        let _ = gate.lock().unwrap().recv();
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    let pending = engine.submit(Negate::new(0, &outputs)).unwrap();
    let waits = engine.submit(Negate::new(1, &outputs)).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    drop(engine);
    assert_eq!(waits.wait().unwrap_err(), EngineError::Gone);
    assert!(threads_ending() >= 1);
    drop(open);
    assert!(pending.wait().is_ok_and(|output| output.value == !0));
    // Its closure is gone when the thread is.
    assert_eq!(begins.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

/// A state that belongs to its thread: neither `Send` nor `Sync`.
struct OfOneThread {
    calls: std::rc::Rc<std::cell::Cell<u64>>,
    dropped: Arc<AtomicUsize>,
}

impl Drop for OfOneThread {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn l8_each_thread_has_a_closure_of_its_own_which_a_panic_replaces_and_the_end_drops() {
    let (made, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (makes, drops) = (Arc::clone(&made), Arc::clone(&dropped));
    let device = pool(1, 64).build_per_thread(move || {
        makes.fetch_add(1, Ordering::SeqCst);
        let state = OfOneThread { calls: std::rc::Rc::default(), dropped: Arc::clone(&drops) };
        move |work: &Negate| {
            state.calls.set(state.calls.get() + 1);
            assert_ne!(work.n, 3, "a panic in the closure");
            assert!(work.n != 5 || state.calls.get() == 2, "the first state would have had more");
            Ok(work.right())
        }
    });
    let engine = Engine::builder(Arc::new(device)).build();
    assert_eq!(made.load(Ordering::SeqCst), 0, "made when the thread is needed");
    for n in 0..6 {
        assert_eq!(engine.run(Negate::new(n, &Arc::default())).is_ok(), n != 3, "{n}");
    }
    assert_eq!((made.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(engine.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

#[test]
fn a_maker_of_closures_that_panics_fails_its_request_and_is_called_again() {
    let attempts = AtomicUsize::new(0);
    let device = pool(1, 64).build_per_thread(move || {
        assert!(attempts.fetch_add(1, Ordering::SeqCst) > 0, "the first one fails");
        |work: &Negate| Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    let failed = engine.run(Negate::new(1, &Arc::default())).unwrap_err();
    assert_eq!(failed, EngineError::Device(DeviceError::Failed("the computation panicked")));
    assert_eq!(engine.run(Negate::new(1, &Arc::default())).unwrap().value, !1);
}
