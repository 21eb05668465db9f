//! Stacks in a process that locks its memory, as hosts of key hardware do. A process of its own.

#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::mem::MaybeUninit;

use job_core::{JobPool, Pause, pause};
use rustix::mm::{MlockAllFlags, mlockall};

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Leaves 64 bytes of a secret at the lower end of a frame that is not written otherwise, and says
/// where.
#[inline(never)]
fn leave_secret() -> usize {
    let mut frame = MaybeUninit::<[u8; 24 * 1024]>::uninit();
    let lowest = frame.as_mut_ptr().cast::<u8>();
    for nth in 0..64 {
        // SAFETY: within the frame.
        let byte = unsafe { lowest.add(nth) };
        // SAFETY: as above.
        unsafe { byte.write_volatile(0x5A) };
    }
    black_box(&frame);
    lowest.expose_provenance()
}

/// How much of the secret is there.
fn seen(at: usize) -> usize {
    let is_there = |nth| {
        let byte = std::ptr::with_exposed_provenance::<u8>(at + nth);
        // SAFETY: memory of a stack of a pool that is alive, and no job is on it.
        unsafe { byte.read_volatile() == 0x5A }
    };
    (0..64).filter(|&nth| is_there(nth)).count()
}

fn secrets_are_gone_after_shrinking(pool: &JobPool) {
    // Keeps the reservation where it is.
    let keep = pool.start(pause).unwrap().paused().unwrap();
    let start = || {
        let step = pool.start(|| {
            let _ = pause();
            leave_secret()
        });
        step.unwrap().paused().unwrap()
    };
    let jobs = [start(), start(), start()];
    let secrets = jobs.map(|job| job.resume().finished().unwrap());
    assert!(secrets.iter().any(|&at| seen(at) == 64), "there was something to wipe");
    assert_eq!(pool.shrink(), 0);
    assert_eq!(secrets.map(seen), [0; 3]);
    assert_eq!(keep.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn where_memory_is_locked_guards_fall_back_to_page_protection() {
    // Its stacks are made before memory is locked.
    let older = JobPool::new();
    let keep = older.start(pause).unwrap().paused().unwrap();
    // Needs a privilege or a large enough limit; without them there is nothing to see.
    if mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).is_err() {
        eprintln!("skipped: memory cannot be locked here");
        return;
    }
    secrets_are_gone_after_shrinking(&older);
    assert_eq!(keep.resume().finished(), Some(Pause::Resumed));
    let pool = JobPool::builder().stack_size(32 * 1024).build().unwrap();
    let before = mappings();
    let errno = std::fs::File::open("/no/such/file").unwrap_err().raw_os_error();
    let first = pool.start(pause).unwrap();
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), errno, "the refusal is not seen");
    assert_eq!(first.paused().unwrap().resume().finished(), Some(Pause::Resumed));
    let jobs: Vec<_> = (0..64).filter_map(|_| pool.start(pause).unwrap().paused()).collect();
    // The kernel refuses guard markers in locked memory: two mappings a stack, instead.
    assert!(mappings() >= before + 64, "{before} mappings became {}", mappings());
    for job in jobs {
        assert_eq!(job.resume().finished(), Some(Pause::Resumed));
    }
    assert_eq!(pool.shrink(), 64);
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
    for wipe in [true, false] {
        let pool = JobPool::builder().wipe_stacks(wipe).build().unwrap();
        secrets_are_gone_after_shrinking(&pool);
    }
}
