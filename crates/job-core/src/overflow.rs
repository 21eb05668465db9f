//! Telling which job has overflowed its stack.

use std::io;

use crate::fiber;

/// Makes this process say which job it is when a job overflows its stack. Later calls do nothing.
///
/// The process dies of an overflow as before. But first a line goes to standard error:
///
/// ```text
/// job 17 has overflowed its stack of 265984 bytes: raise stack_size (job_core::PoolBuilder), or run
/// the deep code with job_core::on_parent_stack
/// ```
///
/// (It is one line; the number of the job is its [`JobId`](crate::JobId).) This installs a handler
/// of `SIGSEGV` and `SIGBUS` that does only what a signal handler may do, and then hands on: to the
/// handler that was there before, or to the default action. So a program that installs a handler of its
/// own (crash reporters, language runtimes) does it before this, or hands on, too.
///
/// # Threads
///
/// The handler runs on the alternate signal stack of the thread that faulted. Rust gives one to the
/// main thread and to every thread it starts. A thread that another language has started has none
/// unless it made one (`sigaltstack`): there the kernel ends the process without the line, as it
/// does without this function.
///
/// # Errors
///
/// Those of `sigaction`.
pub fn report_overflows() -> io::Result<()> {
    fiber::report_overflows()
}
