//! The thread of a shard: starts packets, keeps those that pause, and resumes them when they are woken.
//!
//! ```text
//!   Start ---> start in a job -----> done: reply, stack back to the pool, next of the queue
//!     |          |        ^            ^
//!     | no job   | paused | woken      | Cancel, CancelUnlessRunning, or the shard ends: cancelled on this thread
//!     v          v        |            |
//!   queued     parked ----+------------+
//! ```
//!
//! Why no packet is lost or processed twice:
//! 1. A packet's wakes have no route until it is in `parked`. A wake from before is kept, and delivered when the route is
//!    set.
//! 2. Wake tokens are never reused. A late wake finds no packet; an extra wake is a resume that changes nothing (law L2: a
//!    wake is a hint).
//! 3. A caller that is dropped first closes its reply and then sends `Cancel`. A packet that is not parked yet checks the
//!    reply before it runs; a parked one is found by the command.
//! 4. Jobs are started, resumed and cancelled only on this thread, because they are not `Send`.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use job_core::{Job, JobPool};
use wait_ctx::{Route, WaitCtx, contain};

use crate::packet::{self, Packet, PacketStack};
use crate::rustls23::Processed;
use crate::task::inbox::{Batch, Command, Inbox, PacketWaker};
use crate::task::packet_task::{Caller, PacketId, PacketTask, Reply};

/// Runs a shard until `inbox` is closed, then cancels its packets. At most `max_parked` packets are parked at a time.
pub(crate) fn run(inbox: &Arc<Inbox>, pool: JobPool, max_parked: usize) {
    let mut shard = Shard {
        inbox: Arc::clone(inbox),
        pool,
        max_parked,
        parked: HashMap::new(),
        queued: BTreeMap::new(),
    };
    let mut batch = Batch::default();
    while inbox.take(&mut batch) {
        // Packets under way before new ones.
        for waker in batch.woken.drain(..) {
            isolate(|| shard.resume(waker.rearm()));
        }
        for command in batch.commands.drain(..) {
            isolate(|| shard.execute(command));
        }
        shard.start_queued();
    }
    for command in batch.commands {
        isolate(|| drop(command));
    }
    shard.end();
}

/// Runs `step` for one packet and contains its panics, so that they do not end the shard: those of the caller's waker, and
/// of the `Drop` of what the connection owns. A panic of the packet itself is sent to its caller.
fn isolate(step: impl FnOnce()) {
    let _ = contain("a packet at a shard", step);
}

struct Shard {
    inbox: Arc<Inbox>,
    pool: JobPool,
    max_parked: usize,
    parked: HashMap<PacketId, ParkedPacket>,
    /// Packets without a job, because the pool or `max_parked` is exhausted; the oldest starts first. A tree, because
    /// any of them may be cancelled.
    queued: BTreeMap<PacketId, PacketTask>,
}

struct ParkedPacket {
    job: Job<Processed>,
    caller: Caller,
}

impl Shard {
    fn execute(&mut self, command: Command) {
        match command {
            Command::Start(packet) if self.queued.is_empty() => self.start(packet),
            Command::Start(packet) => self.queue(packet),
            Command::Cancel(id) => {
                if let Some(ParkedPacket { job, caller }) = self.parked.remove(&id) {
                    // Before the caller is dropped, which counts the packet as ended.
                    caller.enter(|| drop(job));
                } else {
                    self.queued.remove(&id);
                }
            }
            Command::CancelUnlessRunning(id) => {
                if let Some(ParkedPacket { job, caller }) = self.parked.remove(&id) {
                    caller.enter(|| drop(job));
                    caller.reply(Reply::Cancelled);
                } else if let Some(packet) = self.queued.remove(&id) {
                    packet.caller.reply(Reply::Cancelled);
                }
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.pool.stats());
            }
            Command::Wipe(reply) => {
                self.pool.wipe();
                let _ = reply.send(());
            }
            Command::Shrink(reply) => {
                let _ = reply.send(self.pool.shrink());
            }
        }
    }

    /// Queues a packet by its age, so one that was queued before keeps its position.
    fn queue(&mut self, packet: PacketTask) {
        self.queued.insert(packet.id, packet);
    }

    fn start(&mut self, PacketTask { id, work, caller }: PacketTask) {
        if caller.is_dropped() {
            return;
        }
        if self.parked.len() >= self.max_parked {
            return self.queue(PacketTask { id, work, caller });
        }
        let ctx = WaitCtx::new();
        let started = caller.enter(|| {
            catch_unwind(AssertUnwindSafe(|| {
                packet::start(work, PacketStack::Fiber(&self.pool, &ctx))
            }))
        });
        match started {
            Ok(Packet::Parked(job)) => {
                self.parked.insert(id, ParkedPacket { job, caller });
                let waker = PacketWaker::new(Arc::clone(&self.inbox), id);
                ctx.notifier().set_route(Route::Waker(Waker::from(waker)));
            }
            Ok(Packet::Unstarted(work)) => self.queue(PacketTask { id, work, caller }),
            Ok(Packet::Done(processed)) => caller.reply(Reply::Processed(processed)),
            Err(panic) => caller.reply(Reply::Panicked(panic)),
        }
    }

    fn resume(&mut self, id: PacketId) {
        // A late wake finds no packet.
        let Some(ParkedPacket { job, caller }) = self.parked.remove(&id) else { return };
        if caller.is_dropped() {
            caller.enter(|| drop(job));
            return;
        }
        let step = caller.enter(|| catch_unwind(AssertUnwindSafe(|| job.resume())));
        match step.map(Packet::from) {
            Ok(Packet::Parked(job)) => {
                self.parked.insert(id, ParkedPacket { job, caller });
            }
            Ok(Packet::Done(processed)) => caller.reply(Reply::Processed(processed)),
            Ok(Packet::Unstarted(_)) => unreachable!("a resumed job was started before"),
            Err(panic) => caller.reply(Reply::Panicked(panic)),
        }
    }

    /// Starts queued packets, as long as there are jobs.
    fn start_queued(&mut self) {
        while let Some((id, packet)) = self.queued.pop_first() {
            isolate(|| self.start(packet));
            if self.queued.contains_key(&id) {
                return;
            }
        }
    }

    /// Cancels all packets. Callers of parked ones get the result of the cancelled packet, if it has one.
    fn end(self) {
        for packet in self.queued.into_values() {
            isolate(|| drop(packet));
        }
        for ParkedPacket { job, caller } in self.parked.into_values() {
            isolate(|| {
                if let Some(processed) = caller.enter(|| job.cancel()) {
                    caller.reply(Reply::Processed(processed));
                }
            });
        }
    }
}
