//! Which signals reach our threads: none of the application's.
//!
//! A signal sent to a process is delivered to any of its threads that does not block it. A program that blocks SIGTERM or
//! SIGUSR1 everywhere, to wait for it in one place, would be killed by a thread of ours that does not. So our threads block
//! everything but what belongs to the thread itself (faults) and SIGPROF, by which profilers sample every thread.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Signals that a thread raises by what it does, or that stop the process in an emergency, and the profiler's.
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

/// Starts a thread that blocks the signals of the application. They are blocked before it starts, so there is no moment in
/// which it takes one; the mask of the calling thread is the same afterwards as before.
///
/// # Errors
///
/// Those of the system that gives no thread.
pub(crate) fn spawn_without_signals<T: Send + 'static>(
    builder: Builder,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut mask = SigSet::all();
    NOT_BLOCKED.into_iter().for_each(|signal| mask.remove(signal));
    // It fails only for arguments that are none.
    let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let spawned = builder.spawn(run);
    before.thread_set_mask()?;
    spawned
}
