//! The inbox of a shard: commands from tasks, and wakes of parked packets.
//!
//! It has one lock. A shard that sleeps is woken once, however many items arrive; one that works is not interrupted.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use job_core::PoolStats;
use tokio::sync::oneshot;
use wait_ctx::contain_drop;

use crate::task::packet_task::{PacketId, PacketTask};

/// A command to a shard.
pub(crate) enum Command {
    /// Process a packet.
    Start(PacketTask),
    /// Cancel a packet whose caller was dropped.
    Cancel(PacketId),
    /// Cancel a packet if it is parked or has no job yet, and reply so. Its result could reach no peer.
    CancelUnlessRunning(PacketId),
    /// Reply with the statistics of the job pool.
    Stats(oneshot::Sender<PoolStats>),
    /// Wipe the idle stacks, then reply.
    Wipe(oneshot::Sender<()>),
    /// Return memory of idle stacks to the system, and reply with the number of stacks freed.
    Shrink(oneshot::Sender<usize>),
}

/// The inbox of one shard.
pub(crate) struct Inbox {
    items: Mutex<Items>,
    arrived: Condvar,
}

#[derive(Default)]
struct Items {
    batch: Batch,
    /// The shard waits for `arrived`, or is about to.
    sleeping: bool,
    closed: bool,
}

/// What has arrived since the last [`Inbox::take`].
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) woken: Vec<Arc<PacketWaker>>,
    pub(crate) commands: Vec<Command>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.woken.is_empty() && self.commands.is_empty()
    }
}

impl Inbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { items: Mutex::default(), arrived: Condvar::new() })
    }

    /// Sends a command, or returns it if the inbox is closed.
    pub(crate) fn send(&self, command: Command) -> Result<(), Command> {
        self.put(command, |batch, command| batch.commands.push(command))
    }

    fn put<T>(&self, item: T, add: impl FnOnce(&mut Batch, T)) -> Result<(), T> {
        let mut items = self.lock();
        if items.closed {
            return Err(item);
        }
        add(&mut items.batch, item);
        let wake = core::mem::take(&mut items.sleeping);
        drop(items);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until something has arrived, and swaps it all for the empty `batch`. Returns false once the inbox is closed;
    /// `batch` is then what arrived before.
    pub(crate) fn take(&self, batch: &mut Batch) -> bool {
        let mut items = self.lock();
        while items.batch.is_empty() && !items.closed {
            items.sleeping = true;
            items = self.arrived.wait(items).unwrap_or_else(PoisonError::into_inner);
        }
        items.sleeping = false;
        core::mem::swap(&mut items.batch, batch);
        !items.closed
    }

    /// Closes the inbox, which ends the shard.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Closes the inbox of a thread that has ended, and drops the commands it has not taken, so that their callers see
    /// that there is no reply.
    pub(crate) fn close_and_drop(&self) {
        self.close();
        let dropped = core::mem::take(&mut self.lock().batch);
        for command in dropped.commands {
            contain_drop("a packet that a shard has not begun", command);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of a parked packet. Woken several times before the shard takes it, it is in the inbox once.
pub(crate) struct PacketWaker {
    inbox: Arc<Inbox>,
    packet: PacketId,
    is_woken: AtomicBool,
}

impl PacketWaker {
    pub(crate) fn new(inbox: Arc<Inbox>, packet: PacketId) -> Arc<Self> {
        Arc::new(Self { inbox, packet, is_woken: AtomicBool::new(false) })
    }

    /// Lets the waker enter the inbox again, and returns its packet. Called before the packet is resumed: otherwise a wake
    /// during the resume would be lost.
    pub(crate) fn rearm(&self) -> PacketId {
        self.is_woken.swap(false, Ordering::AcqRel);
        self.packet
    }
}

impl Wake for PacketWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            // A shard that has ended has no packets.
            let _ = self.inbox.put(Arc::clone(self), |batch, waker| batch.woken.push(waker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l3_wakes_of_a_packet_coalesce_until_the_shard_answers() {
        let inbox = Inbox::new();
        let waker = PacketWaker::new(Arc::clone(&inbox), PacketId::next());
        let mut batch = Batch::default();
        for _ in 0..2 {
            (0..100_000).for_each(|_| Arc::clone(&waker).wake());
            assert!(inbox.take(&mut batch));
            assert_eq!(batch.woken.len(), 1);
            for waker in batch.woken.drain(..) {
                waker.rearm();
            }
        }
        // A wake after `rearm` and before the resume is kept.
        waker.wake_by_ref();
        assert!(inbox.take(&mut batch));
        assert_eq!(batch.woken.len(), 1);
    }
}
