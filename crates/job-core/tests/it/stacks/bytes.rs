//! The bytes on stacks after jobs have ended.

use std::cell::Cell;
use std::rc::Rc;

use job_core::{Job, JobPool, Pause, pause};

use super::frames::Frames;
use super::secret::{self, in_jobs, remaining};
use super::stack_address;
use crate::start_paused;

/// Functions that leave a secret below a gap within a page, of some pages, and of most of the stack.
const BELOW_GAPS: [fn() -> usize; 3] =
    [secret::leave::<2048>, secret::leave::<{ 24 << 10 }>, secret::leave::<{ 200 << 10 }>];

/// A pool in which only shallow jobs have run, and a live job, which keeps the reservation mapped.
fn pool() -> (JobPool, Job<Pause>) {
    let pool = JobPool::new();
    let keep = start_paused(&pool, pause);
    for _ in 0..2 {
        for job in [(); 2].map(|()| start_paused(&pool, pause)) {
            assert_eq!(job.resume().finished(), Some(Pause::Resumed));
        }
    }
    (pool, keep)
}

#[test]
fn a_wipe_on_request_reaches_every_idle_stack_below_any_gap() {
    for leave in BELOW_GAPS {
        let (pool, _keep) = pool();
        let secrets: [_; 4] = in_jobs(&pool, leave);
        assert!(secrets.iter().any(|&at| remaining(at) == secret::SIZE), "nothing to wipe");
        pool.wipe();
        assert_eq!(secrets.map(remaining), [0; 4]);
    }
}

#[test]
fn shrinking_empties_every_idle_stack() {
    for leave in BELOW_GAPS {
        let (pool, _keep) = pool();
        let secrets: [_; 4] = in_jobs(&pool, leave);
        assert_eq!(pool.shrink(), 0);
        assert_eq!(secrets.map(remaining), [0; 4]);
    }
}

#[test]
fn what_a_gap_hid_on_an_idle_stack_is_gone_after_256_returns() {
    for leave in BELOW_GAPS {
        let (pool, _keep) = pool();
        let secrets: [_; 4] = in_jobs(&pool, leave);
        // One at a time, all on the stack that came back last, which is only wiped on request.
        for _ in 0..256 {
            pool.start(|| ()).unwrap().finished().unwrap();
        }
        assert_eq!(secrets.map(remaining)[..3], [0; 3]);
        pool.wipe();
        assert_eq!(secrets.map(remaining), [0; 4]);
    }
}

#[test]
fn what_forgotten_frames_hold_is_gone_before_the_next_job_also_where_stacks_are_not_wiped() {
    for wipes in [true, false] {
        for leave in BELOW_GAPS {
            let pool = JobPool::builder().wipe_stacks(wipes).build().unwrap();
            let _keep = start_paused(&pool, pause);
            let at = Rc::new(Cell::new(0));
            let job = start_paused(&pool, {
                let at = Rc::clone(&at);
                move || {
                    at.set(leave());
                    pause()
                }
            });
            assert_eq!(remaining(at.get()), secret::SIZE);
            // SAFETY: the count on the job's stack may leak.
            #[allow(unsafe_code, reason = "the function under test")]
            unsafe {
                job.forget_frames();
            }
            assert_eq!(remaining(at.get()), 0);
        }
    }
}

#[test]
fn what_compiled_c_leaves_below_pages_it_never_touched_is_gone_too() {
    let Some(frames) = Frames::load() else { return };
    let (pool, _keep) = pool();
    let job = || start_paused(&pool, move || pause_and(|| frames.leave_secret()));
    let secrets = [job(), job(), job()].map(|job| job.resume().finished().unwrap());
    for _ in 0..256 {
        pool.start(|| ()).unwrap().finished().unwrap();
    }
    assert_eq!(secrets.map(remaining)[..2], [0; 2]);
    assert!(pool.stats().stack_high_water > 100 << 10);
    pool.wipe();
    assert_eq!(secrets.map(remaining), [0; 3]);
}

fn pause_and<T>(then: impl FnOnce() -> T) -> T {
    let _ = pause();
    then()
}

#[test]
fn the_high_water_mark_is_at_most_256_returns_behind_also_when_jobs_come_one_at_a_time() {
    for leave in BELOW_GAPS {
        let (pool, _keep) = pool();
        // The first call of `stats` scans the whole stack; this test is about later ones.
        let _ = pool.stats();
        let (top, at) = pool.start(move || (stack_address(), leave())).unwrap().finished().unwrap();
        for _ in 0..256 {
            pool.start(|| ()).unwrap().finished().unwrap();
        }
        let after = pool.stats().stack_high_water;
        let least = top - at;
        assert!((least..least + 4096).contains(&after), "{after} after a job that took {least}");
    }
}
