//! The limit on mappings, with stacks guarded by page protection. In a process of its own, since it
//! uses up nearly all mappings.

#![cfg(target_os = "linux")]

use job_core::{JobPool, StackGuard, StartRefused, pause};

fn max_map_count() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn protected_stacks_stop_before_the_kernels_limit_with_an_error_that_says_so() {
    let limit = max_map_count();
    // Where the limit was raised far there is no reaching it.
    if limit > 200_000 {
        return;
    }
    let pool = JobPool::builder().guard(StackGuard::Protect).stack_size(16 * 1024).build().unwrap();
    let made = pool.preallocate(limit);
    assert!(made < limit / 2, "{made} stacks of two mappings each within {limit}");
    assert!(made > limit / 2 - 2_000, "stopped far from the limit: {made} of {limit}");
    // The rest of the process can still map memory and start threads.
    assert_eq!(std::thread::spawn(|| vec![1_u8; 1 << 20].len()).join().unwrap(), 1 << 20);

    let mut jobs = Vec::new();
    let refused = loop {
        match pool.start(pause) {
            Ok(step) => jobs.push(step),
            Err(error) => break error,
        }
    };
    let StartRefused::OutOfMappings { limit: named, needed } = refused.reason else {
        panic!("{refused}");
    };
    assert_eq!((named, jobs.len()), (limit, made));
    assert!(needed > limit);
    assert!(refused.to_string().contains(&format!("vm.max_map_count is {limit}")));
    // When a job ends there is room for another.
    jobs.pop();
    assert!(pool.start(pause).is_ok());
}
