//! Calls that this library refuses: counted, and those that show a mistake in how the program was put together reported
//! once on standard error.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a caller has done wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Complaint {
    ForeignWaitContext,
    ForeignJob,
    ForeignCall,
    FreedWaitContext,
    StaleJob,
    OtherThread,
    RunningJob,
    OrphanedJob,
    InsideJob,
}

const KINDS: usize = 9;

static COUNTS: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

/// What is said about a program that uses two implementations.
const MIXED: &str = "the program mixes this library with another implementation of ASYNC_*, such as a static libcrypto or \
                     a module opened with RTLD_DEEPBIND; use one of them throughout";

/// Counts a refused call.
#[cold]
pub(crate) fn complain(about: Complaint) {
    let before = COUNTS[about as usize].fetch_add(1, Ordering::Relaxed);
    let what = match about {
        Complaint::ForeignWaitContext => {
            "an ASYNC_WAIT_CTX that this library has not made was refused"
        }
        Complaint::ForeignJob => "an ASYNC_JOB that this library has not made was refused",
        Complaint::ForeignCall => "an ASYNC_WAIT_CTX of this library was changed by another one",
        _ => return,
    };
    if before == 0 {
        say(&format!("{what}: {MIXED}"));
    }
}

/// The number of refused calls, by what was wrong with them.
pub(crate) fn refused() -> [(&'static str, u64); 6] {
    let count = |of: &[Complaint]| {
        of.iter().map(|kind| COUNTS[*kind as usize].load(Ordering::Relaxed)).sum()
    };
    use Complaint as C;
    [
        ("foreign", count(&[C::ForeignWaitContext, C::ForeignJob, C::ForeignCall])),
        ("freed wait contexts", count(&[C::FreedWaitContext])),
        ("stale jobs", count(&[C::StaleJob])),
        ("jobs of other threads", count(&[C::OtherThread])),
        ("running or orphaned jobs", count(&[C::RunningJob, C::OrphanedJob])),
        ("cleanups inside a job", count(&[C::InsideJob])),
    ]
}

/// Writes a line to standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "liblayby_async: {text}");
}
