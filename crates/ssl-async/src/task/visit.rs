//! One packet's stay at a shard, as the task sees it.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, ready};
use std::any::Any;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Span;
use wait_ctx::contain_drop;

use crate::hook_runtime;
use crate::packet::Work;
use crate::rustls23::Processed;
use crate::task::inbox::{Command, Inbox};
use crate::task::shards::Place;

/// The name of a stay, never used again: what comes too late for one finds nothing. Smaller ones came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VisitId(u64);

impl VisitId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the shard answers.
pub(crate) enum Reply {
    /// The packet's end.
    Processed(Processed),
    /// The panic that was its end.
    Panicked(Box<dyn Any + Send>),
    /// It was parked, or had no job yet, when it was [abandoned](Visit::abandon).
    Abandoned,
}

/// A packet on its way to a shard.
pub(crate) struct Order {
    pub(crate) id: VisitId,
    pub(crate) work: Work,
    pub(crate) visitor: Visitor,
}

/// Who waits for a packet. Dropped when the packet has ended and its stack is back.
pub(crate) struct Visitor {
    pub(crate) reply: oneshot::Sender<Reply>,
    /// Entered whenever the packet runs.
    span: Span,
    /// That of the task, for hooks.
    runtime: Option<Handle>,
    pub(crate) _place: Place,
}

impl Visitor {
    /// Whether nobody waits any more.
    pub(crate) fn has_gone(&self) -> bool {
        self.reply.is_closed()
    }

    /// Runs the packet, or ends it, in the span of the task that waits for it, and lends its hooks the task's runtime.
    pub(crate) fn enter<R>(&self, run: impl FnOnce() -> R) -> R {
        hook_runtime::lend(self.runtime.as_ref(), || self.span.in_scope(run))
    }

    pub(crate) fn answer(self, reply: Reply) {
        // If the task was dropped meanwhile, the connection ends here.
        if let Err(unwanted) = self.reply.send(reply) {
            contain_drop("what a connection owns", unwanted);
        }
    }
}

/// A packet that is at a shard. Ready with the answer; `None` if the shard has ended. Dropping it cancels the packet.
pub(crate) struct Visit {
    id: VisitId,
    /// Absent if it was refused.
    inbox: Option<Arc<Inbox>>,
    reply: oneshot::Receiver<Reply>,
    answered: bool,
}

impl Visit {
    pub(crate) fn begin(inbox: &Arc<Inbox>, place: Place, work: Work) -> Self {
        let (sender, reply) = oneshot::channel();
        let id = VisitId::next();
        let runtime = Handle::try_current().ok();
        let visitor = Visitor { reply: sender, span: Span::current(), runtime, _place: place };
        // An order that comes back is dropped, and the answer is that there is none.
        let _ = inbox.send(Command::Start(Order { id, work, visitor }));
        Self { id, inbox: Some(Arc::clone(inbox)), reply, answered: false }
    }

    /// A packet that goes to no shard: there is no answer.
    pub(crate) fn refused() -> Self {
        let (_, reply) = oneshot::channel();
        Self { id: VisitId::next(), inbox: None, reply, answered: false }
    }

    /// Gives the packet up if it is parked or has no job yet, and not if it is done before that: the answer says which.
    pub(crate) fn abandon(&self) {
        // A shard that has ended has answered.
        if let Some(inbox) = &self.inbox {
            let _ = inbox.send(Command::Abandon(self.id));
        }
    }
}

impl Future for Visit {
    type Output = Option<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        self.answered = true;
        Poll::Ready(reply.ok())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.answered {
            // First, so that a packet not yet begun is not begun, even if it is taken up before the command is.
            self.reply.close();
            // A shard that has ended has cancelled it already.
            if let Some(inbox) = &self.inbox {
                let _ = inbox.send(Command::Cancel(self.id));
            }
        }
    }
}
