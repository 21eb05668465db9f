//! CPU clocks, and which processor a thread runs on.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used so far.
pub fn thread_cpu() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// CPU time that all threads have used so far.
pub fn process_cpu() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// In whole nanoseconds.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One of the two processors of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first: every thread of a server, and clients in memory.
    Serving,
    /// The second: the key, clients over loopback, the measuring.
    Beside,
}

/// Moves the calling thread, and the threads that it starts later, to the first or the second processor that this process
/// may use. With one processor both are the same.
pub fn pin(place: Place) {
    let processors = processors();
    let number = match place {
        Place::Serving => 0,
        Place::Beside => 1.min(processors.len().saturating_sub(1)),
    };
    if let Some(&processor) = processors.get(number) {
        let mut set = CpuSet::new();
        set.set(processor);
        // Where it is not allowed the figures are noisier.
        let _ = sched_setaffinity(None, &set);
    }
}

/// The processors that the process could use when it began.
fn processors() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|&number| set.is_set(number)).collect()
    })
}
