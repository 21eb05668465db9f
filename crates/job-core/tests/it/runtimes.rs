//! Jobs that enter a tokio runtime, which marks its thread as busy until they leave it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use job_core::{JobPool, Pause, WaitForError, block_pause, pause, wait_for};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{paused, start_paused};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// A pool whose jobs do not pause where they have entered a runtime.
fn careful() -> JobPool {
    JobPool::builder().may_pause(|| Handle::try_current().is_err()).build().unwrap()
}

/// The answers to pauses in `block_on`, under `enter`, and outside.
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
    // The reason for the check in the pool of the other tests.
    let runtime = runtime();
    let pool = JobPool::new();
    let first = start_paused(&pool, enters(runtime.handle().clone()));
    let second = || pool.start(enters(runtime.handle().clone())).map(drop).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(second)).is_err());
    // The first is not affected: it returns from `block_on`, and is cancelled outside.
    let first = paused(first.resume());
    drop(first);
    assert_eq!((pool.stats().live, pool.stats().quarantined), (0, 0));
}

#[test]
fn l11_a_pool_with_a_check_pauses_only_where_the_check_allows_it() {
    let runtime = runtime();
    let pool = careful();
    // Both run at the same time, in the same places.
    let jobs = [(); 2].map(|()| start_paused(&pool, enters(runtime.handle().clone())));
    for job in jobs {
        assert_eq!(job.resumes(), 1, "it paused once, outside");
        let answers = job.resume().finished();
        assert_eq!(answers, Some((Pause::Blocked, Pause::Blocked, Pause::Resumed)));
    }
}

#[test]
fn l11_wait_for_is_refused_inside_a_runtime() {
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
fn l5_a_pause_of_a_cancelled_job_inside_a_runtime_returns_cancelled() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let job = start_paused(&careful(), move || (pause(), handle.block_on(async { pause() })));
    assert_eq!(job.cancel(), Some((Pause::Cancelled, Pause::Cancelled)));
}
