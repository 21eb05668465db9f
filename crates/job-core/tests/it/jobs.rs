//! Starting, pausing, resuming, ending.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::{paused, start_paused};
use job_core::{JobPool, Pause, StartRefused, Step, WaitCtx, current, on_parent_stack, pause};

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
fn a_nested_job_pauses_to_its_resumer() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let outer = start_paused(&pool, move || {
        let outer_id = current().unwrap().id();
        let inner = start_paused(&inner_pool, move || {
            assert_ne!(current().unwrap().id(), outer_id);
            assert_eq!(pause(), Pause::Resumed);
            assert_eq!(pause(), Pause::Resumed);
            1
        });
        assert_eq!(current().unwrap().id(), outer_id);
        let inner = paused(inner.resume());
        assert_eq!(pause(), Pause::Resumed);
        inner
    });
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
fn l10_a_panic_goes_to_the_resumer_and_the_pool_still_works() {
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let job = start_paused(&pool, || {
        let _ = pause();
        std::panic::resume_unwind(Box::new("mine"));
    });
    let payload = catch_unwind(AssertUnwindSafe(|| drop(job.resume()))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"mine"));
    assert!(current().is_none());
    assert_eq!(pool.stats().live, 0);
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
}

#[test]
fn l6_a_job_resumes_on_the_thread_that_started_it() {
    let here = std::thread::current().id();
    let pool = JobPool::new();
    let job = start_paused(&pool, move || {
        assert_eq!(std::thread::current().id(), here);
        let _ = pause();
        assert_eq!(std::thread::current().id(), here);
    });
    // A second pool on a second thread is independent.
    std::thread::spawn(|| {
        assert!(current().is_none());
        let pool = JobPool::new();
        let job = start_paused(&pool, pause);
        assert_eq!(job.resume().finished(), Some(Pause::Resumed));
    })
    .join()
    .unwrap();
    job.resume().finished().unwrap();
}

#[test]
fn a_job_keeps_its_id_and_no_other_job_gets_it() {
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        let before = current().unwrap().id();
        let _ = pause();
        (before, current().unwrap().id())
    });
    let id = job.id();
    assert_eq!(job.resume().finished(), Some((id, id)));
    let next = pool.start(|| current().unwrap().id()).unwrap().finished().unwrap();
    assert_ne!(next, id);
    let elsewhere = JobPool::new().start(|| current().unwrap().id()).unwrap().finished().unwrap();
    assert_ne!(elsewhere, next);
}

#[test]
fn l7_resumes_are_counted_per_job_and_per_pool() {
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        let _ = pause();
        let _ = pause();
        current().unwrap().resumes()
    });
    assert_eq!(job.resumes(), 1);
    let job = paused(job.resume());
    assert_eq!(job.resumes(), 2);
    assert_eq!(job.resume().finished(), Some(3));
    assert_eq!(pool.stats().resumes, 3);
}

#[test]
fn the_pool_outlives_its_handles_while_a_job_is_live() {
    let pool = JobPool::new();
    let job = start_paused(&pool, pause);
    drop(pool);
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn pools_of_one_thread_are_independent() {
    let (full, other) = (JobPool::builder().max_jobs(1).build().unwrap(), JobPool::new());
    let job = start_paused(&full, pause);
    let refused = full.start(|| ()).unwrap_err();
    assert_eq!(refused.reason, StartRefused::NoJobs { max_jobs: 1 });
    let others = start_paused(&other, pause);
    assert_eq!((full.stats().live, other.stats().live), (1, 1));
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
    drop(full);
    assert_eq!(other.stats().live, 1);
    assert_eq!(others.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn a_wait_context_is_free_again_after_cancel_and_after_panic() {
    let pool = JobPool::new();
    let ctx = WaitCtx::new();
    drop(pool.start_with(&ctx, pause).unwrap());
    let panicking = || pool.start_with(&ctx, || std::panic::resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(|| drop::<Step<()>>(panicking().unwrap()))).is_err());
    assert_eq!(pool.start_with(&ctx, || 1).unwrap().finished(), Some(1));
}

#[test]
fn errors_name_the_remedy() {
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let _job = pool.start(pause).unwrap();
    let refused = pool.start(|| ()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "job not started: all 1 jobs of the pool are live: end one, or raise max_jobs"
    );
    assert_eq!(
        JobPool::builder().stack_size(1).build().unwrap_err().to_string(),
        "stack_size is 1 bytes: choose one between 16384 and 1099511627776"
    );
    assert!(JobPool::builder().max_jobs(0).build().is_err());
}

#[test]
fn the_stats_of_a_pool_are_right_also_inside_its_jobs() {
    let pool = JobPool::new();
    let waiting = start_paused(&pool, pause);
    let asked = pool.clone();
    let inside = pool.start(move || asked.stats()).unwrap().finished().unwrap();
    assert_eq!((inside.live, inside.paused, inside.stacks_in_use), (2, 1, 2));
    assert_eq!(waiting.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn a_process_is_capable_if_its_pools_start_jobs() {
    assert_eq!(job_core::is_capable(), JobPool::new().start(|| ()).is_ok());
}
