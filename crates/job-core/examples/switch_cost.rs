//! The cost of a job beside that of a bare corosensei coroutine: nanoseconds per operation, the best
//! and the median of several runs. `cargo run --release -p layby-job-core --example switch_cost`

use std::hint::black_box;
use std::time::Instant;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use job_core::{Job, JobPool, Pause, pause};

/// Operations of a run, and jobs paused at once for the cold resume: more than fit into a cache.
const OPERATIONS: u32 = 10_000;
/// A build without optimisation only shows that it runs.
const RUNS: usize = if cfg!(debug_assertions) { 1 } else { 300 };

/// Times `run`, without `prepare`.
fn report<S>(name: &str, prepare: impl Fn() -> S, run: impl Fn(S)) {
    let mut runs = [(); RUNS].map(|()| {
        let prepared = prepare();
        let start = Instant::now();
        run(prepared);
        start.elapsed().as_nanos() as f64 / f64::from(OPERATIONS)
    });
    runs.sort_by(f64::total_cmp);
    println!("{name:<20} {:>8.1} {:>8.1}", runs[0], runs[RUNS / 2]);
}

fn paused_job(pool: &JobPool) -> Job<()> {
    pool.start(|| while pause() != Pause::Cancelled {}).unwrap().paused().unwrap()
}

#[inline(never)]
fn resume(job: Job<()>, _nth: u32) -> Job<()> {
    job.resume().paused().expect("the job pauses for ever")
}

fn paused_bare() -> Coroutine<(), (), ()> {
    let mut coroutine = Coroutine::new(|yielder, ()| {
        loop {
            suspend_bare(yielder);
        }
    });
    resume_bare(&mut coroutine);
    coroutine
}

#[inline(never)]
fn suspend_bare(yielder: &Yielder<(), ()>) {
    yielder.suspend(());
}

#[inline(never)]
fn resume_bare(coroutine: &mut Coroutine<(), (), ()>) {
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
}

#[inline(never)]
fn start_bare(stack: DefaultStack, x: u32) -> DefaultStack {
    let mut coroutine = Coroutine::with_stack(stack, move |_: &Yielder<(), ()>, ()| black_box(x));
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(x));
    coroutine.into_stack()
}

fn main() {
    let (pool, all) = (JobPool::new(), || 0..OPERATIONS);
    let paused = || paused_job(&pool);
    let many = || Vec::from_iter(all().map(|_| paused()));
    let each = |jobs: Vec<_>| jobs.into_iter().for_each(|job| drop(resume(job, 0)));
    let start = |x| assert!(pool.start(move || black_box(x)).is_ok());
    let stack = || DefaultStack::new(64 * 1024).unwrap();
    println!("{:<20} {:>8} {:>8}", "ns per operation", "best", "median");
    report("pause+resume, job", paused, |job| drop(all().fold(job, resume)));
    report("pause+resume, bare", paused_bare, |mut bare| {
        all().for_each(|_| resume_bare(&mut bare))
    });
    report("cold resume+cancel", many, each);
    report("start+finish, job", || (), |()| all().for_each(start));
    report("start+finish, bare", stack, |stack| drop(all().fold(stack, start_bare)));
}
