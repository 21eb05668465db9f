//! Calls on the thread's own stack from nested jobs, and foreign code, which runs there.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use job_core::{JobPool, Pause, current, on_job_stack, on_parent_stack, on_thread_stack, pause};
use wait_ctx::contain;

use crate::{paused, start_paused};

/// An address on the current stack.
#[inline(never)]
fn address() -> usize {
    let local = 0_u8;
    core::hint::black_box(&raw const local) as usize
}

/// Whether two addresses are on the same stack. Stacks of jobs and threads are further apart.
fn near(a: usize, b: usize) -> bool {
    a.abs_diff(b) < 128 * 1024
}

#[test]
fn l4_the_threads_stack_is_reached_from_a_job_in_a_job_in_a_job() {
    let thread = address();
    let pool = JobPool::new();
    let (second, third) = (pool.clone(), pool.clone());
    let job = start_paused(&pool, move || {
        let outer = second.start(move || {
            let inner = third.start(move || {
                assert!(on_job_stack() && !near(address(), thread));
                assert!(on_parent_stack(on_job_stack), "the parent is a job as well");
                let seen = on_thread_stack(|| {
                    let nested = on_thread_stack(address);
                    (address(), nested, on_job_stack(), current(), pause())
                });
                assert!(near(seen.0, thread) && near(seen.1, thread));
                assert_eq!((seen.2, seen.3, seen.4), (false, None, Pause::Blocked));
                let way_down = on_parent_stack(|| on_thread_stack(address));
                assert!(near(way_down, thread));
                assert!(on_job_stack() && current().is_some());
                pause()
            });
            let inner = paused(inner.unwrap());
            assert_eq!(inner.resume().finished(), Some(Pause::Resumed));
            pause()
        });
        let outer = paused(outer.unwrap());
        assert_eq!(outer.resume().finished(), Some(Pause::Resumed));
        pause()
    });
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
    assert!(!on_job_stack());
    assert!(near(on_thread_stack(address), thread), "outside a job it is a plain call");
}

#[test]
fn l4_jobs_that_run_on_the_threads_stack_pause_and_leave_theirs_in_turn() {
    let pool = JobPool::new();
    let inner_pool = pool.clone();
    let answers = pool
        .start(move || {
            on_thread_stack(|| {
                let inner = inner_pool.start(|| {
                    assert!(on_job_stack() && !on_thread_stack(on_job_stack));
                    pause()
                });
                let answer = paused(inner.unwrap()).resume().finished();
                (answer, pause(), on_job_stack())
            })
        })
        .unwrap()
        .finished();
    assert_eq!(answers, Some((Some(Pause::Resumed), Pause::Blocked, false)));
}

#[test]
fn l10_a_panic_on_the_threads_stack_comes_back_into_the_job() {
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        let there = || on_thread_stack(|| resume_unwind(Box::new("there")));
        let payload: Box<dyn std::any::Any + Send> =
            catch_unwind(AssertUnwindSafe(there)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"there"));
        assert!(on_job_stack());
        pause()
    });
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn l4_foreign_code_is_contained_on_the_threads_stack() {
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        let seen = contain("a test", || (on_job_stack(), pause()));
        assert_eq!(seen, Ok((false, Pause::Blocked)));
        let panicked = contain("a test", || resume_unwind(Box::new("there"))).unwrap_err();
        let () = assert_eq!(panicked.to_string(), "a test panicked: there");
        pause()
    });
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
}
