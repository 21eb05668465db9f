//! Stacks in a process that locks its memory, as hosts of key hardware do. A process of its own.

#![cfg(target_os = "linux")]

use job_core::{JobPool, Pause, pause};
use rustix::mm::{MlockAllFlags, mlockall};

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn where_memory_is_locked_guards_fall_back_to_page_protection() {
    // Needs a privilege or a large enough limit; without them there is nothing to see.
    if mlockall(MlockAllFlags::FUTURE).is_err() {
        return;
    }
    let pool = JobPool::builder().stack_size(32 * 1024).build().unwrap();
    let before = mappings();
    let jobs: Vec<_> = (0..64).filter_map(|_| pool.start(pause).unwrap().paused()).collect();
    // The kernel refuses guard markers in locked memory: two mappings a stack, instead.
    assert!(mappings() >= before + 64, "{before} mappings became {}", mappings());
    for job in jobs {
        assert_eq!(job.resume().finished(), Some(Pause::Resumed));
    }
    assert_eq!(pool.shrink(), 64);
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
}
