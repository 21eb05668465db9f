//! Fiber jobs: start, pause, resume, cancel, await.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod pool;

mod start;

mod job;

mod pause;

mod current;

mod cancel;

mod bridge;

mod context;

#[allow(unsafe_code, reason = "the one module that maps stacks and switches between them")]
mod fiber;

pub use bridge::{Run, WaitForError, run, wait_for};
pub use current::{Current, current};
pub use job::{Job, JobId, Step};
pub use pause::{BlockGuard, Pause, block_pause, on_parent_stack, pause};
pub use pool::{Guard, JobPool, PoolBuilder, PoolError, PoolStats, is_capable};
pub use start::{StartError, StartRefused};
pub use wait_ctx::WaitCtx;
