//! Jobs that enter a runtime of tokio, which marks its thread for as long.

use std::panic::{AssertUnwindSafe, catch_unwind};

use job_core::{JobPool, Pause, WaitForError, block_pause, pause, wait_for};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::paused;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// A pool whose jobs do not pause where they have entered a runtime.
fn careful() -> JobPool {
    JobPool::builder().may_pause(|| Handle::try_current().is_err()).build().unwrap()
}

/// What a job saw that paused in a runtime and outside.
type Answers = (Pause, Pause, Pause);

fn enters(handle: Handle) -> impl FnOnce() -> Answers + 'static {
    move || {
        let in_block_on = handle.block_on(async { pause() });
        let entered = handle.enter();
        let under_enter = pause();
        drop(entered);
        (in_block_on, under_enter, pause())
    }
}

#[test]
fn a_job_parked_inside_block_on_makes_the_next_one_panic() {
    // Why the pool of the other tests has a check.
    let runtime = runtime();
    let pool = JobPool::new();
    let first = paused(pool.start(enters(runtime.handle().clone())).unwrap());
    let second = || pool.start(enters(runtime.handle().clone())).map(drop).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(second)).is_err());
    // The first is not harmed: it returns from `block_on`, and is cancelled outside.
    let first = paused(first.resume());
    drop(first);
    assert_eq!((pool.stats().live, pool.stats().quarantined), (0, 0));
}

#[test]
fn l11_a_pool_with_a_check_pauses_only_where_the_check_allows_it() {
    let runtime = runtime();
    let pool = careful();
    // Both are under way at once, in the same places.
    let jobs = [(); 2].map(|()| paused(pool.start(enters(runtime.handle().clone())).unwrap()));
    for job in jobs {
        assert_eq!(job.resumes(), 1, "it paused once, outside");
        let answers = job.resume().finished();
        assert_eq!(answers, Some((Pause::Blocked, Pause::Blocked, Pause::Resumed)));
    }
}

#[test]
fn l11_wait_for_says_that_it_is_refused_inside_a_runtime() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let refused = careful()
        .start(move || handle.block_on(async { wait_for(std::future::pending::<()>()) }))
        .unwrap()
        .finished();
    assert_eq!(refused, Some(Err(WaitForError::Blocked)));
    assert!(WaitForError::Blocked.to_string().contains("runtime"));
}

#[test]
fn l11_a_block_does_the_same_without_a_check() {
    let runtime = runtime();
    let pool = JobPool::new();
    for _ in 0..2 {
        let handle = runtime.handle().clone();
        let blocked = pool.start(move || {
            let _block = block_pause();
            handle.block_on(async { pause() })
        });
        assert_eq!(blocked.unwrap().finished(), Some(Pause::Blocked));
    }
}

#[test]
fn l5_a_cancelled_job_is_told_so_inside_a_runtime() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let job =
        paused(careful().start(move || (pause(), handle.block_on(async { pause() }))).unwrap());
    assert_eq!(job.cancel(), Some((Pause::Cancelled, Pause::Cancelled)));
}
