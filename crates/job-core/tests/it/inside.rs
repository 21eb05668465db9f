//! Calls made inside a job: pause blocks, stored values, the parent's stack.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use job_core::{BlockGuard, JobPool, Pause, block_pause, current, on_parent_stack, pause};
use proptest::prelude::*;

use crate::start_paused;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Guards nest and may be dropped in any order; a pause takes effect exactly at depth 0.
    #[test]
    fn l11_a_pause_takes_effect_exactly_when_no_block_is_in_force(
        ops in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..40)
    ) {
        let pool = JobPool::new();
        let body = move || {
            let mut guards: Vec<BlockGuard> = Vec::new();
            let mut effective = 0_u64;
            for (block, which) in ops {
                if block {
                    guards.push(block_pause());
                } else if !guards.is_empty() {
                    drop(guards.swap_remove(which.index(guards.len())));
                }
                assert_eq!(current().unwrap().is_blocked(), !guards.is_empty());
                let expected = if guards.is_empty() { Pause::Resumed } else { Pause::Blocked };
                assert_eq!(pause(), expected);
                effective += u64::from(guards.is_empty());
            }
            // A job may end while it is blocked.
            std::mem::forget(guards);
            effective
        };
        let mut step = pool.start(body).unwrap();
        let mut pauses = 0;
        let effective = loop {
            match step {
                job_core::Step::Paused(job) => {
                    pauses += 1;
                    step = job.resume();
                }
                job_core::Step::Finished(effective) => break effective,
            }
        };
        prop_assert_eq!(pauses, effective);
        // The next job starts without a block.
        let next = start_paused(&pool, pause);
        prop_assert_eq!(next.resume().finished(), Some(Pause::Resumed));
    }
}

#[test]
fn l11_a_block_belongs_to_the_job_it_was_made_in() {
    let pool = JobPool::new();
    // Outside a job it has no effect on the next one.
    let outside = block_pause();
    let shared = Rc::new(Cell::new(None));
    let theirs = Rc::clone(&shared);
    let job = start_paused(&pool, move || {
        let _ = pause();
        theirs.set(Some(block_pause()));
        pause()
    });
    drop(outside);
    assert_eq!(job.resume().finished(), Some(Pause::Blocked));
    // Its guard outlives it, and does not affect other jobs.
    let other = start_paused(&pool, pause);
    drop(shared.take());
    assert_eq!(other.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn l11_a_nested_job_pauses_though_the_one_around_it_is_blocked() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let answers = pool
        .start(move || {
            let _block = block_pause();
            let inner = start_paused(&inner_pool, pause);
            (pause(), inner.resume().finished())
        })
        .unwrap()
        .finished();
    assert_eq!(answers, Some((Pause::Blocked, Some(Pause::Resumed))));
}

#[test]
fn values_stored_with_a_job_are_its_own() {
    #[derive(Debug, PartialEq)]
    struct Name(&'static str);

    let pool = JobPool::new();
    let start = |name| {
        start_paused(&pool, move || {
            let me = current().unwrap();
            assert_eq!(me.local::<Name>(), None);
            assert_eq!(me.set_local(Name(name)), None);
            me.set_local(7_u32);
            let _ = pause();
            assert_eq!(me.local::<Name>().as_deref(), Some(&Name(name)));
            let old = me.set_local(Name("new"));
            (old.unwrap().0, me.local::<u32>().as_deref().copied())
        })
    };
    let (a, b) = (start("a"), start("b"));
    assert_eq!(a.resume().finished(), Some(("a", Some(7))));
    assert_eq!(b.resume().finished(), Some(("b", Some(7))));
}

#[test]
fn a_handle_to_the_current_job_finds_it_only_while_it_runs() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let stale = Rc::new(Cell::new(None));
    let theirs = Rc::clone(&stale);
    let job = start_paused(&pool, move || {
        let outer = current().unwrap();
        outer.set_local(1_u8);
        theirs.set(Some(outer));
        // It counts as running while a job nested in it runs.
        let seen = inner_pool.start(move || {
            (outer.local::<u8>().as_deref().copied(), current().unwrap().local::<u8>())
        });
        assert_eq!(seen.unwrap().finished(), Some((Some(1), None)));
        let _ = pause();
    });
    let current_then = stale.get().unwrap();
    assert_eq!(current_then.id(), job.id());
    assert_eq!((current_then.local::<u8>(), current_then.resumes()), (None, 0));
    assert!(!current_then.is_cancelled() && !current_then.is_blocked());
    job.resume().finished().unwrap();
    assert!(current_then.wait_ctx().is_none());
}

#[test]
fn l11_on_the_parents_stack_there_is_no_current_job_and_no_pause() {
    let pool = JobPool::new();
    let on_job = |address: usize, near: usize| address.abs_diff(near) < 128 * 1024;
    let job = start_paused(&pool, move || {
        let here = 0_u8;
        let here = &raw const here as usize;
        let (there, seen, answer, nested) = on_parent_stack(|| {
            let local = 0_u8;
            let answer = pause();
            let nested = on_parent_stack(pause);
            (&raw const local as usize, current(), answer, nested)
        });
        assert!(!on_job(there, here));
        assert_eq!((seen, answer, nested), (None, Pause::Blocked, Pause::Blocked));
        assert!(current().is_some());
        pause()
    });
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn jobs_run_on_the_parents_stack() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let answers = pool
        .start(move || {
            on_parent_stack(|| {
                let inner = start_paused(&inner_pool, pause);
                (inner.resume().finished(), pause())
            })
        })
        .unwrap()
        .finished();
    assert_eq!(answers, Some((Some(Pause::Resumed), Pause::Blocked)));
}

#[test]
fn l10_a_panic_on_the_parents_stack_comes_back_into_the_job() {
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        let caught =
            catch_unwind(AssertUnwindSafe(|| on_parent_stack(|| resume_unwind(Box::new("there")))));
        let payload: Box<dyn std::any::Any + Send> = caught.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"there"));
        pause()
    });
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
}
