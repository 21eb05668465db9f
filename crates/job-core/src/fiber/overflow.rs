//! The signal handler that reports which job has overflowed its stack.

use core::ffi::{c_int, c_void};
use core::fmt::{self, Write as _};
use core::mem::MaybeUninit;
use core::ptr;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::switch;

/// The signals for a fault on a guard zone: some systems send the second for a protected page.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The action for each of [`SIGNALS`] before ours.
static PREVIOUS: [OnceLock<Action>; SIGNALS.len()] = [OnceLock::new(), OnceLock::new()];

/// An action of the process for a signal.
struct Action(libc::sigaction);

// SAFETY: it holds the address of a function, flags and a mask: plain values of the process.
unsafe impl Send for Action {}
// SAFETY: as above.
unsafe impl Sync for Action {}

/// Installs a signal handler that names the job when a job overflows its stack. Later calls do
/// nothing.
///
/// The process ends as without it, but first a line goes to standard error:
///
/// ```text
/// job 17 has overflowed its stack of 265984 bytes: raise stack_size (job_core::PoolBuilder), or run
/// the deep code with job_core::on_parent_stack
/// ```
///
/// (It is one line; the number is the [`JobId`](crate::JobId).) The handler, of `SIGSEGV` and
/// `SIGBUS`, is async-signal-safe. It passes the signal on to the handler that was there before, or
/// to the default action. A program with a handler of its own (crash reporters, language runtimes)
/// installs it before this call, or passes the signal on, too.
///
/// # Threads
///
/// The handler runs on the alternate signal stack of the thread that faulted. Rust gives one to the
/// main thread and to every thread it starts. A thread started by another language has none unless
/// it made one (`sigaltstack`); there the kernel ends the process without the line.
///
/// # Errors
///
/// Those of `sigaction`.
pub fn report_overflows() -> io::Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (&signal, previous) in SIGNALS.iter().zip(&PREVIOUS) {
        if previous.get().is_some() {
            continue;
        }
        let found = exchange(signal, None)?;
        // Stored first: the handler needs it and may run as soon as it is installed.
        let Action(found) = previous.get_or_init(|| Action(found));
        let mut ours = *found;
        ours.sa_sigaction = on_fault as *const () as usize;
        // On the thread's alternate stack, since the job's is used up. The other flags are those of
        // the previous handler, which is called from ours.
        ours.sa_flags = found.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART)
            | libc::SA_SIGINFO
            | libc::SA_ONSTACK;
        exchange(signal, Some(&ours))?;
    }
    Ok(())
}

/// Returns the action of the process for a signal, and replaces it if there is a new one.
fn exchange(signal: c_int, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut found = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `new` is null or points to an action whose handler is `on_fault` or was installed
    // before, and `found` is room for one.
    if unsafe { libc::sigaction(signal, new, found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, which is a value of this plain structure, and then filled in by the call.
    Ok(unsafe { found.assume_init() })
}

/// Reports an overflow of a job's stack, and passes every signal on to the previous handler.
///
/// Async-signal-safe: it reads statics and a constant-initialised thread-local variable, calls
/// `write` and `sigaction`, and restores `errno`.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = errno::errno();
    // SAFETY: the kernel passes information that lives as long as the handler runs to one with
    // `SA_SIGINFO`.
    let details = unsafe { &*info };
    // SAFETY: for these two signals the information has an address.
    let address = unsafe { details.si_addr() } as usize;
    if let Some((job, bytes)) = switch::overflowed(address) {
        let mut line = Line { bytes: [0; 256], len: 0 };
        // Formatting integers takes no lock and no memory.
        let _ = writeln!(
            line,
            "job {job} has overflowed its stack of {bytes} bytes: raise stack_size \
             (job_core::PoolBuilder), or run the deep code with job_core::on_parent_stack"
        );
        // In one call, so that lines of several threads do not mix. A failure is ignored: the
        // process is about to end.
        // SAFETY: the range is the part of the buffer that was written.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len) };
    }
    errno::set_errno(errno);
    let at = SIGNALS.iter().position(|&ours| ours == signal);
    let Some(Action(previous)) = at.and_then(|at| PREVIOUS[at].get()) else { return };
    pass_on(previous, signal, info, context);
}

/// Does what the previous action would have done.
fn pass_on(
    previous: &libc::sigaction,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let handler = previous.sa_sigaction;
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // When the handler returns, the faulting instruction runs again, and the kernel ends the
        // process: a fault cannot be ignored. A signal sent by a process has no such instruction,
        // so it is sent again.
        let _ = exchange(signal, Some(previous));
        // SAFETY: as in `on_fault`.
        let details = unsafe { &*info };
        if details.si_code <= 0 && handler == libc::SIG_DFL {
            // SAFETY: sends a signal to this thread, delivered when the handler returns.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: an action with `SA_SIGINFO` that is neither default nor ignore holds the address
        // of a function of that type.
        let handler = unsafe { core::mem::transmute::<usize, Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: as above, and without `SA_SIGINFO` the function takes the signal alone.
        let handler = unsafe { core::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
        handler(signal);
    }
}

/// A line of text, built without an allocation and cut off where it is full.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = &mut self.bytes[self.len..];
        let len = free.len().min(text.len());
        free[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_built_and_cut_off_where_it_is_full() {
        let mut line = Line { bytes: [0; 256], len: 0 };
        write!(line, "job {} and {}", 0, u64::MAX).unwrap();
        assert_eq!(&line.bytes[..line.len], b"job 0 and 18446744073709551615");
        for _ in 0..40 {
            line.write_str("0123456789").unwrap();
        }
        assert_eq!((line.len, line.bytes[255]), (256, b'5'));
    }
}
