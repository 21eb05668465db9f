//! What a shard is told, and the bell that wakes it: by tasks, which send packets, and by engines, which have answers.
//!
//! One lock. A thread that works is never interrupted; one that sleeps is woken once, however much arrives.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use job_core::PoolStats;
use tokio::sync::oneshot;
use wait_ctx::contain_drop;

use crate::task::visit::{Order, VisitId};

/// What a task wants of a shard.
pub(crate) enum Command {
    /// Begin a packet.
    Start(Order),
    /// Nobody waits for this packet any more.
    Cancel(VisitId),
    /// The result of this packet's operation can reach no peer: if it is parked or has no job yet, it ends here.
    Abandon(VisitId),
    /// Say how the jobs are.
    Report(oneshot::Sender<PoolStats>),
    /// Wipe the idle stacks, then say so.
    Wipe(oneshot::Sender<()>),
    /// Give memory of idle stacks back, then say how many are gone.
    Shrink(oneshot::Sender<usize>),
}

/// The inbox of one shard.
pub(crate) struct Inbox {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// The shard found nothing and sleeps, or is about to.
    sleeping: bool,
    closed: bool,
}

/// What has arrived since the last turn.
#[derive(Default)]
pub(crate) struct Batch {
    /// Packets that may go on.
    pub(crate) ready: Vec<Arc<Doorbell>>,
    pub(crate) commands: Vec<Command>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.commands.is_empty()
    }
}

impl Inbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), rung: Condvar::new() })
    }

    /// Sends a command. It comes back if the shard has ended or is about to.
    pub(crate) fn send(&self, command: Command) -> Result<(), Command> {
        self.put(command, |batch, command| batch.commands.push(command))
    }

    fn put<T>(&self, item: T, add: impl FnOnce(&mut Batch, T)) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        add(&mut state.batch, item);
        let wake = core::mem::take(&mut state.sleeping);
        drop(state);
        if wake {
            self.rung.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something, and takes it all, in the place of the empty `batch`. False once the inbox is
    /// closed: then `batch` is what will not be done any more.
    pub(crate) fn take(&self, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        while state.batch.is_empty() && !state.closed {
            state.sleeping = true;
            state = self.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.sleeping = false;
        core::mem::swap(&mut state.batch, batch);
        !state.closed
    }

    /// Nothing is taken in any more, and the shard ends.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.rung.notify_one();
    }

    /// As [`close`](Self::close), for a shard that has ended without being told to: what it has not taken is dropped, and
    /// whoever waits for it hears that.
    pub(crate) fn abandon(&self) {
        self.close();
        let left = core::mem::take(&mut self.lock().batch);
        for command in left.commands {
            contain_drop("a packet that a shard has not begun", command);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a shard that a packet may go on. What an engine or a future wakes.
///
/// However often it is rung before the shard answers, it is in the inbox once.
pub(crate) struct Doorbell {
    inbox: Arc<Inbox>,
    visit: VisitId,
    rung: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new(inbox: Arc<Inbox>, visit: VisitId) -> Arc<Self> {
        Arc::new(Self { inbox, visit, rung: AtomicBool::new(false) })
    }

    /// The packet that may go on. From here on it can be rung again: call it before the packet is resumed, or a wake
    /// during the resume would be lost.
    pub(crate) fn answer(&self) -> VisitId {
        self.rung.swap(false, Ordering::AcqRel);
        self.visit
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A shard that has ended has no packets.
            let _ = self.inbox.put(Arc::clone(self), |batch, bell| batch.ready.push(bell));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l3_wakes_of_a_packet_coalesce_until_the_shard_answers() {
        let inbox = Inbox::new();
        let bell = Doorbell::new(Arc::clone(&inbox), VisitId::next());
        let mut batch = Batch::default();
        for _ in 0..2 {
            (0..100_000).for_each(|_| Arc::clone(&bell).wake());
            assert!(inbox.take(&mut batch));
            assert_eq!(batch.ready.len(), 1);
            for bell in batch.ready.drain(..) {
                bell.answer();
            }
        }
        // One that comes after the answer, and before the resume that it stands for, is kept.
        bell.wake_by_ref();
        assert!(inbox.take(&mut batch));
        assert_eq!(batch.ready.len(), 1);
    }
}
