//! Whether fibers work in this process.

use std::sync::OnceLock;

/// Whether this process can run fibers. Where it cannot, every start answers
/// [`StartRefused::NotCapable`](crate::StartRefused::NotCapable).
///
/// `false` if user-mode shadow stacks are on for this process: the processor then faults at the
/// first return on another stack. The answer does not change while the process runs.
pub fn is_capable() -> bool {
    static CAPABLE: OnceLock<bool> = OnceLock::new();
    *CAPABLE.get_or_init(|| !has_shadow_stack())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn has_shadow_stack() -> bool {
    // Without /proc: off, which is the default.
    std::fs::read_to_string("/proc/thread-self/status")
        .is_ok_and(|status| names_shadow_stack(&status))
}

/// Parses the line `x86_Thread_features:\tshstk wrss` of a thread's status.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn names_shadow_stack(status: &str) -> bool {
    status
        .lines()
        .filter_map(|line| line.strip_prefix("x86_Thread_features:"))
        .any(|features| features.split_whitespace().any(|feature| feature == "shstk"))
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn has_shadow_stack() -> bool {
    const PR_GET_SHADOW_STACK_STATUS: core::ffi::c_int = 74;
    const PR_SHADOW_STACK_ENABLE: core::ffi::c_ulong = 1;

    unsafe extern "C" {
        fn prctl(option: core::ffi::c_int, ...) -> core::ffi::c_int;
    }

    let mut status: core::ffi::c_ulong = 0;
    let none: core::ffi::c_ulong = 0;
    // SAFETY: the option takes a pointer to a long to write and three zeros; kernels without it
    // return an error.
    let answer = unsafe { prctl(PR_GET_SHADOW_STACK_STATUS, &raw mut status, none, none, none) };
    answer == 0 && status & PR_SHADOW_STACK_ENABLE != 0
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn has_shadow_stack() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::names_shadow_stack;

    #[test]
    fn shadow_stack_is_read_from_the_thread_status() {
        assert!(names_shadow_stack("Name:\tx\nx86_Thread_features:\tshstk wrss \nThreads:\t1\n"));
        assert!(!names_shadow_stack("Name:\tshstk\nx86_Thread_features:\t\n"));
        assert!(!names_shadow_stack("x86_Thread_features:\twrss\n"));
        assert!(!names_shadow_stack("Name:\tx\n"));
    }
}
