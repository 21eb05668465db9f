//! The signal handler that says which job has overflowed its stack.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::switch;

/// The signals of an access to memory that must not be accessed: the second is what some systems
/// send for a closed page.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What was installed for each of [`SIGNALS`] before us.
static PREVIOUS: [OnceLock<Action>; SIGNALS.len()] = [OnceLock::new(), OnceLock::new()];

/// An action of the process for a signal. It holds an address of code, which any thread may use.
struct Action(libc::sigaction);

// SAFETY: nothing in there is changed or belongs to one thread.
unsafe impl Send for Action {}
// SAFETY: as above.
unsafe impl Sync for Action {}

/// Installs the handler for this process. Once is enough; later calls do nothing.
pub(crate) fn report_overflows() -> io::Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (&signal, previous) in SIGNALS.iter().zip(&PREVIOUS) {
        if previous.get().is_some() {
            continue;
        }
        let found = exchange(signal, None)?;
        // The handler may run as soon as it is installed, and needs the one before it.
        let Action(found) = previous.get_or_init(|| Action(found));
        let mut ours = *found;
        ours.sa_sigaction = on_fault as *const () as usize;
        // On the thread's alternate stack, since there is none left of the job's. The rest is as it
        // was asked for: the handler before us is called from ours.
        ours.sa_flags = found.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART)
            | libc::SA_SIGINFO
            | libc::SA_ONSTACK;
        exchange(signal, Some(&ours))?;
    }
    Ok(())
}

/// Replaces the action of the process for a signal, or leaves it; answers the one it found.
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

/// Says what has happened if it was an overflow of a job's stack, and hands on to the handler that
/// was there before.
///
/// Everything in here is async-signal-safe: reading statics and a constant-initialised thread-local
/// variable, `write` and `sigaction`. `errno` is what it was afterwards.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = errno::errno();
    // SAFETY: the kernel passes information that lives as long as the handler runs to one with
    // `SA_SIGINFO`.
    let told = unsafe { &*info };
    // SAFETY: for these two signals the information has an address.
    let address = unsafe { told.si_addr() } as usize;
    if let Some((job, bytes)) = switch::overflowed(address) {
        let mut line = Line::new();
        line.text("job ");
        line.number(job.0);
        line.text(" has overflowed its stack of ");
        line.number(bytes as u64);
        line.text(
            " bytes: raise stack_size (job_core::PoolBuilder), \
             or run the deep code with job_core::on_parent_stack\n",
        );
        line.write_to_stderr();
    }
    errno::set_errno(errno);
    let at = SIGNALS.iter().position(|&ours| ours == signal);
    let Some(Action(previous)) = at.and_then(|at| PREVIOUS[at].get()) else { return };
    hand_on(previous, signal, info, context);
}

/// Does what would have been done without us.
fn hand_on(
    previous: &libc::sigaction,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let handler = previous.sa_sigaction;
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // The faulting instruction runs again when we return, and the kernel ends the process: it
        // does not let a fault be ignored. A signal that somebody sent is lost, as there is no
        // instruction to run again; so it is sent once more.
        let _ = exchange(signal, Some(previous));
        // SAFETY: as in `on_fault`.
        let told = unsafe { &*info };
        if told.si_code <= 0 && handler == libc::SIG_DFL {
            // SAFETY: sends a signal to this thread; it comes when the handler returns.
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

/// A line of text, put together without an allocation.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; 256], len: 0 }
    }

    /// Adds as much of the text as there is room for.
    fn text(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            if let Some(free) = self.bytes.get_mut(self.len) {
                *free = byte;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while first == digits.len() || number > 0 {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.text(core::str::from_utf8(&digits[first..]).unwrap_or("?"));
    }

    fn write_to_stderr(&self) {
        // In one call, so that lines of several threads do not mix. A failure is
        // ignored: the process is about to die.
        // SAFETY: the range is the initialised part of our own buffer.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_is_put_together_and_cut_where_it_is_full() {
        let mut line = Line::new();
        line.text("job ");
        line.number(0);
        line.text(" and ");
        line.number(u64::MAX);
        assert_eq!(&line.bytes[..line.len], b"job 0 and 18446744073709551615");
        for _ in 0..40 {
            line.text("0123456789");
        }
        assert_eq!((line.len, line.bytes[255]), (256, b'5'));
    }
}
