//! Gives `async` hooks the tokio runtime of the task that waits for the packet.
//!
//! A shard is not a thread of a runtime, so a hook there would panic in `tokio::spawn` or `tokio::time::sleep`. The shard sets
//! the task's runtime while it runs a packet, and each poll of a hook's future enters it. A poll, not a packet, because
//! guards of [`Handle::enter`] must end in the reverse order of their creation, which pausing jobs would break.

use std::cell::RefCell;

use tokio::runtime::Handle;

thread_local! {
    static CURRENT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Runs `packet` with `runtime` as the runtime of its hooks.
pub(crate) fn lend<R>(runtime: Option<&Handle>, packet: impl FnOnce() -> R) -> R {
    struct Restore(Option<Handle>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(runtime.cloned()));
    packet()
}

/// Runs `poll` inside the runtime of the current packet, if it has one.
pub(crate) fn enter<R>(poll: impl FnOnce() -> R) -> R {
    let runtime = CURRENT.with_borrow(Clone::clone);
    let _entered = runtime.as_ref().map(Handle::enter);
    poll()
}
