//! What a job leaves alone in the thread that runs it.

use job_core::{JobPool, Pause, pause};

use crate::paused;

/// The line of the thread's status that lists its blocked signals.
#[cfg(target_os = "linux")]
fn blocked_signals() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux has /proc");
    let line = status.lines().find(|line| line.starts_with("SigBlk:"));
    line.expect("the status lists blocked signals").to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn l6_starting_pausing_and_ending_leave_the_signal_mask_alone() {
    let before = blocked_signals();
    let pool = JobPool::new();
    // A stack made in advance remembers nothing of the thread, either.
    pool.preallocate(1);
    let job = paused(
        pool.start(|| {
            let inside = blocked_signals();
            assert_eq!(pause(), Pause::Resumed);
            inside
        })
        .unwrap(),
    );
    assert_eq!(blocked_signals(), before);
    assert_eq!(job.resume().finished().as_deref(), Some(before.as_str()));
    drop(pool.start(pause).unwrap());
    assert_eq!(blocked_signals(), before);
}

#[test]
fn floating_point_is_the_same_on_a_fiber() {
    // A third rounds differently in every rounding mode.
    let third = |one: f64| std::hint::black_box(one) / 3.0;
    let pool = JobPool::new();
    let job = paused(
        pool.start(move || {
            let before = third(1.0);
            let _ = pause();
            (before, third(1.0))
        })
        .unwrap(),
    );
    let outside = third(1.0);
    assert_eq!(job.resume().finished(), Some((outside, outside)));
}

#[test]
fn a_panic_with_a_backtrace_fits_on_the_default_stack() {
    let pool = JobPool::new();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let step = pool.start(|| {
            let trace = std::backtrace::Backtrace::force_capture();
            assert!(!trace.to_string().is_empty());
            let _ = pause();
        });
        let job = paused(step.unwrap());
        job.resume().finished()
    }));
    assert_eq!(result.unwrap(), Some(()));
}
