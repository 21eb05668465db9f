//! The state of a thread that jobs do not change.

use std::hint::black_box;

use job_core::{JobPool, Pause, StackGuard, pause};

use crate::{paused, start_paused};

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
    // Nor does a stack that was made in advance.
    pool.preallocate(1);
    let job = start_paused(&pool, || {
        let inside = blocked_signals();
        assert_eq!(pause(), Pause::Resumed);
        inside
    });
    assert_eq!(blocked_signals(), before);
    assert_eq!(job.resume().finished().as_deref(), Some(before.as_str()));
    drop(pool.start(pause).unwrap());
    assert_eq!(blocked_signals(), before);
}

/// The floating-point environment, as far as safe code can observe it.
#[derive(Debug, PartialEq, Eq)]
struct FloatingPoint {
    /// A third, a minus third and two thirds: each rounding mode gives another three.
    thirds: [u64; 3],
    /// Half the smallest normal number: zero if subnormal results or operands are flushed.
    subnormal: u64,
    /// A division by zero and zero by zero: a trap if these exceptions are not masked.
    exceptions: [bool; 2],
}

fn floating_point() -> FloatingPoint {
    let over = |a: f64, b: f64| black_box(a) / black_box(b);
    FloatingPoint {
        thirds: [over(1.0, 3.0), over(-1.0, 3.0), over(2.0, 3.0)].map(f64::to_bits),
        subnormal: over(f64::MIN_POSITIVE, 2.0).to_bits(),
        exceptions: [over(1.0, 0.0).is_infinite(), over(0.0, 0.0).is_nan()],
    }
}

#[test]
fn l6_the_floating_point_environment_is_the_same_on_a_fiber() {
    let outside = floating_point();
    // Rounded to nearest, nothing flushed, nothing trapped, which Rust code may rely on.
    assert_eq!(outside.thirds, [1.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0].map(f64::to_bits));
    assert_eq!((outside.subnormal, outside.exceptions), (1 << 51, [true, true]));
    let pool = JobPool::new();
    let job = start_paused(&pool, || {
        let started = floating_point();
        assert_eq!(pause(), Pause::Resumed);
        (started, floating_point())
    });
    assert_eq!(floating_point(), outside);
    let (started, resumed) = job.resume().finished().unwrap();
    assert_eq!((&started, &resumed), (&outside, &outside));
    assert_eq!(floating_point(), outside);
}

/// Makes a system call fail and returns its `errno`.
fn set_errno(path: &str) -> i32 {
    let error = std::fs::File::open(path).expect_err("there is no such file");
    assert_eq!(errno(), error.raw_os_error());
    errno().expect("an error of the system has a number")
}

fn errno() -> Option<i32> {
    std::io::Error::last_os_error().raw_os_error()
}

#[test]
fn l6_errno_is_the_threads_before_and_after_every_switch() {
    for guard in [StackGuard::Auto, StackGuard::Protect] {
        let pool = JobPool::builder().guard(guard).build().unwrap();
        let outer = set_errno("/no/such/file");
        // The first start makes a stack.
        let job = start_paused(&pool, move || {
            let started = errno();
            let _ = pause();
            let resumed = errno();
            // A file is not a directory.
            let inner = set_errno("/dev/null/file");
            assert_ne!(inner, outer);
            let _ = pause();
            (started, resumed, errno(), inner)
        });
        assert_eq!(errno(), Some(outer));
        let job = paused(job.resume());
        // The change that the job made is visible here, as after any call.
        let inner = errno();
        assert_ne!(inner, Some(outer));
        let finished = job.resume().finished().unwrap();
        assert_eq!(finished, (Some(outer), Some(outer), inner, inner.unwrap()));
        assert_eq!(errno(), inner);
        drop(pool);
        assert_eq!(errno(), inner);
    }
}

#[test]
fn l6_a_stack_that_cannot_be_made_leaves_errno_alone() {
    let pool = JobPool::builder().stack_size(1 << 40).build().unwrap();
    let outer = set_errno("/no/such/file");
    // Address space ends after 128 of these at most.
    let made = pool.preallocate(200);
    assert!(made < 200);
    assert!(pool.start(pause).is_ok() || made == 0);
    assert_eq!(errno(), Some(outer));
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
