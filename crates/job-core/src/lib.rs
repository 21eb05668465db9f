//! Jobs: synchronous code that can be paused in the middle and resumed later, on its own thread.
//!
//! A job is a closure on a stack of its own (a fiber). When it calls [`pause`], however deep in code
//! that is not written for it, the call that started the job returns; [`Job::resume`] later
//! continues in the middle of the closure. The semantics are those of OpenSSL's `ASYNC_start_job`
//! and `ASYNC_pause_job`, without their unsound and surprising parts. It is not a scheduler: nothing
//! here decides when a job runs, and no thread is started.
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
//! // Synchronous code of a third party, with a callback for each item.
//! fn sum(mut next: impl FnMut() -> Option<u32>) -> u32 {
//!     std::iter::from_fn(|| next()).sum()
//! }
//!
//! let pool = JobPool::builder().max_jobs(100).build()?;
//! let mut left = 3;
//! let mut step = pool.start(move || {
//!     sum(|| {
//!         // The job stops here, and `start` or `resume` returns.
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
//! callback can await anything. The examples `callback_tokio.rs`, `callback_smol.rs` and
//! `callback_bare.rs` do so, each under another executor; any that keeps a task on its thread works.
//! Dropping the future cancels the job.
//!
//! # Wakeups
//!
//! When to resume a job is agreed between the code that pauses and the owner of the job. A resume is
//! a hint: [`pause`] may return before the event that the code waits for, so the code checks, and
//! pauses again if it must. A job started with a [`WaitCtx`] owns it until it ends, and wakes go
//! where the context sends them. `wait_for` uses the waker of the task that awaits the job, else the
//! wait context's, else none: then it polls its future whenever the job is resumed.
//!
//! # Cancellation
//!
//! A paused job cannot simply be freed: its stack holds values with borrows, locks and destructors.
//! So it is resumed to end itself:
//!
//! ```text
//!   cancel or drop
//!        |
//!        v                                   returns ------> value to the caller of `cancel`
//!   the paused call returns Cancelled ---->  panics -------> swallowed, logged and counted
//!        |
//!        | pauses again: Cancelled at once, up to 4,096 times
//!        v
//!   quarantine: leaked with its stack, counted in `PoolStats::quarantined`
//! ```
//!
//! Once a job is cancelled, [`Current::is_cancelled`] stays true, and [`pause`] and [`wait_for`]
//! return `Cancelled` at once. Treat it as an error and return it (`?`). Code that cannot return,
//! such as a comparator that `qsort` calls again and again, gets the same answer each time, or checks
//! `is_cancelled` first. A job that has not ended after 4,096 answers is put in quarantine: its stack
//! and every value on it leak, and the event `job.quarantined` is logged.
//!
//! A pool made with [`unwind(true)`](PoolBuilder::unwind) does not repeat the answer: a second
//! pause unwinds the job as a panic would, up to three times if the job catches that. Its
//! destructors run, but mutexes on the way are poisoned, and the process aborts if the unwind meets
//! a frame that cannot unwind or a destructor that panics. While the thread is unwinding already,
//! a second pause returns `Cancelled` as in any other pool.
//!
//! # C code
//!
//! A callback that C code calls may pause: the frames of the C function stay on the job's stack, in
//! the middle of the call. Two things are different there:
//! - A panic cannot leave the callback: an `extern "C"` function that panics aborts the process, in
//!   any program. So on `Cancelled` return the C library's code for an error, and do not make the
//!   pool with [`unwind(true)`](PoolBuilder::unwind).
//! - State that the C library keeps by thread, and locks that it holds while it calls back, are
//!   shared by all jobs of the thread: the rules under [Threads](crate#threads) hold for them, too.
//!
//! # Drop
//!
//! Dropping a [`Job`] or a [`Run`] cancels the job. It never panics: panics of the job, of its
//! destructors, of wakers and of tracing subscribers are caught, logged as the event
//! `foreign.panic`, and counted in [`PoolStats::swallowed_panics`]. It does not abort the process
//! unless the pool was made with `unwind(true)` or code of the job aborts by itself, such as a panic
//! in an `extern "C"` function, or in a destructor while the job panics. It leaks nothing but a job
//! in quarantine. No handle to a job can be stale, because resuming and cancelling consume it.
//!
//! # Threads
//!
//! A job resumes on the thread that started it, and neither [`Job`] nor [`JobPool`] is `Send`.
//! Thread-local variables, `errno`, the signal mask and the floating-point environment belong to the
//! thread and are shared by its jobs: a start, a resume and a pause do not change them, and what a
//! job changes stays changed when it pauses. So code that blocks a signal or sets a rounding mode
//! must undo that before it pauses.
//!
//! Some code relies on calls of one thread ending in the reverse of the order in which they began.
//! Two jobs that pause inside such code break that order. Do not pause
//! - while a lock is held that another job of the thread may want: that job would block the thread
//!   for ever;
//! - inside `Handle::block_on` of tokio or under its `enter` guard, or any other code that marks
//!   its thread as busy: the next job that does the same panics. `wait_for` in the job, or a task
//!   on the runtime, does not need them, and [`PoolBuilder::may_pause`] can refuse such pauses;
//! - inside a scoped thread-local (`scoped_tls::ScopedKey::set` and its like), or other unsafe code
//!   that keeps a pointer to its stack in a thread-local variable: **undefined behaviour**;
//! - in the initialiser of a `thread_local!`, or inside `LocalKey::with` if the job may still be
//!   paused when the thread ends: **undefined behaviour**, see
//!   [below](crate#thread-local-variables);
//! - under a tracing span entered by hand. The job's own span is entered at every resume and left
//!   at every pause.
//!
//! A [`block_pause`] guard around such code makes every pause in it return [`Pause::Blocked`].
//!
//! # Thread-local variables
//!
//! The promise: safe code that uses this crate has no undefined behaviour, unless a job pauses inside
//! unsafe code of another crate that relies on the order of calls. The standard library's
//! `thread_local!` is such code, in two places, under any library of fibers.
//!
//! **A pause in an initialiser.** Two jobs initialise the variable, and the second value replaces
//! the first while that is borrowed. This is not detected.
//!
//! ```no_run
//! # use std::cell::Cell; use job_core::{JobPool, pause};
//! thread_local! {
//!     static FIRST: Cell<bool> = const { Cell::new(true) };
//!     static CONFIG: String = {
//!         if FIRST.replace(false) { let _ = pause(); } // WRONG: load it, then initialise
//!         "loaded".to_owned()
//!     };
//! }
//! let pool = JobPool::new();
//! let a = pool.start(|| CONFIG.with(|c| c.len())).unwrap().paused().unwrap();
//! let b = pool.start(|| CONFIG.with(|c| { let _ = pause(); c.len() })).unwrap().paused().unwrap();
//! drop(a.resume()); // drops the string that `b` has borrowed
//! drop(b.resume()); // reads it
//! ```
//!
//! **A pause inside `with`, in a job that is alive when its thread ends.** The variable is
//! destroyed while the job has borrowed it, and the job is cancelled after that.
//!
//! ```no_run
//! # use std::cell::RefCell; use job_core::{Job, JobPool, pause};
//! thread_local! {
//!     static JOB: RefCell<Option<Job<usize>>> = const { RefCell::new(None) };
//!     static NAME: String = "a name".to_owned();
//! }
//! std::thread::spawn(|| {
//!     JOB.with(|_| ()); // initialised first, so destroyed last
//!     let body = || NAME.with(|name| { let _ = pause(); name.len() }); // WRONG: clone it, then pause
//!     JOB.set(JobPool::new().start(body).unwrap().paused());
//! }); // the thread ends: destroys NAME, then JOB, which cancels the job, which reads NAME
//! ```
//!
//! # Thread exit
//!
//! The second pattern is detected as far as a destructor can tell. A job that was paused when its
//! thread began to destroy its thread-local variables is never switched to again: dropped or
//! cancelled, it is put in quarantine; resumed, it stays paused. *Sentinels* detect that the thread
//! has begun: destructors that run before those of all variables that were initialised earlier. One
//! is registered after each of the first 1,024 pauses of jobs of the thread, after later ones
//! whenever their number has grown by a 256th, and after the first pause in a pool since a closure
//! of a type that is new to the thread (for the first 32 types) was started there. The job is
//! missed, and the program above has undefined behaviour, only if both `JOB` and `NAME` were first
//! used after the last sentinel was registered. (Off GNU/Linux only the first pause registers one.)
//! So end jobs before their thread ends, and keep them in a local variable, which is dropped before
//! any thread-local variable is.
//!
//! A job may be started, resumed and ended inside the destructor of a thread-local variable, but
//! cannot be resumed after it.
//!
//! # Panics
//!
//! A panic of a job is passed to the call that resumed it. The job has ended then, its stack is back
//! in the pool, and other jobs are not affected. A panic of a job that is being cancelled is
//! swallowed and counted. A destructor cannot pause while its thread is unwinding.
//!
//! # Stacks
//!
//! ```text
//!  one reservation of up to 1,024 stacks, one mapping where the kernel has guard markers
//!  +-------+-----------------------+-------+-------+-----------------------+-------+--- ...
//!  | guard | stack, grows <------- | state | guard | stack, grows <------- | state |
//!  | zone  |  256 KiB by default   |       | zone  |                       |       |
//!  +-------+-----------------------+-------+-------+-----------------------+-------+--- ...
//! ```
//!
//! A stack takes address space when it is made, and memory page by page as it is used: a shallow
//! paused job costs one page, which also holds its state, and its share of the page tables, less
//! than 4,900 bytes in all ([`PoolBuilder::stack_size`] has a table). Stacks are reused last in,
//! first out. Idle ones, except the last that came back, are overwritten down to the high-water mark
//! ([`PoolBuilder::wipe_stacks`] says what may remain for how long). [`JobPool::shrink`] gives their
//! memory back to the system. Deep code that never waits can run [on the stack that resumed the
//! job](on_parent_stack).
//!
//! An overflow faults on the guard zone and ends the process by `SIGSEGV`; [`report_overflows`] adds
//! a line that names the job. The zone is at least 120 KiB: compiled C moves the stack pointer by its
//! whole frame, without touching each page as Rust does, and writes to any part of it. So an overflow
//! is missed only if a single frame, together with what its caller had left, is larger than the zone
//! and leaves all of the zone untouched.
//!
//! # Limits by kernel
//!
//! - Linux 6.13 and later: guard markers, about one mapping for each 1,024 stacks; memory is the
//!   only limit. Where the system counts address space as memory (`vm.overcommit_memory` is 2, or a
//!   limit on address space), a stack of 256 KiB counts as 380.
//! - Before that, where `mlockall` has locked future mappings, and where an emulator accepts guard
//!   markers without guarding: page protection, two mappings for each stack, of which Linux allows
//!   65,530 in a process. The guard zone has the same size. A start that would come near the limit
//!   returns [`StartRefused::OutOfMappings`], which names the value of `vm.max_map_count` to set.
//!   Under `mlockall` all of a stack is resident from the moment it is made.
//! - Elsewhere on Unix: page protection.
//! - User-mode shadow stacks: not capable, see [`is_capable`].
//!
//! # Tracing
//!
//! Target `job_core`. Each job has the span `job` with the field `job` (level debug). `job.cancel`
//! is a debug event, `job.quarantined` a warning with the fields `unwinds` and `reason`; both name
//! the job in the field `job`. A panic of foreign code is the error `foreign.panic`. A pool built
//! with stacks of less than 128 KiB is a warning, `pool.small_stacks`, with the fields `stack_size`
//! and `measured_need`.
//!
//! The crate has no features.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[cfg(not(unix))]
compile_error!("job-core maps and guards stacks as Unix does; other systems are not supported");

mod bridge;
mod builder;
mod cancel;
mod context;
mod current;
mod id;
mod job;
mod pause;
mod pool;
mod pool_inner;
mod start;
mod stats;

#[allow(unsafe_code, reason = "the one module that maps stacks and switches between them")]
mod fiber;

pub use bridge::{Run, WaitForError, run, run_with, wait_for};
pub use builder::{PoolBuilder, PoolError};
pub use current::{Current, current};
pub use fiber::{StackGuard, is_capable, report_overflows};
pub use id::JobId;
pub use job::{Job, Step};
pub use pause::{
    BlockGuard, Pause, block_pause, on_job_stack, on_parent_stack, on_thread_stack, pause,
};
pub use pool::JobPool;
pub use start::{StartError, StartRefused};
pub use stats::PoolStats;
pub use wait_ctx::WaitCtx;
