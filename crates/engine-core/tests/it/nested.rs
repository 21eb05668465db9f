//! Law L3 for a future that a job awaits, when a poll of it uses the engine: a request of the poll takes no wake of the future
//! away, whether it ends without a pause, fails, is refused, is dropped or pauses the job.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use engine_core::{Engine, EngineError, OnFull, RequestOptions};
use job_core::{Job, JobPool, WaitForError, wait_for};
use wait_ctx::WaitCtx;

use crate::support::{Answer, Bench, Counter, KINDS, Mode, Negate};

type Awaited = Result<u32, WaitForError>;
type Nested = fn(&Engine<Negate>, Negate, &WaitCtx);

/// Starts a job that awaits a future whose first poll calls `nested` and stays pending, and whose second one is ready.
fn await_with(ctx: &WaitCtx, nested: impl FnOnce(&Waker) + 'static) -> Job<Awaited> {
    let (mut nested, mut polls) = (Some(nested), 0);
    let step = JobPool::new().start_with(ctx, move || {
        wait_for(poll_fn(move |cx| {
            polls += 1;
            match nested.take() {
                Some(nested) => {
                    nested(cx.waker());
                    Poll::Pending
                }
                None => Poll::Ready(polls),
            }
        }))
    });
    step.unwrap().paused().expect("its future is pending")
}

/// The wakes that a callback hears of which is set now.
fn wakes_kept(ctx: &WaitCtx) -> usize {
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    ctx.set_callback(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    wakes.load(Ordering::SeqCst)
}

/// A nested request that does not pause, and how the device is set for it.
fn without_a_pause() -> [(&'static str, Mode, Nested); 5] {
    [
        ("answered at once", Mode::Early(Answer::Right), |engine, work, _| {
            assert!(engine.run(work).is_ok());
        }),
        ("failed at once", Mode::Early(Answer::Fail), |engine, work, _| {
            assert!(engine.run(work).is_err());
        }),
        ("refused", Mode::Take, |engine, work, _| {
            engine.close();
            assert!(matches!(engine.run(work), Err(EngineError::Refused(_))));
        }),
        ("dropped", Mode::Take, |engine, work, ctx| {
            drop(engine.submit_on(ctx.notifier(), work).unwrap());
        }),
        ("polled and dropped", Mode::Take, |engine, work, ctx| {
            let mut pending = engine.submit_on(ctx.notifier(), work).unwrap();
            assert!(pending.poll_result().is_pending());
        }),
    ]
}

#[test]
fn l3_a_nested_request_without_a_pause_leaves_the_wake_that_came_before_it() {
    for (name, mode, nested) in without_a_pause() {
        let bench = Bench::with_rings(4, 4);
        bench.device.set_mode(mode);
        let engine = bench.builder(RequestOptions::new()).build();
        let (ctx, work) = (WaitCtx::new(), bench.work(1));
        let of_job = ctx.clone();
        let job = await_with(&ctx, move |waker| {
            waker.wake_by_ref();
            nested(&engine, work, &of_job);
        });
        assert_eq!(wakes_kept(&ctx), 1, "{name}");
        assert_eq!(job.resume().finished(), Some(Ok(2)), "{name}");
    }
}

#[test]
fn l3_a_nested_request_without_a_pause_leaves_the_wake_that_comes_from_another_thread_meanwhile() {
    for (name, mode, nested) in without_a_pause() {
        if name == "refused" {
            // No device is offered it.
            continue;
        }
        let bench = Bench::with_rings(4, 4);
        bench.device.set_mode(mode);
        let engine = bench.builder(RequestOptions::new()).build();
        let (ctx, work) = (WaitCtx::new(), bench.work(1));
        let (of_job, device) = (ctx.clone(), Arc::clone(&bench.device));
        let job = await_with(&ctx, move |waker| {
            let waker = waker.clone();
            device.during_offer(|| std::thread::spawn(|| waker.wake()).join().unwrap());
            nested(&engine, work, &of_job);
        });
        assert_eq!(wakes_kept(&ctx), 1, "{name}");
        assert_eq!(job.resume().finished(), Some(Ok(2)), "{name}");
    }
}

/// The job is resumed for the nested request, and so the future is polled again.
#[test]
fn l3_a_nested_request_that_pauses_the_job_has_its_future_polled_again() {
    let bench = Bench::with_rings(4, 4);
    let engine = bench.builder(RequestOptions::new()).build();
    let (ctx, work) = (WaitCtx::new(), bench.work(1));
    let job = await_with(&ctx, move |waker| {
        waker.wake_by_ref();
        assert!(engine.run(work).is_ok());
    });
    assert!(bench.device.answer(KINDS[0], 0, Answer::Right));
    assert!(wakes_kept(&ctx) > 0);
    assert_eq!(job.resume().finished(), Some(Ok(2)));
}

/// The request has to be submitted by its job, and the permit for it comes before the job pauses.
#[test]
fn l3_a_nested_request_that_submits_again_leaves_the_wake_of_the_future() {
    let bench = Bench::with_rings(1, 1);
    let engine = bench.builder(RequestOptions::new()).on_full(OnFull::Notify).build();
    let _first = engine.submit(bench.work(0)).unwrap();
    let (ctx, work, device) = (WaitCtx::new(), bench.work(1), Arc::clone(&bench.device));
    let of_job = ctx.clone();
    let job = await_with(&ctx, move |waker| {
        let mut pending = engine.submit_on(of_job.notifier(), work).unwrap();
        waker.wake_by_ref();
        device.set_mode(Mode::Early(Answer::Right));
        device.answer_first(Answer::Right);
        assert!(pending.poll_result().is_ready());
    });
    assert_eq!(wakes_kept(&ctx), 1);
    assert_eq!(job.resume().finished(), Some(Ok(2)));
}

/// Without a wait context the wake goes to the task, whichever polled the job last.
#[test]
fn l3_a_request_in_a_job_that_a_task_awaits_wakes_the_task() {
    use std::pin::pin;
    use std::task::Context;

    let bench = Bench::with_rings(4, 4);
    let engine = bench.builder(RequestOptions::new()).build();
    let work = bench.work(1);
    let mut job = pin!(job_core::run(&JobPool::new(), move || {
        engine.run(work).map(|output| output.value)
    }));
    let tasks: [Arc<Counter>; 2] = Default::default();
    for task in &tasks {
        let waker = task.waker();
        assert!(job.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    bench.device.answer_first(Answer::Right);
    assert_eq!(tasks.each_ref().map(|task| task.wakes()), [0, 1]);
    let polled = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(Ok(Ok(!1))));
}
