//! Gives hooks the tokio runtime of the task that waits for the packet.
//!
//! A shard is not a thread of a runtime, so a hook there would panic in `tokio::spawn` or `tokio::time::sleep`. The shard sets
//! the task's runtime while it runs a packet, and what cannot pause enters it: a hook on the thread's stack, and each poll of
//! a hook's future. Not a whole packet, because guards of [`Handle::enter`] must end in the reverse order of their creation,
//! which pausing jobs would break. And not once for all packets that a shard takes at a time: a shard knows that a hook has entered a
//! runtime of its own, where it must not pause, by being in none otherwise.

#[cfg(feature = "tokio")]
use std::cell::RefCell;

#[cfg(feature = "tokio")]
use tokio::runtime::Handle;

#[cfg(feature = "tokio")]
use crate::packet_local;

#[cfg(feature = "tokio")]
thread_local! {
    static CURRENT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Runs `packet` with `runtime` as the runtime of its hooks.
#[cfg(feature = "tokio")]
pub(crate) fn lend<R>(runtime: Option<&Handle>, packet: impl FnOnce() -> R) -> R {
    packet_local::during(&CURRENT, runtime.cloned(), packet)
}

/// Runs `hook`, which does not pause, inside the runtime of the current packet, if it has one.
pub(crate) fn enter<R>(hook: impl FnOnce() -> R) -> R {
    #[cfg(feature = "tokio")]
    let runtime = CURRENT.with_borrow(Clone::clone);
    #[cfg(feature = "tokio")]
    let _entered = runtime.as_ref().map(Handle::enter);
    hook()
}
