//! The device made of threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use engine_core::{
    Accelerator, DeviceError, Engine, EngineError, Submission, Terms, ThreadPoolBuilder,
};

use crate::support::{HandClock, KINDS, Negate, Outputs, Secret};

const PATIENCE: Duration = Duration::from_secs(30);

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
    assert_eq!(engine.snapshot().completed, 400);
    assert_eq!(engine.snapshot().checked, 400, "L12: it has a thread to check on");
}

/// Also what need not be checked, for a pool has threads to check on.
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
    let offer = |n| engine.offer(Negate { must_check: false, ..Negate::new(n, &outputs) }).unwrap();
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
    assert_eq!(engine.snapshot().checked, 3);
}

/// All threads of the slow kind are held at a gate; the fast kind is served meanwhile, and before.
#[test]
fn l13_a_slow_kind_never_holds_up_a_fast_one() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let device = pool(2, 1).build(move |work: &Negate| {
        if work.kind == KINDS[0] {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(device)).build();
    let slow: Vec<_> = (0..20).map(|n| engine.offer(Negate::new(n, &outputs)).unwrap()).collect();
    for n in 100..150 {
        let fast = Negate { kind: KINDS[1], ..Negate::new(n, &outputs) };
        assert_eq!(engine.run(fast).unwrap().value, !n);
    }
    assert_eq!(engine.snapshot().completed, 50);
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
    let pending: Vec<_> = (0..9).map(|n| engine.offer(Negate::new(n, &outputs)).unwrap()).collect();
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
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

/// Three times, for a thread that nobody waits for may happen to be quick.
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
    let pending: Vec<_> = (0..6).map(|n| engine.offer(Negate::new(n, &outputs)).unwrap()).collect();
    assert_eq!(starts.recv_timeout(PATIENCE), Ok(0));
    std::thread::scope(|scope| {
        let dropper = scope.spawn(|| drop(engine));
        // Whoever waits first is told first; the one under way ends when the gate opens.
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
    let first: Vec<_> = (0..8).map(|n| one.offer(Negate::new(n, &outputs)).unwrap()).collect();
    assert!(one.snapshot().waiters.now > 0, "the ring is full");
    // Whoever blocks polls the engine meanwhile, and would find the room by itself; a task is told or waits for ever.
    let second: Vec<_> = (8..12).map(|n| other.submit(Negate::new(n, &outputs)).unwrap()).collect();
    drop(open);
    for (submission, n) in second.into_iter().zip(8..) {
        assert_eq!(wait_as_a_task(submission).value, !n);
    }
    for (pending, n) in first.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}

/// Polls only when it is woken.
fn wait_as_a_task(mut submission: Submission<Negate>) -> Secret {
    let (wake, woken) = mpsc::channel();
    let waker = Waker::from(Arc::new(Ring(wake)));
    loop {
        match Pin::new(&mut submission).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result.unwrap(),
            Poll::Pending => woken.recv_timeout(PATIENCE).expect("nobody told it of room"),
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

/// The first two calls hang until the gate opens. The first thread is replaced, the second is not, for that is the cap.
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
    let terms = Terms::new().deadline(Duration::from_secs(1));
    let engine = Engine::builder(device.clone()).clock(clock.clone()).terms(terms).build();

    let pending = engine.offer(Negate::new(0, &outputs)).unwrap();
    assert_eq!(begins.recv().unwrap(), 0);
    assert_eq!(engine.poll(), Some(Duration::from_secs(1)), "the deadline comes first");
    clock.advance(Duration::from_secs(5));
    engine.poll();
    assert_eq!((device.n_stuck(), device.n_threads()), (1, 2));
    assert_eq!(pending.wait().unwrap_err(), EngineError::Deadline);

    // The replacement serves, and hangs, too.
    let hangs = engine.offer(Negate::new(1, &outputs)).unwrap();
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
    let pending = engine.offer(Negate::new(0, &outputs)).unwrap();
    begins.recv().unwrap();
    engine.poll();
    clock.advance(Duration::from_secs(5));
    engine.poll();
    drop(pending);
    drop(engine);
    drop(open);
}
