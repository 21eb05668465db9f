//! Requests as futures: what an engine does for a caller that knows no jobs.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{
    CheckPolicy, Engine, EngineError, Fallback, Inline, RequestOptions, ThreadPoolBuilder,
};

use crate::support::{Manual, Negate, Outputs, wait_for};

#[test]
fn a_request_is_awaited_on_the_threads_of_a_pool() {
    let outputs = Arc::<Outputs>::default();
    let pool = ThreadPoolBuilder::new().threads(2).build(|work: &Negate| Ok(work.right()));
    let engine = Engine::builder(Arc::new(pool)).checks(CheckPolicy::Always).build();
    let both = [1, 2].map(|n| engine.submit(Negate::new(n, &outputs)).unwrap());
    for (n, request) in (1..).zip(both) {
        assert_eq!(wait_for(request).unwrap().value, !n);
    }
    assert_eq!(engine.run(Negate::new(3, &outputs)).unwrap().value, !3);
    assert_eq!(engine.stats().checked, 3);
}

#[test]
fn l14_an_awaited_request_ends_at_its_deadline_or_falls_back() {
    let outputs = Arc::<Outputs>::default();
    let engine = Engine::builder(Manual::new(4))
        .standby(Arc::new(Inline::new(|work: &Negate| Ok(work.right()))))
        .build();
    let _driver = engine.spawn_driver().unwrap();
    let options = RequestOptions::new().deadline(Duration::from_millis(1));
    let fails = engine.with_options(options).submit(Negate::new(1, &outputs)).unwrap();
    assert_eq!(wait_for(fails).unwrap_err(), EngineError::Deadline);
    let options = options.fallback(Fallback::Standby);
    let falls_back = engine.with_options(options).submit(Negate::new(2, &outputs)).unwrap();
    assert_eq!(wait_for(falls_back).unwrap().value, !2);
}

/// Requests awaited inside a job that has a wait context.
#[cfg(feature = "jobs")]
mod in_a_job {
    use std::future::{Future as _, poll_fn};
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use engine_core::Pending;
    use job_core::JobPool;
    use wait_ctx::WaitCtx;

    use super::*;
    use crate::support::{Answer, Bench, Counter, KINDS};

    fn poll(pending: &mut Pending<Negate>, task: &Arc<Counter>) -> Poll<Result<u64, EngineError>> {
        let waker = task.waker();
        let polled = Pin::new(pending).poll(&mut Context::from_waker(&waker));
        polled.map(|result| result.map(|output| output.value))
    }

    /// A wait context whose callback counts the wakes.
    fn counted() -> (WaitCtx, Arc<AtomicU64>) {
        let (ctx, wakes) = (WaitCtx::new(), Arc::<AtomicU64>::default());
        let count = Arc::clone(&wakes);
        ctx.set_callback(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        (ctx, wakes)
    }

    #[test]
    fn l3_a_completion_wakes_the_task_that_polled_the_request() {
        let bench = Bench::with_rings(4, 4);
        let engine = bench.builder(RequestOptions::new()).build();
        let (ctx, session) = counted();
        let task = Arc::<Counter>::default();
        let (asked, work, polled) = (Arc::clone(&engine), bench.work(1), Arc::clone(&task));
        let step = JobPool::new().start_with(&ctx, move || {
            let mut pending = asked.submit(work).unwrap();
            assert!(poll(&mut pending, &polled).is_pending());
            assert_eq!(job_core::pause(), job_core::Pause::Resumed);
            poll(&mut pending, &polled)
        });
        let job = step.unwrap().paused().unwrap();
        bench.device.answer_first(Answer::Right);
        assert_eq!((task.wakes(), session.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(job.resume().finished(), Some(Poll::Ready(Ok(!1))));
        assert_eq!(Arc::strong_count(&task), 1, "its waker was dropped");
    }

    #[test]
    fn l3_a_request_on_the_notifier_of_a_session_wakes_the_session_and_the_task_that_polled_it() {
        let bench = Bench::with_rings(4, 4);
        let engine = bench.builder(RequestOptions::new()).build();
        let (ctx, session) = counted();
        let task = Arc::<Counter>::default();
        let mut pending = engine.submit_on(ctx.notifier(), bench.work(1)).unwrap();
        assert!(poll(&mut pending, &task).is_pending());
        bench.device.answer_first(Answer::Right);
        assert_eq!((task.wakes(), session.load(Ordering::SeqCst)), (1, 1));
        assert_eq!(poll(&mut pending, &task), Poll::Ready(Ok(!1)));
        assert_eq!(Arc::strong_count(&task), 1, "its waker was dropped");

        let mut dropped = engine.submit_on(ctx.notifier(), bench.work(2)).unwrap();
        assert!(poll(&mut dropped, &task).is_pending());
        drop(dropped);
        assert_eq!(Arc::strong_count(&task), 1, "while the device holds the request");
        bench.device.answer_first(Answer::Right);
        assert_eq!(task.wakes(), 1);
    }

    /// The owner submits such a request itself, once it has a permit.
    #[test]
    fn l13_a_permit_wakes_the_task_that_polled_the_request() {
        let bench = Bench::with_rings(1, 1);
        let builder = bench.builder(RequestOptions::new());
        let engine = builder.on_full(engine_core::OnFull::Notify).build();
        let _first = engine.submit(bench.work(0)).unwrap();
        let (ctx, session) = counted();
        let tasks: [Arc<Counter>; 2] = Default::default();
        let mut on_session = engine.submit_on(ctx.notifier(), bench.work(1)).unwrap();
        let mut alone = engine.submit(bench.work(2)).unwrap();
        assert!(poll(&mut on_session, &tasks[0]).is_pending());
        assert!(poll(&mut alone, &tasks[1]).is_pending());
        bench.device.answer_first(Answer::Right);
        assert_eq!((tasks[0].wakes(), session.load(Ordering::SeqCst)), (1, 1));
        assert!(poll(&mut on_session, &tasks[0]).is_pending());
        bench.device.answer_first(Answer::Right);
        assert_eq!(tasks[1].wakes(), 1);
        assert!(poll(&mut alone, &tasks[1]).is_pending());
        assert_eq!(bench.device.taken(), [0, 1, 2]);
    }

    /// As `FuturesUnordered` does, and `join_all` with many futures.
    #[test]
    fn l3_a_future_that_polls_only_what_was_woken_does_not_hang_in_a_job() {
        let bench = Bench::with_rings(4, 4);
        let engine = bench.builder(RequestOptions::new()).build();
        let (ctx, session) = counted();
        let (asked, works) = (Arc::clone(&engine), [1, 2].map(|n| bench.work(n)));
        let step = JobPool::new().start_with(&ctx, move || {
            let mut requests =
                works.map(|work| (Some(asked.submit(work).unwrap()), Arc::<Forward>::default()));
            job_core::wait_for(poll_fn(|cx| {
                for (request, forward) in &mut requests {
                    *forward.outer.lock().unwrap() = Some(cx.waker().clone());
                    if forward.quiet.swap(true, Ordering::SeqCst) {
                        continue;
                    }
                    let waker = Waker::from(Arc::clone(forward));
                    let mut inner = Context::from_waker(&waker);
                    if let Some(pending) = request
                        && Pin::new(pending).poll(&mut inner).is_ready()
                    {
                        *request = None;
                    }
                }
                if requests.iter().all(|(request, _)| request.is_none()) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }))
        });
        let job = step.unwrap().paused().unwrap();
        assert!(bench.device.answer(KINDS[0], 1, Answer::Right));
        assert_eq!(session.load(Ordering::SeqCst), 1);
        let job = job.resume().paused().expect("one is under way");
        assert!(bench.device.answer(KINDS[0], 0, Answer::Right));
        assert_eq!(session.load(Ordering::SeqCst), 2);
        assert_eq!(job.resume().finished(), Some(Ok(())));
    }

    /// The waker of one future among several: it notes its wake, and passes it on.
    #[derive(Default)]
    struct Forward {
        outer: Mutex<Option<Waker>>,
        /// Not woken since it was polled.
        quiet: AtomicBool,
    }

    impl Wake for Forward {
        fn wake(self: Arc<Self>) {
            self.quiet.store(false, Ordering::SeqCst);
            let outer = self.outer.lock().unwrap().clone();
            outer.expect("it was polled").wake();
        }
    }

    #[test]
    fn l3_a_request_that_a_task_has_polled_wakes_the_job_that_waits_for_it() {
        let bench = Bench::with_rings(4, 4);
        let engine = bench.builder(RequestOptions::new()).build();
        let (ctx, session) = counted();
        let task = Arc::<Counter>::default();
        let (asked, work, polled) = (Arc::clone(&engine), bench.work(1), Arc::clone(&task));
        let step = JobPool::new().start_with(&ctx, move || {
            let mut pending = asked.submit(work).unwrap();
            assert!(poll(&mut pending, &polled).is_pending());
            pending.wait().map(|output| output.value)
        });
        let job = step.unwrap().paused().unwrap();
        bench.device.answer_first(Answer::Right);
        assert_eq!((task.wakes(), session.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(job.resume().finished(), Some(Ok(!1)));
    }
}
