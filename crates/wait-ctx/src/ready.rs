//! The ready queue of a serving thread: the tokens of sessions to resume, and one descriptor to sleep on.
//!
//! ```text
//!   completing threads                 serving thread
//!   ReadySender::push(token) --+
//!   ReadySender::push(token) --+-->  drain, resume each; when really empty: prepare_sleep, poll(fd), awake
//! ```
//!
//! The descriptor is written at most once per sleep, and only while the thread sleeps. A thread that is busy is never
//! interrupted, and a push from the serving thread itself costs no system call.
//!
//! A request wakes once, but a future may wake any number of times before it is polled again. Wakes of futures coalesce:
//! while a future's wake of a token is queued, further ones add nothing, so the queue never grows with the number of
//! wakes. No wake is lost: the token is in the queue, so its session is resumed after the wake.

use std::collections::BTreeSet;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::signal::Signal;
use crate::sync::{Mutex, lock};

/// Names a session on its serving thread. The application chooses the number, for example a slab index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub usize);

#[derive(Debug)]
struct QueueInner {
    queue: Mutex<Queue>,
    signal: Signal,
}

#[derive(Debug, Default)]
struct Queue {
    ready: Vec<Token>,
    /// The tokens in `ready` that were pushed by the wake of a future.
    of_futures: BTreeSet<Token>,
    /// The consumer found the queue empty and sleeps, or is about to.
    sleeping: bool,
    /// The descriptor was written since the consumer last woke up.
    signalled: bool,
    /// The consumer was dropped; pushes are discarded.
    closed: bool,
    fd_writes: u64,
    /// Receives this token whenever the queue becomes non-empty.
    parent: Option<(ReadySender, Token)>,
}

/// The consuming end. `Send` but not `Sync`: one thread at a time drains it.
#[derive(Debug)]
pub struct ReadyQueue {
    shared: Arc<QueueInner>,
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl ReadyQueue {
    /// An empty queue with its descriptor (an eventfd on Linux, a pipe elsewhere).
    ///
    /// # Errors
    /// The system's error, when it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let shared = Arc::new(QueueInner { queue: Mutex::default(), signal: Signal::new()? });
        Ok(Self { shared, not_sync: PhantomData })
    }

    /// A queue that pushes `token` to `parent` whenever it becomes non-empty.
    ///
    /// For a thread that serves many queues, such as a scheduler that steps several workers: it drains `parent`, and then
    /// only the queues named there.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn below(parent: ReadySender, token: Token) -> io::Result<Self> {
        let queue = Self::new()?;
        lock(&queue.shared.queue).parent = Some((parent, token));
        Ok(queue)
    }

    /// A new producing end.
    pub fn sender(&self) -> ReadySender {
        ReadySender { shared: Arc::clone(&self.shared) }
    }

    /// Moves every token pushed so far to the end of `into`, oldest first. A token appears once for each settled request
    /// and each [`push`](ReadySender::push), and at most once for all wakes of futures.
    pub fn drain(&mut self, into: &mut Vec<Token>) {
        let mut queue = lock(&self.shared.queue);
        into.append(&mut queue.ready);
        queue.of_futures.clear();
    }

    /// Announces that this thread is about to wait for the descriptor. False if there are tokens: drain them instead.
    ///
    /// Between `true` and [`awake`](Self::awake) the next push writes the descriptor.
    #[must_use = "sleep only if the queue is empty"]
    pub fn prepare_sleep(&mut self) -> bool {
        let mut queue = lock(&self.shared.queue);
        queue.sleeping = queue.ready.is_empty();
        queue.sleeping
    }

    /// Ends the sleep: clears the descriptor, and pushes no longer write it. Call it after every wait, woken or not.
    pub fn awake(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.sleeping = false;
        if std::mem::take(&mut queue.signalled) {
            self.shared.signal.drain();
        }
    }

    /// How often the descriptor was written.
    pub fn fd_writes(&self) -> u64 {
        lock(&self.shared.queue).fd_writes
    }

    #[cfg(loom)]
    pub(crate) fn wait(&self) {
        self.shared.signal.wait();
    }
}

impl AsFd for ReadyQueue {
    /// Readable while a sleep announced by [`prepare_sleep`](Self::prepare_sleep) should end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.signal.as_fd()
    }
}

impl Drop for ReadyQueue {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.ready = Vec::new();
        queue.of_futures.clear();
    }
}

/// A producing end, for any thread.
#[derive(Debug, Clone)]
pub struct ReadySender {
    shared: Arc<QueueInner>,
}

impl ReadySender {
    /// Queues `token`, and wakes the serving thread if it sleeps. False if the queue was dropped.
    pub fn push(&self, token: Token) -> bool {
        self.put(token, &mut lock(&self.shared.queue))
    }

    /// As [`push`](Self::push), for the wake of a future. False also if one for the same token is in the queue already.
    pub(crate) fn push_of_future(&self, token: Token) -> bool {
        let mut queue = lock(&self.shared.queue);
        !queue.closed && queue.of_futures.insert(token) && self.put(token, &mut queue)
    }

    fn put(&self, token: Token, queue: &mut Queue) -> bool {
        if queue.closed {
            return false;
        }
        let was_empty = queue.ready.is_empty();
        queue.ready.push(token);
        // Under the lock, which cannot deadlock: a parent exists before its children, so the queues form a tree.
        if was_empty && let Some((parent, token)) = &queue.parent {
            parent.push(*token);
        }
        if queue.sleeping && !queue.signalled {
            queue.signalled = true;
            queue.fd_writes += 1;
            // Under the lock, so that `awake` cannot drain before the write: it would leave the descriptor readable.
            self.shared.signal.raise();
        }
        true
    }
}

impl PartialEq for ReadySender {
    /// Whether both feed the same queue.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}
