//! What lies on stacks after jobs have ended: looked at with our own eyes, byte by byte.

use std::hint::black_box;
use std::mem::MaybeUninit;

use job_core::{Job, JobPool, Pause, pause};

use super::frames::Frames;
use super::here;
use crate::paused;

/// Bytes of a secret.
const SECRET: usize = 64;

/// Leaves a secret at the lower end of a frame of `N` bytes that is not written otherwise, and says
/// where.
#[inline(never)]
fn leave_secret<const N: usize>() -> usize {
    let mut frame = MaybeUninit::<[u8; N]>::uninit();
    let lowest = frame.as_mut_ptr().cast::<u8>();
    for nth in 0..SECRET {
        // SAFETY: within the frame.
        let byte = unsafe { lowest.add(nth) };
        // SAFETY: as above.
        unsafe { byte.write_volatile(0x5A) };
    }
    black_box(&frame);
    lowest.expose_provenance()
}

/// How much of a secret is there.
fn seen(at: usize) -> usize {
    let is_there = |nth| {
        let byte = std::ptr::with_exposed_provenance::<u8>(at + nth);
        // SAFETY: memory of a stack of a pool that is alive, and no job is on it.
        unsafe { byte.read_volatile() == 0x5A }
    };
    (0..SECRET).filter(|&nth| is_there(nth)).count()
}

/// Gaps within a page, over some pages, and over most of the stack.
fn shapes() -> Vec<fn() -> usize> {
    vec![leave_secret::<2048>, leave_secret::<{ 24 << 10 }>, leave_secret::<{ 200 << 10 }>]
}

/// A pool that has seen shallow jobs only, and one that stays, so that no reservation goes.
fn pool() -> (JobPool, Job<Pause>) {
    let pool = JobPool::new();
    let keep = paused(pool.start(pause).unwrap());
    for _ in 0..2 {
        for job in [(); 2].map(|()| paused(pool.start(pause).unwrap())) {
            assert_eq!(job.resume().finished(), Some(Pause::Resumed));
        }
    }
    (pool, keep)
}

/// Has four jobs leave a secret each, all at the same time; where, in the order they ended.
fn secrets(pool: &JobPool, leave: fn() -> usize) -> [usize; 4] {
    let start = || {
        paused(
            pool.start(move || {
                let _ = pause();
                leave()
            })
            .unwrap(),
        )
    };
    [(); 4].map(|()| start()).map(|job| job.resume().finished().unwrap())
}

#[test]
fn a_wipe_on_request_reaches_every_idle_stack_below_any_gap() {
    for leave in shapes() {
        let (pool, _keep) = pool();
        let secrets = secrets(&pool, leave);
        assert!(secrets.iter().any(|&at| seen(at) == SECRET), "there was something to wipe");
        pool.wipe();
        assert_eq!(secrets.map(seen), [0; 4]);
    }
}

#[test]
fn shrinking_empties_every_idle_stack() {
    for leave in shapes() {
        let (pool, _keep) = pool();
        let secrets = secrets(&pool, leave);
        assert_eq!(pool.shrink(), 0);
        assert_eq!(secrets.map(seen), [0; 4]);
    }
}

#[test]
fn what_a_gap_hid_on_an_idle_stack_is_gone_after_64_returns() {
    for leave in shapes() {
        let (pool, _keep) = pool();
        let secrets = secrets(&pool, leave);
        // One at a time, all on the stack that came back last; that one is wiped on request only.
        for _ in 0..64 {
            pool.start(|| ()).unwrap().finished().unwrap();
        }
        assert_eq!(secrets.map(seen)[..3], [0; 3]);
        pool.wipe();
        assert_eq!(secrets.map(seen), [0; 4]);
    }
}

#[test]
fn what_compiled_c_leaves_below_pages_it_never_touched_is_gone_too() {
    let Some(frames) = Frames::load() else { return };
    let (pool, _keep) = pool();
    let job = || paused(pool.start(move || pause_and(|| frames.leave_secret())).unwrap());
    let secrets = [job(), job(), job()].map(|job| job.resume().finished().unwrap());
    for _ in 0..64 {
        pool.start(|| ()).unwrap().finished().unwrap();
    }
    assert_eq!(secrets.map(seen)[..2], [0; 2]);
    assert!(pool.stats().stack_high_water > 100 << 10);
    pool.wipe();
    assert_eq!(secrets.map(seen), [0; 3]);
}

fn pause_and<T>(then: impl FnOnce() -> T) -> T {
    let _ = pause();
    then()
}

#[test]
fn the_high_water_mark_is_at_most_64_returns_behind_also_when_jobs_come_one_at_a_time() {
    for leave in shapes() {
        let (pool, _keep) = pool();
        // Until the figure was asked for, a look at everything is due.
        let _ = pool.stats();
        let (top, at) = pool.start(move || (here(), leave())).unwrap().finished().unwrap();
        for _ in 0..64 {
            pool.start(|| ()).unwrap().finished().unwrap();
        }
        let after = pool.stats().stack_high_water;
        let least = top - at;
        assert!((least..least + 4096).contains(&after), "{after} after a job that took {least}");
    }
}
