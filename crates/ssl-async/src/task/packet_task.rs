//! A packet processed on a shard, and its caller: the task that waits for the reply.

use core::sync::atomic::{AtomicU64, Ordering};
use std::any::Any;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Span;
use wait_ctx::contain_drop;

use crate::hook_runtime;
use crate::packet::Work;
use crate::rustls23::Processed;
use crate::task::active::ActiveGuard;

/// Identifies a packet. Never reused, so that a late command or wake finds no other packet; a smaller id is an older packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PacketId(u64);

impl PacketId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How a packet ended on its shard.
pub(crate) enum Reply {
    Processed(Processed),
    Panicked(Box<dyn Any + Send>),
    /// Cancelled while it was parked or had no job yet, because its [handle](super::shards::PacketHandle::cancel_unless_running)
    /// asked for it.
    Cancelled,
}

/// A packet on its way to a shard.
pub(crate) struct PacketTask {
    pub(crate) id: PacketId,
    pub(crate) work: Work,
    pub(crate) caller: Caller,
}

impl PacketTask {
    /// A packet whose caller is the current task, with the receiver of its reply.
    pub(crate) fn new(work: Work, active: ActiveGuard) -> (Self, oneshot::Receiver<Reply>) {
        let (reply, receiver) = oneshot::channel();
        let (span, runtime) = (Span::current(), Handle::try_current().ok());
        let caller = Caller { reply, span, runtime, _active: active };
        (Self { id: PacketId::next(), work, caller }, receiver)
    }
}

/// The task that waits for a packet. Dropped when the packet has ended and its stack is back in the pool.
pub(crate) struct Caller {
    reply: oneshot::Sender<Reply>,
    /// Entered whenever the packet runs.
    span: Span,
    /// The task's runtime, for hooks.
    runtime: Option<Handle>,
    _active: ActiveGuard,
}

impl Caller {
    /// Whether the caller was dropped, so that the packet is to be cancelled.
    pub(crate) fn is_dropped(&self) -> bool {
        self.reply.is_closed()
    }

    /// Runs or drops the packet in the caller's span, with the caller's runtime for hooks.
    pub(crate) fn enter<R>(&self, run: impl FnOnce() -> R) -> R {
        hook_runtime::lend(self.runtime.as_ref(), || self.span.in_scope(run))
    }

    pub(crate) fn reply(self, reply: Reply) {
        // A reply whose caller was dropped comes back, and the connection ends here.
        if let Err(returned) = self.reply.send(reply) {
            contain_drop("what a connection owns", returned);
        }
    }
}
