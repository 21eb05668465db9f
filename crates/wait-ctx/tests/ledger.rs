//! L8: with no session alive, no descriptor of a wait context is open. In a process of its own: the count is the
//! process's.

use wait_ctx::{Key, Seen, WaitCtx, WaitFd, open_fds};

fn pipe() -> std::os::fd::OwnedFd {
    rustix::pipe::pipe().expect("a pipe").0
}

#[test]
fn l8_descriptors_are_counted_until_session_and_consumers_have_dropped_them() {
    let sessions: Vec<WaitCtx> = (0..10).map(|_| WaitCtx::new()).collect();
    assert_eq!(open_fds().now, 0, "no descriptor was asked for");
    let (keep, key) = (Key::unique(), Key::unique());
    for ctx in &sessions {
        ctx.notify_fd().expect("a descriptor");
        ctx.notify_fd().expect("the same one");
        ctx.set_wait_fd(key, WaitFd::owned(pipe())).expect("free");
        ctx.set_wait_fd(keep, WaitFd::borrowed(&0)).expect("free");
    }
    // A signal may take two descriptors where there is no eventfd.
    let per_signal = if cfg!(target_os = "linux") { 1 } else { 2 };
    assert_eq!(open_fds().now, 10 * (1 + per_signal));

    let mut seen = Seen::new();
    let removed = sessions[0].diff(&mut seen);
    drop(sessions[0].clear_fd(key));
    assert_eq!(open_fds().now, 10 * (1 + per_signal), "a consumer knows it");
    drop(removed);
    drop(sessions[0].diff(&mut seen));
    assert_eq!(open_fds().now, 10 * (1 + per_signal) - 1);

    // A request that never completes keeps no descriptor of its session.
    let request = sessions[1].notifier().begin().expect("nothing in flight");
    drop(sessions);
    drop(seen);
    assert_eq!(open_fds().now, 0);
    assert_eq!(open_fds().peak, 10 * (1 + per_signal));
    assert!(request.phase().is_settled());
}
