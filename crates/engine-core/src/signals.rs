//! Threads that take no signals of the application.
//!
//! A signal sent to a process is delivered to any thread that does not block it. A program that blocks SIGTERM or SIGUSR1
//! in all its threads, to wait for it in one place, would be killed through a thread of this crate that does not. So
//! these threads block all signals but those of the thread itself (faults) and SIGPROF, with which profilers sample every
//! thread.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Signals for faults of the thread itself, and the profiler's.
const NOT_BLOCKED: [Signal; 8] = [
    Signal::SIGPROF,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
];

/// Starts a thread that blocks the signals of the application from its first instruction on. The mask of the calling
/// thread is restored.
///
/// # Errors
///
/// If the system gives no thread.
pub(crate) fn spawn_without_signals<T: Send + 'static>(
    builder: Builder,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut mask = SigSet::all();
    NOT_BLOCKED.into_iter().for_each(|signal| mask.remove(signal));
    // Fails only for invalid arguments.
    let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let spawned = builder.spawn(run);
    before.thread_set_mask()?;
    spawned
}
