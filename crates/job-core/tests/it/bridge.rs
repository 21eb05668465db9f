//! Jobs as futures, and futures awaited in jobs.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use job_core::{
    JobPool, Pause, Run, StartRefused, Step, WaitCtx, WaitForError, block_pause, current,
    on_parent_stack, pause, run, run_with, wait_for,
};
use proptest::prelude::*;

use crate::{paused, start_paused};

/// A waker that counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll<T>(run: &mut Run<T>, wakes: &Arc<Wakes>) -> Poll<Result<T, StartRefused>> {
    pin!(run).poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

/// A value that arrives later and wakes the task that waits for it.
#[derive(Clone, Default)]
struct Later(Rc<RefCell<(Option<u32>, Option<Waker>)>>);

impl Later {
    fn arrive(&self, value: u32) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.0 = Some(value);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn value(&self) -> impl Future<Output = u32> + 'static {
        let state = Rc::clone(&self.0);
        poll_fn(move |cx| {
            let mut state = state.borrow_mut();
            match state.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }
}

/// Synchronous code with a callback, without knowledge of futures.
fn sum_of_three(mut next: impl FnMut() -> u32) -> u32 {
    next() + next() + next()
}

#[test]
fn a_synchronous_callback_awaits_a_future() {
    let pool = JobPool::new();
    let later = Later::default();
    let theirs = later.clone();
    let mut sum = run(&pool, move || sum_of_three(|| wait_for(theirs.value()).unwrap()));
    let wakes = Arc::default();
    for n in 1..=3 {
        assert!(poll(&mut sum, &wakes).is_pending());
        later.arrive(n);
        assert_eq!(wakes.count(), n as usize);
    }
    assert_eq!(poll(&mut sum, &wakes), Poll::Ready(Ok(6)));
    assert_eq!(pool.stats().resumes, 4);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Extra polls, at any time, change nothing.
    #[test]
    fn l2_extra_resumes_change_nothing(extra in prop::collection::vec(0..4_usize, 4)) {
        let pool = JobPool::new();
        let later = Later::default();
        let theirs = later.clone();
        let mut sum = run(&pool, move || sum_of_three(|| wait_for(theirs.value()).unwrap()));
        let wakes = Arc::default();
        for (n, extra) in extra.iter().enumerate() {
            if n > 0 {
                later.arrive(n as u32);
            }
            let polls = if n == 3 { 1 } else { 1 + extra };
            for _ in 0..polls {
                let expected = if n == 3 { Poll::Ready(Ok(6)) } else { Poll::Pending };
                prop_assert_eq!(poll(&mut sum, &wakes), expected);
            }
        }
        prop_assert_eq!(wakes.count(), 3);
    }
}

#[test]
fn l3_no_lost_wakeup_when_the_future_wakes_while_it_is_polled() {
    let pool = JobPool::new();
    let mut twice = run(&pool, || {
        let polls = Cell::new(0);
        wait_for(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            cx.waker().wake_by_ref();
            if polls.get() == 2 { Poll::Ready(polls.get()) } else { Poll::Pending }
        }))
        .unwrap()
    });
    let wakes = Arc::default();
    assert!(poll(&mut twice, &wakes).is_pending());
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut twice, &wakes), Poll::Ready(Ok(2)));
}

#[test]
fn l3_no_lost_wakeup_when_the_task_moves_to_another_waker() {
    let pool = JobPool::new();
    let later = Later::default();
    let theirs = later.clone();
    let mut one = run(&pool, move || wait_for(theirs.value()).unwrap());
    let (old, new) = (Arc::default(), Arc::default());
    assert!(poll(&mut one, &old).is_pending());
    assert!(poll(&mut one, &new).is_pending());
    later.arrive(1);
    assert_eq!((old.count(), new.count()), (0, 1));
    assert_eq!(poll(&mut one, &new), Poll::Ready(Ok(1)));
}

/// A poll of the future waits for something else, and the wake comes meanwhile: the task spends it on that.
#[test]
fn l3_no_lost_wakeup_when_a_poll_of_the_future_pauses_the_job() {
    let pool = JobPool::new();
    let (later, device) = (Later::default(), Rc::new(Cell::new(false)));
    let (value, done) = (later.value(), Rc::clone(&device));
    let mut both = run(&pool, move || {
        let (mut value, mut waited) = (pin!(value), false);
        wait_for(poll_fn(|cx| {
            let polled = value.as_mut().poll(cx);
            if !waited {
                waited = true;
                while !done.get() {
                    assert_eq!(pause(), Pause::Resumed);
                }
            }
            polled
        }))
        .unwrap()
    });
    let wakes = Arc::default();
    assert!(poll(&mut both, &wakes).is_pending());
    later.arrive(7);
    assert_eq!(wakes.count(), 1);
    // For the future, but its poll still waits for the device.
    assert!(poll(&mut both, &wakes).is_pending());
    device.set(true);
    assert_eq!(poll(&mut both, &wakes), Poll::Ready(Ok(7)));
}

#[test]
fn l5_dropping_the_future_cancels_the_job_at_every_await() {
    for awaited in 0..4 {
        let pool = JobPool::new();
        let later = Later::default();
        let theirs = later.clone();
        let ended_by = Rc::new(Cell::new(None));
        let noted = Rc::clone(&ended_by);
        let mut all = run(&pool, move || {
            loop {
                if let Err(error) = wait_for(theirs.value()) {
                    noted.set(Some(error));
                    return;
                }
            }
        });
        let wakes = Arc::default();
        for n in 0..awaited {
            assert!(poll(&mut all, &wakes).is_pending());
            later.arrive(n);
        }
        drop(all);
        let expected = (awaited > 0).then_some(WaitForError::Cancelled);
        assert_eq!((ended_by.get(), pool.stats().live), (expected, 0));
    }
}

#[test]
fn l11_outside_a_job_the_error_names_the_fix() {
    let error = wait_for(ready(1)).unwrap_err();
    assert_eq!(error, WaitForError::NotInJob);
    insta::assert_snapshot!(error, @"wait_for was called outside a job: call the synchronous code that needs it through job_core::run(&pool, || ..).await or JobPool::start, or await the future directly");
}

#[test]
fn l11_where_pausing_is_refused_only_a_ready_future_is_awaited() {
    let pool = JobPool::new();
    let answers = pool.start(|| {
        let _block = block_pause();
        let detached = on_parent_stack(|| wait_for(pending::<u32>()));
        (wait_for(ready(1)), wait_for(pending::<u32>()), detached)
    });
    let refused = Err(WaitForError::Blocked);
    assert_eq!(answers.unwrap().finished(), Some((Ok(1), refused, refused)));
}

#[test]
fn a_job_without_a_task_polls_its_future_at_every_resume() {
    let pool = JobPool::new();
    let later = Later::default();
    let theirs = later.clone();
    let job = start_paused(&pool, move || wait_for(theirs.value()));
    let job = paused(job.resume());
    later.arrive(5);
    assert_eq!(job.resume().finished(), Some(Ok(5)));
}

#[test]
fn a_future_in_a_job_with_a_wait_context_wakes_through_it() {
    let pool = JobPool::new();
    let ctx = WaitCtx::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    ctx.set_callback(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let later = Later::default();
    let theirs = later.clone();
    let job = paused(
        pool.start_with(&ctx, move || {
            assert!(current().unwrap().waker().is_some());
            wait_for(theirs.value())
        })
        .unwrap(),
    );
    later.arrive(5);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(job.resume().finished(), Some(Ok(5)));
}

#[test]
fn wakes_of_the_wait_context_reach_the_task_that_awaits_the_job() {
    let pool = JobPool::new();
    let ctx = WaitCtx::new();
    let mut job = run_with(&pool, &ctx, pause);
    let wakes = Arc::default();
    assert!(poll(&mut job, &wakes).is_pending());
    ctx.notifier().waker().wake();
    assert_eq!(wakes.count(), 1);
    // The context is in use until the job ends.
    let mut other = run_with(&pool, &ctx, || ());
    assert_eq!(poll(&mut other, &wakes), Poll::Ready(Err(StartRefused::WaitCtxBusy)));
    assert_eq!(poll(&mut job, &wakes), Poll::Ready(Ok(Pause::Resumed)));
}

#[test]
fn l13_futures_queue_for_a_full_pool() {
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let first = start_paused(&pool, pause);
    let wakes: [Arc<Wakes>; 3] = Default::default();
    let mut runs: Vec<_> = (0..3).map(|n| run(&pool, move || n)).collect();
    for (run, wakes) in runs.iter_mut().zip(&wakes) {
        assert!(poll(run, wakes).is_pending());
    }
    let woken = || wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>();
    assert_eq!(first.resume().finished(), Some(Pause::Resumed));
    assert_eq!(woken(), [1, 0, 0]);
    // A future that is not the first does not overtake it.
    assert!(poll(&mut runs[2], &wakes[2]).is_pending());
    // Dropping the first wakes the next.
    drop(runs.remove(0));
    assert_eq!(woken(), [1, 1, 0]);
    assert_eq!(poll(&mut runs[0], &wakes[1]), Poll::Ready(Ok(1)));
    assert_eq!(woken()[2], 1);
    assert_eq!(poll(&mut runs[1], &wakes[2]), Poll::Ready(Ok(2)));
    // The queue is empty again.
    assert_eq!(poll(&mut run(&pool, || 4), &wakes[0]), Poll::Ready(Ok(4)));
}

#[test]
fn l10_a_panic_of_the_job_comes_out_of_the_poll() {
    let pool = JobPool::new();
    let mut job = run(&pool, || -> u32 {
        let _ = pause();
        std::panic::resume_unwind(Box::new("polled"))
    });
    let wakes = Arc::default();
    assert!(poll(&mut job, &wakes).is_pending());
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut job, &wakes)));
    assert_eq!(polled.unwrap_err().downcast_ref(), Some(&"polled"));
    assert_eq!(pool.stats().live, 0);
}

#[test]
fn a_job_polled_inside_a_job_keeps_to_its_own_waker() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let later = Later::default();
    let theirs = later.clone();
    let mut outer = run(&pool, move || {
        let inner = run(&inner_pool, move || wait_for(theirs.value()).unwrap());
        wait_for(inner).unwrap()
    });
    let wakes = Arc::default();
    assert!(poll(&mut outer, &wakes).is_pending());
    later.arrive(3);
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut outer, &wakes), Poll::Ready(Ok(Ok(3))));
}

#[test]
fn a_step_is_either_paused_or_finished() {
    let pool = JobPool::new();
    assert!(pool.start(|| 1).unwrap().paused().is_none());
    let step: Step<Pause> = pool.start(pause).unwrap();
    assert!(step.finished().is_none());
}
