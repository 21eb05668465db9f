//! Stacks: reuse, limits, guards, wiping.

use std::hint::black_box;

use job_core::{JobPool, Pause, StackGuard, StartRefused, pause};

use crate::start_paused;

mod bytes;
mod frames;
mod overflow;
mod secret;

/// An address on the current stack.
#[inline(never)]
fn stack_address() -> usize {
    let local = black_box(0_u8);
    &raw const local as usize
}

#[test]
fn the_stack_of_the_last_job_to_end_is_used_next() {
    let pool = JobPool::new();
    let start = || {
        let job = start_paused(&pool, || {
            let address = stack_address();
            let _ = pause();
            address
        });
        move || job.resume().finished().unwrap()
    };
    let (a, b) = (start(), start());
    let a = a();
    let b = b();
    assert_ne!(a, b);
    let (again_b, again_a) = (start(), start());
    assert_eq!((again_b(), again_a()), (b, a));
}

#[test]
fn preallocation_stops_at_the_limit_of_the_pool() {
    let pool = JobPool::builder().max_jobs(5).build().unwrap();
    assert_eq!(pool.preallocate(3), 3);
    assert_eq!(pool.preallocate(3), 2);
    assert_eq!(pool.preallocate(3), 0);
    assert_eq!((pool.stats().created, pool.stats().idle), (5, 5));
}

#[test]
fn shrinking_keeps_the_stacks_beside_one_in_use() {
    let pool = JobPool::new();
    assert_eq!(pool.preallocate(40), 40);
    let job = start_paused(&pool, pause);
    // 16 stacks in one reservation and 24 in the next; without guard markers, the first is given up, and 32 and 8. All of
    // one of them are idle.
    let gone = pool.shrink();
    assert!([16, 24, 32, 8].contains(&gone), "{gone}");
    assert_eq!(pool.stats().created, 40 - gone);
    assert_eq!(job.resume().finished(), Some(Pause::Resumed));
    assert_eq!(pool.shrink(), 40 - gone);
    assert_eq!(pool.stats().created, 0);
    assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
}

#[test]
fn a_stack_whose_memory_was_given_back_can_be_used_again() {
    for guard in [StackGuard::Auto, StackGuard::Protect] {
        let pool = JobPool::builder().guard(guard).build().unwrap();
        let keeps = start_paused(&pool, pause);
        let ends = start_paused(&pool, pause);
        assert_eq!(ends.resume().finished(), Some(Pause::Resumed));
        assert_eq!(pool.shrink(), 0);
        assert_eq!(pool.start(|| 1).unwrap().finished(), Some(1));
        assert_eq!(keeps.resume().finished(), Some(Pause::Resumed));
    }
}

#[test]
fn a_stack_that_does_not_fit_into_memory_is_refused_with_the_closure() {
    let pool = JobPool::builder().stack_size(1 << 40).build().unwrap();
    let mut jobs = Vec::new();
    // Address space ends after 128 of these at most.
    let refused = (0..200).find_map(|_| match pool.start(pause) {
        Ok(step) => {
            jobs.push(step);
            None
        }
        Err(error) => Some(error),
    });
    let refused = refused.expect("no machine has that much address space");
    assert_eq!(refused.reason, StartRefused::OutOfMemory);
    let stats = pool.stats();
    assert_eq!((stats.live, stats.created), (jobs.len(), jobs.len()));
    assert_eq!((refused.into_closure())(), Pause::NotInJob);
}

#[test]
fn a_job_has_256_kib_for_its_frames_in_every_build_profile() {
    /// Uses this number of bytes of stack.
    #[inline(never)]
    fn descend(top: usize, bytes: usize) -> usize {
        let block = black_box([1_u8; 64]);
        let depth = top - (&raw const block as usize);
        if depth >= bytes { depth } else { descend(top, bytes) + usize::from(block[0] - 1) }
    }

    let pool = JobPool::new();
    // Less the frames of the switch and of the test.
    let bytes = 256 * 1024 - 2048;
    let depth = pool.start(move || descend(stack_address(), bytes)).unwrap().finished().unwrap();
    assert!(depth >= bytes);
    let seen = pool.stats().stack_high_water;
    assert!((bytes..260 * 1024).contains(&seen), "{seen}");
}

#[test]
fn large_and_strictly_aligned_closures_and_values_arrive_whole() {
    #[repr(align(128))]
    #[derive(Clone, Copy)]
    struct Aligned([u8; 256]);

    let pool = JobPool::new();
    let large = [7_u8; 5000];
    let aligned = Aligned([9; 256]);
    let small_but_aligned = pool.start(move || (&raw const aligned as usize, aligned));
    let (address, Aligned(bytes)) = small_but_aligned.unwrap().finished().unwrap();
    assert_eq!((address % 128, bytes), (0, [9; 256]));
    let job = start_paused(&pool, move || {
        let _ = pause();
        (large, aligned)
    });
    let (bytes, Aligned(more)) = job.resume().finished().unwrap();
    assert_eq!((bytes, more), ([7; 5000], [9; 256]));
}

/// Fills this number of blocks of the stack, one in each frame.
#[inline(never)]
fn fill(blocks: usize) -> usize {
    let block = black_box([0xA5_u8; 1024]);
    if blocks == 0 { 0 } else { fill(blocks - 1) + usize::from(block[blocks % 1024]) }
}

#[test]
fn a_pool_that_does_not_wipe_does_not_scan_stacks() {
    for (wipe, scans) in [(true, true), (false, false)] {
        let pool = JobPool::builder().wipe_stacks(wipe).build().unwrap();
        pool.start(|| fill(12)).unwrap().finished().unwrap();
        pool.wipe();
        assert_eq!(pool.stats().stack_high_water > 0, scans);
    }
}

#[test]
fn a_job_that_goes_deeper_than_any_before_raises_the_mark_when_it_ends() {
    let pool = JobPool::new();
    for blocks in [1, 4, 12, 36] {
        let before = pool.stats().stack_high_water;
        pool.start(move || fill(blocks)).unwrap().finished().unwrap();
        let after = pool.stats().stack_high_water;
        assert!(after > before && after >= blocks * 1024, "{blocks}: {before}, {after}");
    }
}
