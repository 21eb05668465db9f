//! This machine as results name it; CPU time of a thread and of the process, the time that a thread waited for a
//! processor, and the processors that it may use.

use std::time::Duration;

use lab_report::Machine;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// This machine, and the commit that the laboratory was built from.
pub fn this_machine() -> Machine {
    Machine::this(option_env!("LAYBY_COMMIT"))
}

/// CPU time that the calling thread has used so far (`CLOCK_THREAD_CPUTIME_ID`).
pub fn thread_cpu() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

/// CPU time that all threads have used so far (`CLOCK_PROCESS_CPUTIME_ID`).
pub fn process_cpu() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Time that the calling thread has been ready to run without a processor so far (the second number of
/// `/proc/thread-self/schedstat`); `None` where the system does not tell.
pub fn thread_processor_wait() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Confines the calling thread, and the threads that it starts from now on, to the last of the processors that it may use:
/// clients of a server that is measured beside them. With one processor, or where the system refuses, nothing changes.
pub fn confine_to_last_processor() {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let last = (0..CpuSet::MAX_CPU).rev().find(|&number| allowed.is_set(number));
    if let Some(last) = last {
        let mut only = CpuSet::new();
        only.set(last);
        let _ = sched_setaffinity(None, &only);
    }
}
