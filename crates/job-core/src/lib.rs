//! Fiber jobs: start, pause, resume, cancel, await.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod builder;

mod pool;

mod stats;

mod start;

mod job;

mod pause;

mod current;

mod cancel;

mod bridge;

mod queue;

mod context;

#[allow(unsafe_code, reason = "the one module that maps stacks and switches between them")]
mod fiber;

pub use bridge::{Run, WaitForError, run, run_with, wait_for};
pub use builder::{Guard, PoolBuilder, PoolError};
pub use current::{Current, current};
pub use job::{Job, JobId, Step};
pub use pause::{BlockGuard, Pause, block_pause, on_parent_stack, pause};
pub use pool::JobPool;
pub use start::{StartError, StartRefused, is_capable};
pub use stats::PoolStats;
pub use wait_ctx::WaitCtx;
