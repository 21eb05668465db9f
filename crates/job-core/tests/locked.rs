//! Stacks in a process that locks its memory, as hosts of key hardware do. In a process of its own.

#![cfg(target_os = "linux")]

use job_core::{JobPool, Pause, pause};
use rustix::mm::{MlockAllFlags, mlockall};

#[path = "it/stacks/secret.rs"]
mod secret;

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn secrets_are_gone_after_shrinking(pool: &JobPool) {
    // Keeps the reservation mapped.
    let keep = pool.start(pause).unwrap().paused().unwrap();
    let secrets = secret::in_jobs::<3>(pool, secret::leave::<{ 24 << 10 }>);
    assert!(secrets.iter().any(|&at| secret::remaining(at) == secret::SIZE), "nothing to wipe");
    assert_eq!(pool.shrink(), 0);
    assert_eq!(secrets.map(secret::remaining), [0; 3]);
    assert_eq!(keep.resume().finished(), Some(Pause::Resumed));
}

#[test]
fn where_memory_is_locked_guards_fall_back_to_page_protection() {
    // With stacks that are made before memory is locked.
    let older = JobPool::new();
    let keep = older.start(pause).unwrap().paused().unwrap();
    // Needs a privilege or a large enough limit.
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
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        errno,
        "the refused guard markers leave errno alone"
    );
    assert_eq!(first.paused().unwrap().resume().finished(), Some(Pause::Resumed));
    let jobs: Vec<_> = (0..64).filter_map(|_| pool.start(pause).unwrap().paused()).collect();
    // The kernel refuses guard markers in locked memory, so each stack takes two mappings.
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
