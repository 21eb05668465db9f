//! The public API of job-core, one file per behaviour.

use job_core::{Job, JobPool, Step};

mod bridge;
mod cancel;
mod inside;
mod jobs;
mod model;
mod runtimes;
mod stacks;
mod thread;
mod thread_exit;
mod thread_stack;

/// The job of a step that must have paused.
fn paused<T: 'static>(step: Step<T>) -> Job<T> {
    step.paused().expect("the job has paused")
}

/// Starts a job that must pause.
fn start_paused<T: 'static>(pool: &JobPool, f: impl FnOnce() -> T + 'static) -> Job<T> {
    paused(pool.start(f).unwrap())
}
