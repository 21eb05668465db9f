//! No setting makes a pool panic or hang: it is refused by name, or it works. In a process of its own: where the kernel has no
//! guard markers (before Linux 6.13, under qemu-user) a pool of 65,536 stacks uses up the mappings of the process, and other
//! tests would start no job meanwhile.

use job_core::{JobPool, Step, pause};
use proptest::prelude::*;

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(usize::MAX),
        Just(usize::MAX - 1),
        (0u32..64).prop_map(|bits| 1 << bits),
        any::<usize>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_setting_of_a_pool_makes_it_panic_or_hang(
        max_jobs in count(), stack_size in prop::option::of(count()), ahead in count(),
    ) {
        let mut builder = JobPool::builder().max_jobs(max_jobs);
        if let Some(bytes) = stack_size {
            builder = builder.stack_size(bytes);
        }
        // A refusal names the setting.
        let Ok(pool) = builder.build() else { return Ok(()) };
        let made = pool.preallocate(ahead);
        prop_assert!(made <= ahead.min(max_jobs).min(1 << 16));
        // A stack that no address space has room for is an error of the start.
        if let Ok(step) = pool.start(|| {
            let _ = pause();
            7
        }) {
            let Step::Paused(job) = step else { panic!("it pauses") };
            prop_assert!(matches!(job.resume(), Step::Finished(7)));
        }
        let _ = (pool.stats(), pool.shrink());
    }
}
