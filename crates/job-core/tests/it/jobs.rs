//! Starting, pausing, resuming, ending.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use job_core::{JobPool, Pause, StartRefused, Step, WaitCtx, current, on_parent_stack, pause};

fn paused<T: 'static>(step: Step<T>) -> job_core::Job<T> {
    step.paused().expect("the job has paused")
}

#[test]
fn a_job_resumes_where_it_paused_and_returns_its_own_value() {
    let pool = JobPool::new();
    let log = Rc::new(RefCell::new(Vec::new()));
    let start = |name: &'static str| {
        let log = Rc::clone(&log);
        pool.start(move || {
            for round in 0..3 {
                log.borrow_mut().push((name, round));
                assert_eq!(pause(), Pause::Resumed);
            }
            name
        })
        .unwrap()
    };
    let mut a = paused(start("a"));
    let mut b = paused(start("b"));
    for _ in 0..2 {
        a = paused(a.resume());
        b = paused(b.resume());
    }
    assert_eq!(b.resume().finished(), Some("b"));
    assert_eq!(a.resume().finished(), Some("a"));
    assert_eq!(*log.borrow(), [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]);
    let stats = pool.stats();
    assert_eq!(
        (stats.live, stats.idle, stats.peak_live, stats.finished, stats.resumes),
        (0, 2, 2, 2, 8)
    );
}

#[test]
fn a_job_that_never_pauses_finishes_at_once() {
    let pool = JobPool::new();
    assert_eq!(pool.start(|| 7).unwrap().finished(), Some(7));
}

#[test]
fn outside_a_job_nothing_pauses() {
    assert_eq!(pause(), Pause::NotInJob);
    assert!(current().is_none());
    assert_eq!(on_parent_stack(|| 3), 3);
}

#[test]
fn a_nested_job_pauses_to_whoever_resumed_it() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let outer = paused(
        pool.start(move || {
            let outer_id = current().unwrap().id();
            let inner = paused(
                inner_pool
                    .start(move || {
                        assert_ne!(current().unwrap().id(), outer_id);
                        assert_eq!(pause(), Pause::Resumed);
                        assert_eq!(pause(), Pause::Resumed);
                        1
                    })
                    .unwrap(),
            );
            assert_eq!(current().unwrap().id(), outer_id);
            let inner = paused(inner.resume());
            assert_eq!(pause(), Pause::Resumed);
            inner
        })
        .unwrap(),
    );
    let inner = outer.resume().finished().unwrap();
    assert_eq!(inner.resume().finished(), Some(1));
    assert_eq!(pool.stats().live, 0);
}

#[test]
fn a_wait_context_serves_one_live_job_at_a_time() {
    let pool = JobPool::new();
    let ctx = WaitCtx::new();
    let theirs = ctx.clone();
    let job = paused(
        pool.start_with(&ctx, move || {
            assert!(current().unwrap().wait_ctx().unwrap().same(&theirs));
            let _ = pause();
        })
        .unwrap(),
    );
    let refused = pool.start_with(&ctx, || 5).unwrap_err();
    assert_eq!(refused.reason, StartRefused::WaitCtxBusy);
    assert_eq!((refused.into_closure())(), 5);
    job.resume().finished().unwrap();
    assert_eq!(pool.start_with(&ctx, || 5).unwrap().finished(), Some(5));
}

#[test]
fn l10_a_panic_goes_to_the_resumer_and_the_pool_lives_on() {
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let job = paused(
        pool.start(|| {
            let _ = pause();
            std::panic::resume_unwind(Box::new("mine"));
        })
        .unwrap(),
    );
    let payload = catch_unwind(AssertUnwindSafe(|| drop(job.resume()))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"mine"));
    assert!(current().is_none());
    assert_eq!(pool.stats().live, 0);
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
}

#[test]
fn l5_the_paused_call_of_a_cancelled_job_says_so() {
    let pool = JobPool::new();
    let job = paused(pool.start(|| pause()).unwrap());
    assert_eq!(job.cancel(), Some(Pause::Cancelled));
    assert_eq!(pool.stats().cancelled, 1);
}

#[test]
fn l5_a_second_pause_of_a_cancelled_job_unwinds_it() {
    struct Noted(Rc<Cell<u32>>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let pool = JobPool::new();
    let drops = Rc::new(Cell::new(0));
    let noted = Noted(Rc::clone(&drops));
    let job = paused(
        pool.start(move || {
            let _noted = noted;
            loop {
                let _ = pause();
            }
        })
        .unwrap(),
    );
    drop(job);
    assert_eq!(drops.get(), 1);
    let stats = pool.stats();
    assert_eq!((stats.live, stats.idle, stats.cancelled, stats.quarantined), (0, 1, 1, 0));
}
