//! The number of jobs that can be paused at once, and the memory of each, page tables included.
//!
//! `cargo run --release -p layby-job-core --example paused_jobs [COUNT [KIB]]`. COUNT defaults to a million
//! (a tenth of it without optimisation), or what fits into two thirds of the free memory; KIB, the
//! size of a stack, to that of the pool.

use std::fs;

use job_core::{JobPool, pause};

const MOST: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

fn main() {
    let wanted = std::env::args().nth(1).map(|count| count.parse().expect("a number of jobs"));
    let fits = kilobytes("/proc/meminfo", "MemAvailable:") * 2 / 3 / 5;
    let count = wanted.unwrap_or_else(|| fits.min(MOST));

    let mut settings = JobPool::builder();
    if let Some(kib) = std::env::args().nth(2) {
        settings = settings.stack_size(kib.parse::<usize>().expect("kilobytes of stack") * 1024);
    }
    let pool = settings.build().expect("a size that a stack can have");
    let mut jobs = Vec::with_capacity(count);
    let before = resident();
    for _ in 0..count {
        let step = pool.start(pause).expect("memory and mappings for one more job");
        jobs.push(step.paused().expect("the job pauses"));
    }
    let bytes = (resident() - before) * 1024;
    assert_eq!(pool.stats().paused, count);
    println!("{count} jobs paused at once, {} bytes each", bytes / count);

    let resumed = jobs.into_iter().filter_map(|job| job.resume().finished()).count();
    assert_eq!((resumed, pool.stats().live), (count, 0));
    println!("all resumed; {} stacks released", pool.shrink());
}

/// Kilobytes of memory and of page tables.
fn resident() -> usize {
    kilobytes("/proc/self/status", "VmRSS:") + kilobytes("/proc/self/status", "VmPTE:")
}

fn kilobytes(file: &str, field: &str) -> usize {
    let text = fs::read_to_string(file).expect("Linux has /proc");
    let line =
        text.lines().find_map(|line| line.strip_prefix(field)).expect("a field of that name");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
