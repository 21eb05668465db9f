//! What a job costs beside a bare corosensei coroutine: nanoseconds per operation, the best and the
//! median of several runs. `cargo run --release -p job-core --example switch_cost [WORD]` runs
//! those whose name contains the word.

use std::hint::black_box;
use std::time::Instant;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use job_core::{Job, JobPool, Step, pause};

const ROUNDS: u32 = 100_000;
/// A build without optimisation only shows that it runs.
const RUNS: usize = if cfg!(debug_assertions) { 1 } else { 60 };

fn main() {
    println!("{:<28} {:>8} {:>8}", "ns per operation", "best", "median");
    report("pause+resume, job", pause_resume_job);
    report("pause+resume, raw", pause_resume_raw);
    report("start+finish, job", start_finish_job);
    report("start+finish, raw", start_finish_raw);
    report("first start, job", first_start_job);
    report("first start, raw", first_start_raw);
    report("cold resume of 10,000, job", cold_resume_job);
    report("cold resume of 10,000, raw", cold_resume_raw);
}

fn report(name: &str, measure: impl Fn() -> f64) {
    if std::env::args().nth(1).is_some_and(|word| !name.contains(&word)) {
        return;
    }
    let mut runs: Vec<f64> = (0..RUNS).map(|_| measure()).collect();
    runs.sort_by(f64::total_cmp);
    println!("{name:<28} {:>8.1} {:>8.1}", runs[0], runs[RUNS / 2]);
}

fn nanoseconds_each(operations: u32, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / f64::from(operations)
}

#[inline(never)]
fn resume(job: Job<()>) -> Step<()> {
    job.resume()
}

#[inline(never)]
fn resume_raw(coroutine: &mut Coroutine<(), (), ()>) -> CoroutineResult<(), ()> {
    coroutine.resume(())
}

#[inline(never)]
fn suspend_raw(yielder: &Yielder<(), ()>) {
    yielder.suspend(());
}

fn pause_resume_job() -> f64 {
    let pool = JobPool::new();
    let step = pool.start(|| while pause() != job_core::Pause::Cancelled {});
    let mut job = step.unwrap().paused().unwrap();
    nanoseconds_each(ROUNDS, || {
        for _ in 0..ROUNDS {
            let Step::Paused(next) = resume(job) else { unreachable!("the job pauses for ever") };
            job = next;
        }
        drop(job);
    })
}

fn pause_resume_raw() -> f64 {
    let mut coroutine = Coroutine::new(|yielder, ()| {
        loop {
            suspend_raw(yielder);
        }
    });
    nanoseconds_each(ROUNDS, || {
        for _ in 0..ROUNDS {
            assert_eq!(resume_raw(&mut coroutine), CoroutineResult::Yield(()));
        }
    })
}

#[inline(never)]
fn start(pool: &JobPool, x: u32) -> u32 {
    pool.start(move || black_box(x)).unwrap().finished().unwrap()
}

fn start_finish_job() -> f64 {
    let pool = JobPool::new();
    nanoseconds_each(ROUNDS, || {
        for x in 0..ROUNDS {
            assert_eq!(start(&pool, x), x);
        }
    })
}

#[inline(never)]
fn start_raw(stack: DefaultStack, x: u32) -> (DefaultStack, u32) {
    let mut coroutine = Coroutine::with_stack(stack, move |_: &Yielder<(), ()>, ()| black_box(x));
    let CoroutineResult::Return(value) = coroutine.resume(()) else { unreachable!("no suspend") };
    (coroutine.into_stack(), value)
}

fn start_finish_raw() -> f64 {
    let mut stack = DefaultStack::new(64 * 1024).unwrap();
    nanoseconds_each(ROUNDS, || {
        for x in 0..ROUNDS {
            let value;
            (stack, value) = start_raw(stack, x);
            assert_eq!(value, x);
        }
    })
}

const JOBS: u32 = 10_000;

fn first_start_job() -> f64 {
    let pool = JobPool::new();
    let mut jobs = Vec::with_capacity(JOBS as usize);
    nanoseconds_each(JOBS, || {
        for _ in 0..JOBS {
            jobs.push(pool.start(pause).unwrap());
        }
    })
}

fn first_start_raw() -> f64 {
    let mut coroutines = Vec::with_capacity(JOBS as usize);
    nanoseconds_each(JOBS, || {
        for _ in 0..JOBS {
            let stack = DefaultStack::new(64 * 1024).unwrap();
            let body = |yielder: &Yielder<(), ()>, ()| yielder.suspend(());
            let mut coroutine = Coroutine::with_stack(stack, body);
            assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
            coroutines.push(coroutine);
        }
    })
}

fn cold_resume_job() -> f64 {
    let pool = JobPool::new();
    let body = || while pause() != job_core::Pause::Cancelled {};
    let mut jobs: Vec<_> = (0..JOBS).map(|_| pool.start(body).unwrap().paused().unwrap()).collect();
    let mut resumed = Vec::with_capacity(JOBS as usize);
    nanoseconds_each(JOBS, || resumed.extend(jobs.drain(..).map(|job| resume(job).paused())))
}

fn cold_resume_raw() -> f64 {
    let body = |yielder: &Yielder<(), ()>, ()| loop {
        suspend_raw(yielder);
    };
    let mut coroutines: Vec<_> = (0..JOBS)
        .map(|_| {
            let stack = DefaultStack::new(64 * 1024).unwrap();
            let mut coroutine = Coroutine::with_stack(stack, body);
            assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
            coroutine
        })
        .collect();
    nanoseconds_each(JOBS, || {
        for coroutine in &mut coroutines {
            assert_eq!(resume_raw(coroutine), CoroutineResult::Yield(()));
        }
    })
}
