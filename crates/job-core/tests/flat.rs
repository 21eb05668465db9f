//! Nothing accumulates over a hundred thousand jobs. In a process of its own, since it counts the
//! resources of the process.

#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use job_core::{JobPool, Pause, StartError, Step, WaitCtx, current, pause, wait_for};

const ROUNDS: u32 = 100_000;
/// Rounds before the first count, in which allocators and stacks grow.
const WARM_UP: u32 = 5_000;

/// Resources of the process.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    fds: usize,
    threads: usize,
    mappings: usize,
}

fn holdings() -> Holdings {
    Holdings {
        fds: fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: fs::read_dir("/proc/self/task").unwrap().count(),
        mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
    }
}

fn resident_pages() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Runs a job that ends in one of all the ways, chosen by `round`.
fn one_round(pool: &JobPool, ctx: &WaitCtx, round: u32, drops: &Rc<Cell<u64>>) {
    struct Counted(Rc<Cell<u64>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let counted = Counted(Rc::clone(drops));
    let body = move || {
        let _counted = counted;
        current().unwrap().set_local([round; 8]);
        let mut answer = pause();
        if round % 7 == 3 && answer == Pause::Resumed {
            resume_unwind(Box::new(round));
        }
        if round % 7 == 4 {
            answer = pause();
        }
        if round % 7 == 5 {
            let _ = wait_for(std::future::pending::<()>());
        }
        answer
    };
    let step: Result<Step<Pause>, StartError<_>> = pool.start_with(ctx, body);
    let job = step.unwrap().paused().unwrap();
    match round % 7 {
        0 | 1 => drop(job),
        2 => assert_eq!(job.cancel(), Some(Pause::Cancelled)),
        3 => assert!(catch_unwind(AssertUnwindSafe(|| job.resume())).is_err()),
        4 | 5 => drop(job.resume()),
        _ => assert_eq!(job.resume().finished(), Some(Pause::Resumed)),
    }
}

#[test]
fn l5_l8_nothing_accumulates_over_a_hundred_thousand_jobs() {
    let pool = JobPool::builder().max_jobs(4).build().unwrap();
    let ctx = WaitCtx::new();
    let drops = Rc::default();
    for round in 0..WARM_UP {
        one_round(&pool, &ctx, round, &drops);
    }
    let (before, pages_before) = (holdings(), resident_pages());
    for round in WARM_UP..ROUNDS {
        one_round(&pool, &ctx, round, &drops);
    }
    let (after, pages_after) = (holdings(), resident_pages());
    assert_eq!(before, after);
    // The allocator may take a few pages more or less.
    assert!(pages_after <= pages_before + 64, "{pages_before} pages grew to {pages_after}");
    assert_eq!(drops.get(), u64::from(ROUNDS));
    let stats = pool.stats();
    assert_eq!((stats.live, stats.stacks_in_use, stats.quarantined), (0, 0, 0));
    assert_eq!((stats.created, stats.peak_live), (1, 1));
}
