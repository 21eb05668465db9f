//! The thread of a shard: it begins packets, keeps those that pause, and resumes them when they are woken.
//!
//! ```text
//!   Start ---> begin in a job -----> done: answer, stack back, next waiting
//!     |          |        ^            ^
//!     | no job   | paused | ready      | Cancel, Abandon, or the shard ends: cancelled on this thread
//!     v          v        |            |
//!   waiting    parked ----+------------+
//! ```
//!
//! Why nothing is lost or done twice:
//! 1. A packet's wakes have no route until it is in `parked`. One that came before is owed, and delivered with the route.
//! 2. A wake names a stay that is never named again. Late ones find nothing; an extra one is a resume that changes
//!    nothing (law L2).
//! 3. Whoever gives up closes the answer first and sends `Cancel` then. A packet that is about to begin, or to be
//!    resumed, looks at the answer; one that is parked hears the command; one that is done is not there any more.
//! 4. Jobs are begun, resumed and cancelled here and nowhere else; the compiler keeps them here.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use job_core::{Job, JobPool};
use wait_ctx::{Route, WaitCtx, contain};

use crate::packet::{self, Packet, Parking};
use crate::rustls23::Processed;
use crate::task::inbox::{Batch, Command, Doorbell, Inbox};
use crate::task::visit::{Order, Reply, VisitId, Visitor};

/// Serves `inbox` until it is closed; then cancels what is left. At most `max_parked` packets are parked at a time.
pub(crate) fn serve(inbox: &Arc<Inbox>, pool: JobPool, max_parked: usize) {
    let mut shard = Shard {
        inbox: Arc::clone(inbox),
        pool,
        max_parked,
        parked: HashMap::new(),
        waiting: BTreeMap::new(),
    };
    let mut batch = Batch::default();
    while inbox.take(&mut batch) {
        // What is nearly done comes before what is new.
        for bell in batch.ready.drain(..) {
            alone(|| shard.resume(bell.answer()));
        }
        for command in batch.commands.drain(..) {
            alone(|| shard.obey(command));
        }
        alone(|| shard.admit());
    }
    for command in batch.commands {
        alone(|| drop(command));
    }
    shard.end();
}

/// Does something for one packet, whose panics are no other packet's business: in a waker of the task that is answered,
/// and in the `Drop` of what a connection owns. A panic of the packet itself goes to its task.
fn alone(step: impl FnOnce()) {
    let _ = contain("a packet at a shard", step);
}

struct Shard {
    inbox: Arc<Inbox>,
    pool: JobPool,
    max_parked: usize,
    parked: HashMap<VisitId, Parked>,
    /// Packets without a job, for all are taken or the most that may be parked are parked; first come, first served. Any of
    /// them may be given up, so each is found in O(log n).
    waiting: BTreeMap<VisitId, Order>,
}

struct Parked {
    job: Job<Processed>,
    visitor: Visitor,
}

impl Shard {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(order) if self.waiting.is_empty() => self.begin(order),
            Command::Start(order) => self.wait(order),
            Command::Cancel(id) => {
                // The job ends before its visitor is gone.
                if let Some(Parked { job, visitor }) = self.parked.remove(&id) {
                    visitor.enter(|| drop(job));
                } else {
                    self.waiting.remove(&id);
                }
            }
            Command::Abandon(id) => {
                if let Some(Parked { job, visitor }) = self.parked.remove(&id) {
                    visitor.enter(|| drop(job));
                    visitor.answer(Reply::Abandoned);
                } else if let Some(order) = self.waiting.remove(&id) {
                    order.visitor.answer(Reply::Abandoned);
                }
            }
            Command::Report(reply) => {
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

    /// Lets a packet wait for a job; in its old place, if it did before.
    fn wait(&mut self, order: Order) {
        self.waiting.insert(order.id, order);
    }

    fn begin(&mut self, Order { id, work, visitor }: Order) {
        if visitor.has_gone() {
            return;
        }
        if self.parked.len() >= self.max_parked {
            return self.wait(Order { id, work, visitor });
        }
        let ctx = WaitCtx::new();
        let begun = visitor.enter(|| {
            catch_unwind(AssertUnwindSafe(|| packet::start(work, Parking::Fiber(&self.pool, &ctx))))
        });
        match begun {
            Ok(Packet::Parked(job)) => {
                self.parked.insert(id, Parked { job, visitor });
                let bell = Doorbell::new(Arc::clone(&self.inbox), id);
                ctx.notifier().set_route(Route::Waker(Waker::from(bell)));
            }
            Ok(Packet::Unstarted(work)) => self.wait(Order { id, work, visitor }),
            Ok(Packet::Done(processed)) => visitor.answer(Reply::Processed(processed)),
            Err(panic) => visitor.answer(Reply::Panicked(panic)),
        }
    }

    fn resume(&mut self, id: VisitId) {
        // Done, or cancelled: the wake was for nobody.
        let Some(Parked { job, visitor }) = self.parked.remove(&id) else { return };
        if visitor.has_gone() {
            visitor.enter(|| drop(job));
            return;
        }
        let step = visitor.enter(|| catch_unwind(AssertUnwindSafe(|| job.resume())));
        match step.map(Packet::from) {
            Ok(Packet::Parked(job)) => {
                self.parked.insert(id, Parked { job, visitor });
            }
            Ok(Packet::Done(processed)) => visitor.answer(Reply::Processed(processed)),
            Ok(Packet::Unstarted(_)) => unreachable!("a job that was begun is not unbegun"),
            Err(panic) => visitor.answer(Reply::Panicked(panic)),
        }
    }

    /// Begins what waited for a job, as long as there are jobs.
    fn admit(&mut self) {
        while let Some((id, order)) = self.waiting.pop_first() {
            self.begin(order);
            if self.waiting.contains_key(&id) {
                return;
            }
        }
    }

    /// Cancels everything. Whoever still waits hears how its packet ended, if the packet can tell.
    fn end(self) {
        for order in self.waiting.into_values() {
            alone(|| drop(order));
        }
        for Parked { job, visitor } in self.parked.into_values() {
            alone(|| {
                if let Some(processed) = visitor.enter(|| job.cancel()) {
                    visitor.answer(Reply::Processed(processed));
                }
            });
        }
    }
}
