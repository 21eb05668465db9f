//! The tokio runtime that an `async` hook finds: that of the task which waits for the packet.
//!
//! A shard is no thread of a runtime, so a hook there would panic in `tokio::spawn` or `tokio::time::sleep`. The shard lends
//! the task's runtime to each packet for as long as it runs, and the poll of a hook's future enters it. It is entered for
//! a single poll and never across a pause: guards of [`Handle::enter`] end in the reverse of the order in which they began,
//! and jobs do not.

use std::cell::RefCell;

use tokio::runtime::Handle;

thread_local! {
    static LENT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Lends `runtime` to what runs in `packet`.
pub(crate) fn lend<R>(runtime: Option<&Handle>, packet: impl FnOnce() -> R) -> R {
    struct Return(Option<Handle>);
    impl Drop for Return {
        fn drop(&mut self) {
            LENT.set(self.0.take());
        }
    }
    let _before = Return(LENT.replace(runtime.cloned()));
    packet()
}

/// Runs `poll` in the runtime that was lent to this packet; as it is if there is none.
pub(crate) fn enter<R>(poll: impl FnOnce() -> R) -> R {
    let runtime = LENT.with_borrow(Clone::clone);
    let _entered = runtime.as_ref().map(Handle::enter);
    poll()
}
