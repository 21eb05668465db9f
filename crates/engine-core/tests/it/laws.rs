//! Laws one by one, each in the situation that tempts an engine to break it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use engine_core::{CheckFailed, CheckPolicy, DeviceError, Engine, EngineError, RefusedReason};
use job_core::{JobPool, Step, block_pause, on_parent_stack};
use wait_ctx::{Status, WaitCtx};

use crate::support::{Answer, Counter, FAILED, KINDS, Manual, Mode, Negate, Outputs, PANICS, end};

/// Long enough for any machine; only a broken engine makes a test wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn engine(device: &Arc<Manual>) -> Arc<Engine<Negate>> {
    Engine::builder(device.clone()).build()
}

#[test]
fn l1_the_device_owns_the_work_when_the_caller_is_long_gone() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let engine = engine(&device);
    let (asked, work) = (Arc::clone(&engine), Negate::new(7, &outputs));
    let step = JobPool::new().start(move || asked.run(work)).unwrap();
    drop(step);

    let request = device.take(KINDS[0], 0).unwrap();
    assert!(request.is_abandoned());
    assert_eq!(request.work().n, 7);
    end(request, Answer::Right);
    assert_eq!((outputs.made(), outputs.erased()), (1, 1));
    assert_eq!((engine.stats().late, engine.stats().requests.now), (1, 0));
}

#[test]
fn l2_a_hundred_extra_resumes_submit_nothing() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let engine = engine(&device);
    let (asked, work) = (Arc::clone(&engine), Negate::new(7, &outputs));
    let mut job = JobPool::new().start(move || asked.run(work)).unwrap().paused().unwrap();
    for _ in 0..100 {
        job = job.resume().paused().expect("nothing has been answered");
    }
    device.answer_first(Answer::Right);
    assert_eq!(job.resume().finished().unwrap().unwrap().value, !7);
    assert_eq!(device.taken(), [7]);
    assert_eq!(engine.stats().spurious_resumes, 100);
}

#[test]
fn l3_no_lost_wakeup_when_the_completion_comes_before_submit_returns() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let engine = engine(&device);
    device.set_mode(Mode::Early(Answer::Right));

    let (asked, work) = (Arc::clone(&engine), Negate::new(1, &outputs));
    let step = JobPool::new().start(move || asked.run(work)).unwrap();
    assert_eq!(step.finished().expect("no pause").unwrap().value, !1);

    assert_eq!(engine.run(Negate::new(2, &outputs)).unwrap().value, !2);

    let task = Arc::<Counter>::default();
    let mut future = Box::pin(engine.submit(Negate::new(3, &outputs)).unwrap());
    let Poll::Ready(Ok(output)) = future.as_mut().poll(&mut Context::from_waker(&task.waker()))
    else {
        panic!("the first poll finds the result")
    };
    assert_eq!((output.value, task.wakes()), (!3, 0));
}

#[test]
fn l3_no_lost_wakeup_when_the_completion_comes_before_the_pause() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let engine = engine(&device);
    let ctx = WaitCtx::new();
    let (asked, card, work) = (Arc::clone(&engine), device.clone(), Negate::new(7, &outputs));
    let session = ctx.clone();
    let step = JobPool::new().start_with(&ctx, move || {
        let pending = asked.submit_on(session.notifier(), work).unwrap();
        card.answer_first(Answer::Right);
        pending.wait()
    });
    assert_eq!(step.unwrap().finished().expect("no pause").unwrap().value, !7);
    // L4: no job was armed, so none is woken.
    assert_eq!(engine.stats().wakes, 0);
    assert_eq!(ctx.status(), Status::Ok);
}

/// An event loop that resumes only who was woken, beside a thread that completes: no gate between them.
#[test]
fn l3_l7_jobs_resumed_only_on_a_wake_all_finish_while_another_thread_completes() {
    const JOBS: usize = 400;
    const RING: usize = 8;
    let (device, outputs) = (Manual::new(RING), Arc::<Outputs>::default());
    let engine = engine(&device);
    let (stop, stopped) = mpsc::channel::<()>();
    let card = device.clone();
    let completer = thread::spawn(move || {
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            if !card.answer(KINDS[0], 0, Answer::Right) {
                thread::yield_now();
            }
        }
    });

    let pool = JobPool::new();
    let (wake, woken) = mpsc::channel::<usize>();
    let contexts: Vec<WaitCtx> = (0..JOBS).map(|_| WaitCtx::new()).collect();
    let mut jobs = Vec::new();
    let mut finished = 0;
    for (i, ctx) in contexts.iter().enumerate() {
        let wake = wake.clone();
        ctx.set_callback(move |_| wake.send(i).unwrap());
        let (asked, outputs) = (Arc::clone(&engine), Arc::clone(&outputs));
        let step = pool.start_with(ctx, move || {
            // Three in a row, so that a wake for one can be mistaken for a wake for the next.
            (0..3).all(|n| asked.run(Negate::new(n, &outputs)).is_ok_and(|out| out.value == !n))
        });
        jobs.push(match step.unwrap() {
            Step::Paused(job) => Some(job),
            Step::Finished(right) => {
                assert!(right);
                finished += 1;
                None
            }
        });
    }
    // Each request wakes at most once.
    for _ in 0..3 * JOBS {
        if finished == JOBS {
            break;
        }
        let i = woken.recv_timeout(PATIENCE).expect("L3: a wake was lost");
        match jobs[i].take().expect("L4: a wake for a job that has finished").resume() {
            Step::Paused(job) => jobs[i] = Some(job),
            Step::Finished(right) => {
                assert!(right);
                finished += 1;
            }
        }
    }
    stop.send(()).unwrap();
    completer.join().unwrap();
    assert_eq!(finished, JOBS);

    let snapshot = engine.stats();
    assert_eq!(snapshot.submitted, 3 * JOBS as u64);
    assert_eq!(snapshot.accepted, snapshot.submitted);
    assert_eq!(snapshot.resumes, snapshot.wakes, "every resume had its wake");
    assert_eq!(snapshot.spurious_resumes, 0);
    assert_eq!((snapshot.requests.now, snapshot.waiters.now), (0, 0));
    assert_eq!(snapshot.out_of_order, 0);
}

#[test]
fn l4_one_wake_for_a_completion_and_one_for_a_fatal_error() {
    for answer in [Answer::Right, Answer::Wrong, Answer::Fail, Answer::Drop] {
        let (device, outputs) = (Manual::new(4), Arc::default());
        let engine = engine(&device);
        let ctx = WaitCtx::new();
        let (asked, work) = (Arc::clone(&engine), Negate::new(7, &outputs));
        ctx.set_callback(|_| {});
        let step = JobPool::new().start_with(&ctx, move || asked.run(work)).unwrap();
        device.answer_first(answer);
        assert_eq!(ctx.notifier().counters().callback, 1, "{answer:?}");
        let outcome = step.paused().unwrap().resume().finished().unwrap();
        assert_eq!(outcome.is_ok(), answer == Answer::Right);
        assert_eq!(ctx.status(), if outcome.is_ok() { Status::Ok } else { Status::Err });
        assert_eq!(ctx.notifier().counters().callback, 1, "{answer:?}");
    }
}

#[test]
fn l5_a_cancelled_job_gets_cancelled_from_every_later_run() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = engine(&device);
    let (asked, kept) = (Arc::clone(&engine), Arc::clone(&outputs));
    let job = JobPool::new().start(move || {
        (0..5).map(|n| asked.run(Negate::new(n, &kept)).unwrap_err()).collect::<Vec<_>>()
    });
    let errors = job.unwrap().paused().unwrap().cancel().expect("the job returns");
    assert_eq!(errors, vec![EngineError::Cancelled; 5]);
    assert_eq!(device.taken(), [0], "a job on its way out submits nothing");
    device.answer_first(Answer::Right);
    assert_eq!((outputs.made(), outputs.erased()), (1, 1));
}

#[test]
fn l5_a_cancelled_request_that_waits_never_reaches_the_device() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = engine(&device);
    let on_device = engine.submit(Negate::new(0, &outputs)).unwrap();
    let waiting = engine.submit(Negate::new(1, &outputs)).unwrap();
    let last = engine.submit(Negate::new(2, &outputs)).unwrap();
    drop(waiting);
    assert_eq!(engine.stats().waiters.now, 1);
    device.answer_first(Answer::Right);
    assert_eq!(device.taken(), [0, 2]);
    drop((on_device, last));
}

#[test]
fn l5_what_is_given_up_while_it_is_offered_does_not_wait_again() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = engine(&device);
    let first = engine.submit(Negate::new(0, &outputs)).unwrap();
    let second = engine.submit(Negate::new(1, &outputs)).unwrap();
    device.set_mode(Mode::Stuck);
    device.during_offer(move || drop(second));
    device.answer_first(Answer::Right);
    assert_eq!((engine.stats().ring_full, engine.stats().waiters.now), (3, 0));
    assert_eq!(first.wait().unwrap().value, !0);
}

#[test]
fn l5_requests_of_an_engine_that_was_dropped_are_gone() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = engine(&device);
    let on_device = engine.submit(Negate::new(0, &outputs)).unwrap();
    let waiting = engine.submit(Negate::new(1, &outputs)).unwrap();
    drop(engine);
    assert_eq!(waiting.wait().unwrap_err(), EngineError::Gone);
    // This device outlives the engine and still answers.
    device.answer_first(Answer::Right);
    assert_eq!(on_device.wait().unwrap().value, !0);
}

#[test]
fn l5_a_device_dropped_with_its_engine_leaves_no_caller_waiting() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = Engine::builder(device).build();
    let on_device = engine.submit(Negate::new(0, &outputs)).unwrap();
    let waiting = engine.submit(Negate::new(1, &outputs)).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| on_device.wait().unwrap_err());
        let second = scope.spawn(|| waiting.wait().unwrap_err());
        drop(engine);
        assert_eq!(first.join().unwrap(), EngineError::Gone);
        assert_eq!(second.join().unwrap(), EngineError::Gone);
    });
}

#[test]
fn l8_quiesce_waits_for_requests_that_no_caller_waits_for() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = engine(&device);
    drop(engine.submit(Negate::new(0, &outputs)).unwrap());
    assert!(!engine.quiesce(Duration::ZERO), "the device still holds it");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| engine.quiesce(PATIENCE));
        device.answer_first(Answer::Right);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn l11_where_pausing_is_refused_the_thread_waits_itself() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = engine(&device);
    let pool = JobPool::new();
    let (asked, go) = mpsc::channel::<()>();
    let card = device.clone();
    let completer = thread::spawn(move || {
        for () in go {
            while !card.answer(KINDS[0], 0, Answer::Right) {
                thread::yield_now();
            }
        }
    });
    let ask = |n: u64| {
        let (asked, engine, outputs) = (asked.clone(), Arc::clone(&engine), Arc::clone(&outputs));
        move || {
            asked.send(()).unwrap();
            engine.run(Negate::new(n, &outputs)).unwrap().value
        }
    };

    assert_eq!(ask(0)(), !0, "outside a job");
    let blocked = ask(1);
    let step = pool.start(move || {
        let _guard = block_pause();
        blocked()
    });
    assert_eq!(step.unwrap().finished(), Some(!1), "under a pause block");
    let below = ask(2);
    let step = pool.start(move || on_parent_stack(below));
    assert_eq!(step.unwrap().finished(), Some(!2), "on the parent's stack");

    struct OnDrop<F: Fn() -> u64>(F, Arc<AtomicU64>);
    impl<F: Fn() -> u64> Drop for OnDrop<F> {
        fn drop(&mut self) {
            self.1.store((self.0)(), SeqCst);
        }
    }
    let seen = Arc::new(AtomicU64::new(0));
    let (unwinding, kept) = (ask(3), Arc::clone(&seen));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.start(move || {
            let _asks = OnDrop(unwinding, kept);
            std::panic::resume_unwind(Box::new("on purpose"));
        })
    }));
    assert!(panicked.is_err(), "L10: the panic surfaces");
    assert_eq!(seen.load(SeqCst), !3, "while panicking");

    drop(asked);
    completer.join().unwrap();
    assert_eq!(engine.stats().blocking_waits, 4);
    assert_eq!((engine.stats().wakes, engine.stats().resumes), (0, 0));
}

#[test]
fn l12_a_check_that_panics_is_a_check_that_failed() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let engine = engine(&device);
    let pending = engine.submit(Negate::new(PANICS, &outputs)).unwrap();
    device.answer_first(Answer::Right);
    let invalid = EngineError::Invalid(CheckFailed("the check panicked"));
    assert_eq!(pending.wait().unwrap_err(), invalid);
    assert_eq!((outputs.made(), outputs.erased()), (1, 1), "and the result is erased");
}

#[test]
fn l12_the_policy_says_what_is_checked_and_must_is_must() {
    let wrong = |policy, must_check| {
        let (device, outputs) = (Manual::new(4), Arc::default());
        let engine = Engine::builder(device.clone()).checks(policy).build();
        let work = Negate { must_check, ..Negate::new(7, &outputs) };
        let pending = engine.submit(work).unwrap();
        device.answer_first(Answer::Wrong);
        pending.wait().is_ok()
    };
    assert!(!wrong(CheckPolicy::Always, false));
    assert!(!wrong(CheckPolicy::Required, true));
    assert!(wrong(CheckPolicy::Required, false));
    // The completion side is this thread.
    assert!(wrong(CheckPolicy::Auto, false));
}

#[test]
fn requests_have_numbers_of_their_own() {
    let (device, outputs) = (Manual::new(2), Arc::<Outputs>::default());
    let engine = Engine::builder(device).build();
    let ids = [1, 2].map(|n| engine.submit(Negate::new(n, &outputs)).unwrap().id());
    assert!(ids[0] < ids[1] && ids[0].as_u64() < ids[1].as_u64());
}

#[test]
fn l13_past_its_bound_a_queue_gives_the_work_back() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = Engine::builder(device.clone()).queue_bound(2).build();
    let pending: Vec<_> =
        (0..3).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    let refused = engine.submit(Negate::new(3, &outputs)).unwrap_err();
    assert_eq!(refused.work.n, 3);
    assert_eq!(refused.reason, RefusedReason::QueueFull { bound: 2 });
    // The other kind has a queue and a ring of its own.
    let other = Negate { kind: KINDS[1], ..Negate::new(4, &outputs) };
    let other = engine.submit(other).unwrap();
    assert_eq!(device.taken(), [0, 4], "the full kind does not hold up the other");
    engine.close();
    let refused = engine.submit(Negate::new(5, &outputs)).unwrap_err();
    assert_eq!((refused.work.n, refused.reason), (5, RefusedReason::Closed));
    drop((pending, other));
}

#[test]
fn l13_without_a_queue_a_full_ring_refuses() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = Engine::builder(device.clone()).queue_bound(0).build();
    let _first = engine.submit(Negate::new(0, &outputs)).unwrap();
    let refused = engine.submit(Negate::new(1, &outputs)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::QueueFull { bound: 0 });
    device.answer_first(Answer::Right);
    assert!(engine.submit(Negate::new(2, &outputs)).is_ok());
}

/// The pump calls the device, which completes, which calls the pump: a chain of thousands needs no stack.
#[test]
fn a_device_that_completes_inside_submit_empties_a_long_queue_without_recursion() {
    const LONG: u64 = 4_000;
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = engine(&device);
    device.set_mode(Mode::Stuck);
    let pending: Vec<_> =
        (0..LONG).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    device.set_mode(Mode::Early(Answer::Right));
    engine.poll();
    assert_eq!(device.taken(), (0..LONG).collect::<Vec<_>>());
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
    assert_eq!(engine.stats().requests.now, 0);
}

#[test]
fn what_a_device_will_never_take_fails_and_names_the_reason() {
    let (device, outputs) = (Manual::new(1), Arc::default());
    let engine = engine(&device);
    device.set_mode(Mode::Unsupported);
    let error = engine.run(Negate::new(0, &outputs)).unwrap_err();
    assert_eq!(error, EngineError::Device(DeviceError::Unsupported("told to")));
    assert!(error.to_string().contains("told to"));
    device.set_mode(Mode::Early(Answer::Fail));
    let error = engine.run(Negate::new(0, &outputs)).unwrap_err();
    assert_eq!(error, EngineError::Device(FAILED));
}

/// Two requests of one job: the second wakes by the same routes.
#[test]
fn a_job_may_have_several_requests_in_flight() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = engine(&device);
    let ctx = WaitCtx::new();
    let woken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&woken);
    ctx.set_callback(move |_| {
        count.fetch_add(1, SeqCst);
    });
    let (asked, kept) = (Arc::clone(&engine), Arc::clone(&outputs));
    let job = JobPool::new().start_with(&ctx, move || {
        let first = asked.submit(Negate::new(1, &kept)).unwrap();
        let second = asked.submit(Negate::new(2, &kept)).unwrap();
        (second.wait().unwrap().value, first.wait().unwrap().value)
    });
    let job = job.unwrap().paused().unwrap();
    end(device.find(2).unwrap(), Answer::Right);
    assert_eq!(woken.load(SeqCst), 1);
    let job = job.resume().paused().expect("the first is still out");
    end(device.find(1).unwrap(), Answer::Right);
    assert_eq!(woken.load(SeqCst), 2);
    assert_eq!(job.resume().finished(), Some((!2, !1)));
}

#[test]
fn dropping_a_future_gives_its_request_up_and_its_waker_back() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let engine = engine(&device);
    let task = Arc::<Counter>::default();
    let mut future = Box::pin(engine.submit(Negate::new(1, &outputs)).unwrap());
    assert!(future.as_mut().poll(&mut Context::from_waker(&task.waker())).is_pending());
    drop(future);
    assert_eq!(Arc::strong_count(&task), 1, "the task is not kept until the device answers");
    device.answer_first(Answer::Right);
    assert_eq!(task.wakes(), 0, "L4: no wake begins after the cancel");
    assert_eq!((outputs.made(), outputs.erased()), (1, 1));
}
