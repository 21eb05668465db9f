//! Cancelling a paused job, by call and by drop.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use job_core::{JobPool, Pause, WaitForError, current, pause, wait_for};

use crate::{paused, start_paused};

/// Runs its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Goes on pausing after it was cancelled.
fn pause_for_ever() {
    for _ in 0..1000 {
        let _ = pause();
    }
}

/// A pool that unwinds cancelled jobs that pause again.
fn unwinding() -> JobPool {
    JobPool::builder().unwind(true).build().unwrap()
}

/// A value that counts its drop.
fn counting(count: &Rc<Cell<u32>>) -> impl Drop + 'static {
    let count = Rc::clone(count);
    OnDrop(move || count.set(count.get() + 1))
}

#[test]
fn l5_the_paused_call_of_a_cancelled_job_returns_cancelled() {
    let pool = JobPool::new();
    let job = start_paused(&pool, pause);
    assert_eq!(job.cancel(), Some(Pause::Cancelled));
    assert_eq!(pool.stats().cancelled, 1);
}

#[test]
fn l5_cancelled_is_sticky() {
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        assert!(!current().unwrap().is_cancelled());
        assert_eq!(pause(), Pause::Cancelled);
        for _ in 0..10 {
            assert!(current().unwrap().is_cancelled());
            assert_eq!(wait_for(std::future::pending::<()>()), Err(WaitForError::Cancelled));
        }
        1
    });
    assert_eq!(job.cancel(), Some(1));
}

#[test]
fn l5_in_a_pool_that_unwinds_a_second_pause_of_a_cancelled_job_unwinds_it() {
    let pool = unwinding();
    let drops = Rc::new(Cell::new(0));
    let marker = counting(&drops);
    let job = start_paused(&pool, move || {
        let _marker = marker;
        pause_for_ever();
    });
    drop(job);
    assert_eq!(drops.get(), 1);
    let stats = pool.stats();
    assert_eq!((stats.live, stats.idle, stats.cancelled, stats.quarantined), (0, 1, 1, 0));
    assert_eq!((stats.swallowed_panics, stats.swallowed_unwinds), (0, 0));
}

#[test]
fn l5_dropping_at_every_pause_runs_every_destructor_once() {
    const PAUSES: usize = 6;
    for (ignores, unwind) in [(false, false), (true, false), (false, true), (true, true)] {
        let pool = JobPool::builder().max_jobs(1).unwind(unwind).build().unwrap();
        for dropped_at in 0..PAUSES {
            let drops = Rc::new(Cell::new(0));
            let theirs = Rc::clone(&drops);
            let mut job = start_paused(&pool, move || {
                let mut markers = Vec::new();
                for _ in 0..PAUSES {
                    markers.push(counting(&theirs));
                    if pause() == Pause::Cancelled && !ignores {
                        return;
                    }
                }
            });
            for _ in 0..dropped_at {
                job = paused(job.resume());
            }
            assert_eq!(drops.get(), 0);
            drop(job);
            let made = match (ignores, unwind) {
                (false, _) => dropped_at + 1,
                // It runs to its end.
                (true, false) => PAUSES,
                // It is unwound at its next pause.
                (true, true) => (dropped_at + 2).min(PAUSES),
            };
            assert_eq!((drops.get() as usize, pool.stats().live), (made, 0));
        }
    }
}

#[test]
fn l10_a_panic_while_being_cancelled_is_swallowed_and_counted() {
    let pool = JobPool::new();
    let body = || {
        let _ = pause();
        resume_unwind(Box::new("while cancelled"));
    };
    drop(pool.start::<_, ()>(body).unwrap());
    assert_eq!(start_paused::<()>(&pool, body).cancel(), None);
    assert_eq!(pool.stats().swallowed_panics, 2);
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
}

#[test]
fn l10_panics_of_destructors_do_not_escape_a_drop() {
    let boom = || OnDrop(|| resume_unwind(Box::new("dropped")));
    let pool = JobPool::new();
    // The value of the job.
    drop(
        pool.start(move || {
            let _ = pause();
            boom()
        })
        .unwrap(),
    );
    assert_eq!(pool.stats().swallowed_panics, 1);
    // A value stored with the job.
    drop(
        pool.start(move || {
            current().unwrap().set_local(boom());
            pause()
        })
        .unwrap(),
    );
    assert_eq!(pool.stats().swallowed_panics, 2);
    // The payload of its panic, which must be `Send`.
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            resume_unwind(Box::new("payload"));
        }
    }
    drop(
        pool.start::<_, ()>(|| {
            let _ = pause();
            resume_unwind(Box::new(Payload));
        })
        .unwrap(),
    );
    assert_eq!(pool.stats().swallowed_panics, 3);
    assert_eq!(pool.stats().live, 0);
}

#[test]
fn l5_a_job_that_catches_the_unwind_and_returns_keeps_its_value() {
    let pool = unwinding();
    let job = start_paused(&pool, || {
        let _ = pause();
        catch_unwind(|| {
            let _ = pause();
        })
        .is_err()
    });
    assert_eq!(job.cancel(), Some(true));
    assert_eq!((pool.stats().swallowed_unwinds, pool.stats().quarantined), (1, 0));
}

#[test]
fn l5_a_job_that_catches_every_unwind_is_quarantined() {
    let pool = JobPool::builder().max_jobs(1).unwind(true).build().unwrap();
    let drops = Rc::new(Cell::new(0));
    let marker = counting(&drops);
    let job = start_paused(&pool, move || {
        let _marker = marker;
        for _ in 0..1000 {
            let _ = catch_unwind(pause);
        }
    });
    drop(job);
    let stats = pool.stats();
    assert_eq!((stats.live, stats.created, stats.quarantined), (0, 0, 1));
    assert_eq!((stats.swallowed_unwinds, drops.get()), (3, 0));
    // The pool has room again.
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
}

#[test]
fn l5_a_cancelled_job_that_pauses_again_gets_the_same_answer_and_ends_by_itself() {
    let pool = JobPool::new();
    let drops = Rc::new(Cell::new(0));
    let marker = counting(&drops);
    drop(
        pool.start(move || {
            let _marker = marker;
            pause_for_ever();
        })
        .unwrap(),
    );
    let stats = pool.stats();
    assert_eq!((drops.get(), stats.cancelled, stats.quarantined), (1, 1, 0));
    assert_eq!((stats.swallowed_panics, stats.swallowed_unwinds), (0, 0));
}

#[test]
fn l5_a_job_that_retries_for_ever_is_ended() {
    for (unwind, by_pause) in [(false, false), (false, true), (true, false)] {
        let pool = JobPool::builder().max_jobs(1).unwind(unwind).build().unwrap();
        let tries = Rc::new(Cell::new(0_u32));
        let theirs = Rc::clone(&tries);
        let retry = move || {
            let cancelled = if by_pause {
                pause() == Pause::Cancelled
            } else {
                wait_for(std::future::pending::<()>()).is_err()
            };
            theirs.set(theirs.get() + u32::from(cancelled));
            cancelled
        };
        drop(pool.start(move || while retry() {}).unwrap());
        assert_eq!(tries.get(), 4097, "4,096 after the pause that was cancelled");
        let stats = pool.stats();
        assert_eq!((stats.live, stats.quarantined), (0, u64::from(!unwind)));
        // The pool has room again.
        assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
    }
}

#[test]
fn l5_a_drop_during_a_panic_ends_the_job() {
    let pool = unwinding();
    let polite = start_paused(&pool, pause);
    let answers = Rc::new(Cell::new(0));
    let counted = Rc::clone(&answers);
    let asks = move || {
        while pause() == Pause::Cancelled {
            counted.set(counted.get() + 1);
        }
    };
    let stubborn = start_paused(&pool, asks);
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _jobs = (polite, stubborn);
        resume_unwind(Box::new("outside"));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"outside"));
    // The stubborn one was not unwound: whether it unwinds already could not be seen.
    let stats = pool.stats();
    assert_eq!((stats.live, stats.cancelled, stats.quarantined), (0, 2, 1));
    assert_eq!(answers.get(), 4097, "including that of the cancelled pause");
    assert!(!std::thread::panicking());
}

#[test]
fn l5_a_panic_of_the_job_dropped_during_a_panic_does_not_abort() {
    let pool = JobPool::new();
    let job = start_paused::<()>(&pool, || {
        let _ = pause();
        resume_unwind(Box::new("inside"));
    });
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _job = job;
        resume_unwind(Box::new("outside"));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"outside"));
    assert_eq!(pool.stats().swallowed_panics, 1);
    assert!(!std::thread::panicking());
}

#[test]
fn l11_a_destructor_of_an_unwinding_job_does_not_pause() {
    let pool = unwinding();
    let seen = Rc::new(Cell::new(None));
    let theirs = Rc::clone(&seen);
    let job = start_paused(&pool, move || {
        let _pauses = OnDrop(move || theirs.set(Some(pause())));
        pause_for_ever();
    });
    drop(job);
    assert_eq!(seen.get(), Some(Pause::Panicking));
    assert_eq!(pool.stats().quarantined, 0);
}

#[test]
fn l5_dropping_a_job_drops_the_jobs_nested_in_it() {
    let pool = JobPool::new();
    let drops = Rc::new(Cell::new(0));
    let (inner_pool, inner_drops) = (pool.clone(), Rc::clone(&drops));
    let job = start_paused(&pool, move || {
        let marker = counting(&inner_drops);
        let inner = start_paused(&inner_pool, move || {
            let _marker = marker;
            pause()
        });
        if pause() == Pause::Resumed {
            drop(inner.resume())
        }
    });
    assert_eq!(pool.stats().live, 2);
    drop(job);
    assert_eq!((drops.get(), pool.stats().live), (1, 0));
}

#[test]
fn l5_a_job_dropped_at_thread_exit_is_cancelled() {
    use std::cell::RefCell;
    use std::sync::mpsc;

    thread_local!(static KEPT: RefCell<Vec<job_core::Job<()>>> = const { RefCell::new(Vec::new()) });

    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let pool = JobPool::new();
        let job = start_paused(&pool, move || sender.send(pause()).unwrap());
        KEPT.with_borrow_mut(|kept| kept.push(job));
    })
    .join()
    .unwrap();
    assert_eq!(receiver.recv(), Ok(Pause::Cancelled));
}

#[test]
fn a_job_whose_frames_are_forgotten_does_not_run_again_and_gives_its_stack_back() {
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let runs = Rc::new(Cell::new(0));
    for round in 1..=100 {
        let runs = Rc::clone(&runs);
        let job = start_paused(&pool, move || {
            runs.set(runs.get() + 1);
            let _ = pause();
            runs.set(1000);
        });
        // SAFETY: the count on the job's stack may leak.
        #[allow(unsafe_code, reason = "the function under test")]
        unsafe {
            job.forget_frames();
        }
        assert_eq!((pool.stats().live, pool.stats().cancelled), (0, round));
    }
    assert_eq!((runs.get(), pool.stats().created), (100, 1));
    assert_eq!(Rc::strong_count(&runs), 101);
}
