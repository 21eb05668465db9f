//! Jobs: synchronous code that can be paused in the middle and resumed later, on its own thread.
//!
//! A job is a closure on a stack of its own (a fiber). When it calls [`pause`], however deep in
//! code that knows nothing of that, whoever started it goes on with something else, and
//! [`Job::resume`] later returns into the middle of the call. The semantics are those of OpenSSL's
//! `ASYNC_start_job` and `ASYNC_pause_job`, with what was unsound or surprising there put right. It
//! is not a scheduler: nothing here decides when a job runs, and no thread is started.
//!
//! ```text
//!                      start                 pause, wait_for
//!     closure ----------------------> running =================> paused
//!        ^          |                  |   ^                      |   |
//!        |          | refused          |   +----------------------+   |
//!        +----------+                  |            resume            | cancel, drop
//!     StartError::into_closure         | returns                      v
//!                                      |                          cancelling
//!                                      v                              |
//!                                  finished <-------------------------+
//! ```
//!
//! ```
//! use job_core::{JobPool, Pause, Step, pause};
//!
//! // Synchronous code of somebody else's, with a callback for each item.
//! fn sum(mut next: impl FnMut() -> Option<u32>) -> u32 {
//!     std::iter::from_fn(|| next()).sum()
//! }
//!
//! let pool = JobPool::builder().max_jobs(100).build()?;
//! let mut left = 3;
//! let mut step = pool.start(move || {
//!     sum(|| {
//!         // The job stands still here; its owner does not.
//!         assert_eq!(pause(), Pause::Resumed);
//!         left -= 1;
//!         (left > 0).then_some(left)
//!     })
//! })?;
//!
//! let mut pauses = 0;
//! let total = loop {
//!     match step {
//!         Step::Paused(job) => {
//!             pauses += 1;
//!             step = job.resume();
//!         }
//!         Step::Finished(total) => break total,
//!     }
//! };
//! assert_eq!((total, pauses), (3, 3));
//! assert_eq!(pool.stats().live, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Futures
//!
//! [`run`] makes a job a `Future`, and [`wait_for`] awaits a future inside a job, so a synchronous
//! callback can await anything; `examples/callback_tokio.rs`, `callback_smol.rs` and
//! `callback_bare.rs` do, one under each executor. Any that keeps a task on its thread will do.
//! Dropping the future cancels the job.
//!
//! # Wakeups
//!
//! A pause says nothing about when to resume; that is between the code that pauses and the owner of
//! the job. A resume is a hint: [`pause`] may return before whatever the code waits for has come
//! about, so it looks again and pauses again. A job started with a [`WaitCtx`] owns it to its end,
//! and wakes go where the context sends them. `wait_for` uses the waker of the task that awaits the
//! job, else the wait context's, else none, and then polls its future whenever the job is resumed.
//!
//! # Cancellation
//!
//! A paused job cannot simply be freed: values on its stack are borrowed, locked, owned. So it is
//! resumed to end itself:
//!
//! ```text
//!   cancel or drop
//!        |
//!        v                                   returns ------> value to whoever called `cancel`
//!   the paused call returns Cancelled ---->  panics -------> swallowed and counted
//!        |
//!        | pauses again
//!        v
//!   the pause unwinds the job -----------------------------> its destructors have run
//!        |            ^
//!        | caught     | pauses again, up to three unwinds
//!        +------------+
//!        |
//!        v
//!   quarantine: leaked with its stack, counted in `PoolStats::quarantined`
//! ```
//!
//! Cancelled is sticky: [`Current::is_cancelled`] stays true, and [`wait_for`] answers
//! [`Cancelled`](WaitForError::Cancelled) at once (a job that asks 64 times all the same is
//! unwound). Treat it as an error and return: an unwind poisons the mutexes it passes. A job is
//! quarantined at its second pause
//! - if panics abort in this build, or the pool was built with
//!   [`unwind(false)`](PoolBuilder::unwind);
//! - after a few answers, if the thread was unwinding when the job was dropped: whether the job
//!   itself unwinds, too, cannot be told then, and a second unwind on top of its own would abort
//!   the process.
//!
//! # Drop
//!
//! Dropping a [`Job`], a [`Run`] or whatever holds one cancels. It never panics and never aborts,
//! and it leaks nothing but a job in quarantine. A late event for a job that is gone finds nothing
//! to act on: no handle to a job can be stale, because resuming and cancelling consume it.
//!
//! # Threads
//!
//! A job resumes on the thread that started it, and neither [`Job`] nor [`JobPool`] is `Send`.
//! Thread-local variables, `errno`, the signal mask and the floating-point environment are the
//! thread's, shared by its jobs: a start, a resume and a pause change none of them, and what a job
//! changes stays changed when it pauses. So code that blocks a signal, or code in another language
//! that sets a rounding mode, undoes that before it pauses.
//!
//! Some code relies on calls of one thread ending in the reverse of the order in which they began.
//! Two jobs that pause inside such code break that order. So do not pause while
//! - a lock is held that another job of the thread may want: take a [`block_pause`] guard, and the
//!   pause is refused;
//! - inside `LocalKey::with`, if the job may still be paused when the thread exits: the variable
//!   may be destroyed before the job;
//! - inside a scoped thread-local (`scoped_tls::ScopedKey::set` and its like) or under a tracing
//!   span entered by hand. The job's own span is entered at every resume and left at every pause.
//!
//! # Panics
//!
//! A panic of a job comes out of the call that resumed it. The job has ended then, its stack is
//! back, and no other job notices. While a job is cancelled its panic is swallowed and counted. A
//! destructor cannot pause while its thread is unwinding.
//!
//! # Stacks
//!
//! ```text
//!  one reservation of up to 1,024 stacks, one mapping where the kernel has guard markers
//!  +-------+-----------------------+-------+-------+-----------------------+-------+--- ...
//!  | guard | stack, grows <------- | state | guard | stack, grows <------- | state |
//!  +-------+-----------------------+-------+-------+-----------------------+-------+--- ...
//! ```
//!
//! A stack takes address space when it is made, and memory page by page as it is used: a shallow
//! paused job costs one page, which also holds its state. Stacks are reused last in, first out.
//! Idle ones, but for the last that came back, are overwritten down to the high-water mark
//! ([`PoolBuilder::wipe_stacks`] says what that may miss), and given back to the system by
//! [`JobPool::shrink`]. Deep code that never waits can run [on the stack of whoever resumed the
//! job](on_parent_stack). An overflow faults on the guard page.
//!
//! # Limits by kernel
//!
//! - Linux 6.13 and later: guard markers, about one mapping for each 1,024 stacks; memory is the
//!   only limit.
//! - Before that, and where `mlockall` has locked future mappings: page protection, two mappings a
//!   stack, of which Linux allows 65,530 in a process. A start that would come near answers
//!   [`StartRefused::OutOfMappings`], naming the value of `vm.max_map_count` to set. Under
//!   `mlockall` every stack of a reservation is resident at once.
//! - Elsewhere on Unix: page protection.
//! - User-mode shadow stacks: not capable, see [`is_capable`].
//!
//! # Tracing
//!
//! Target `job_core`. Each job has the span `job` with the field `job` (level debug). `cancelling`
//! is a debug event, quarantine a warning with the field `unwinds`; both name the job in the field
//! `job`.
//!
//! The crate has no features.
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[cfg(not(unix))]
compile_error!("job-core maps and guards stacks as Unix does; other systems are not supported");

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
pub use pause::{
    BlockGuard, Pause, block_pause, on_job_stack, on_parent_stack, on_thread_stack, pause,
};
pub use pool::JobPool;
pub use start::{StartError, StartRefused, is_capable};
pub use stats::PoolStats;
pub use wait_ctx::WaitCtx;
