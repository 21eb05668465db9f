//! Stacks where a large reservation is refused and small ones are not. In a process of its own, since it limits its
//! address space.

#![cfg(target_os = "linux")]

use job_core::{JobPool, StartRefused, pause};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const STACK: usize = 1 << 20;

/// The address space of a stack with pages of 4 KiB, with the guard zone and the job's state.
const STRIDE: usize = STACK + 124 * 1024;

/// The mapped address space of the process, in bytes.
fn mapped() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').next().unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

#[test]
fn where_a_large_reservation_is_refused_smaller_ones_are_tried_and_all_are_given_back() {
    // Reservations grow, the first three are of 16, 32 and 64 stacks; the third does not fit, nor does half of it.
    const ROOM: usize = 60;
    let pool = JobPool::builder().stack_size(STACK).build().unwrap();
    let before = getrlimit(Resource::As);
    // Half a stack more is left to the allocator, which may have no memory of its own at this moment.
    let limit = mapped() + ROOM * STRIDE + STRIDE / 2;
    setrlimit(Resource::As, Rlimit { current: Some(limit as u64), ..before }).unwrap();
    let made = pool.preallocate(10 * ROOM);
    let jobs: Vec<_> = (0..made).map(|_| pool.start(pause).unwrap()).collect();
    let refused = pool.start(pause).map(drop).unwrap_err();
    setrlimit(Resource::As, before).unwrap();

    assert!((ROOM - 8..=ROOM).contains(&made), "{made} of {ROOM}");
    assert_eq!(refused.reason, StartRefused::OutOfMemory);
    drop(jobs);
    assert!(pool.preallocate(10 * ROOM) > 9 * ROOM, "refused only while the limit was in force");

    let with_pool = mapped();
    drop(pool);
    assert!(with_pool - mapped() > 9 * ROOM * STACK, "a dropped pool unmaps its reservations");
}
