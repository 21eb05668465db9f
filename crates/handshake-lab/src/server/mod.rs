//! The server: one event loop a worker thread, TLS sessions that park while the device signs.
//!
//! ```text
//!        listener (each worker has its own handle on it)
//!            |
//!            v                       +-- ready queue <--- completions (hardware thread)
//!   +-- worker thread ---------------|--------------------------------------------+
//!   |  loop: completions first, then socket events, each followed by completions  |
//!   |        Ssl::do_handshake / read / write --> WantAsync: go on with others    |
//!   |        nothing left: prepare_sleep, poll(sockets + one eventfd), awake      |
//!   +-----------------------------------------------------------------------------+
//! ```
//!
//! Several workers share the port by sharing the listening socket: each has its own handle on it in its own poller, and
//! the worker that accepts first serves.

mod phase;
mod session;

mod slots;
mod tally;
mod tokens;
pub(crate) mod worker_core;

mod connection;
pub(crate) mod http;
mod limits;
mod page;
mod service;

mod worker;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Poll, Waker};

use tokens::CONTROL;
use worker::{ABANDON, Control, DRAIN, Worker};

pub(crate) use connection::Connection;
pub(crate) use phase::{Milestone, SessionProgress};
pub(crate) use session::{Charge, RealTime, Session};

pub use limits::Limits;
pub use phase::Cause;
pub use service::{Collect, LiveCounters, Service};
pub use tally::{SessionChecks, Timeouts, WorkerReport};
pub use worker::ServerPlan;

#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    live: Arc<LiveCounters>,
    workers: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    control: Arc<Control>,
    waker: Waker,
    thread: JoinHandle<io::Result<WorkerReport>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOrder {
    /// No new connection; open ones are served to their end, within this time.
    Drain(Duration),
    /// At once, whatever is under way.
    Abandon,
}

/// What is left of a server.
#[derive(Debug, Clone)]
pub struct Ended {
    /// One report a worker that has ended.
    pub workers: Vec<WorkerReport>,
    /// Workers that did not end: they wait for an operation that never comes back.
    pub stuck: u64,
}

impl Server {
    /// Starts the workers on a listening socket.
    ///
    /// # Errors
    /// When the system has no descriptor or no thread left.
    pub fn start(listener: &TcpListener, plan: ServerPlan) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let plan = Arc::new(plan);
        let live = Arc::new(LiveCounters::default());
        let mut workers = Vec::with_capacity(plan.workers);
        let (ready, started) = mpsc::channel();
        for number in 0..plan.workers {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), CONTROL)?;
            let control = Arc::new(Control::default());
            let listener = mio::net::TcpListener::from_std(listener.try_clone()?);
            let (plan, told, live) = (Arc::clone(&plan), Arc::clone(&control), Arc::clone(&live));
            let ready = ready.clone();
            let thread =
                std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                    match Worker::new(poll, listener, plan, told, live) {
                        Ok(worker) => {
                            // Fails if the start has been given up because of another worker.
                            let _ = ready.send(Ok(()));
                            worker.run()
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            Err(io::Error::other("the worker was never made"))
                        }
                    }
                })?;
            workers.push(Running { control, waker, thread });
        }
        drop(ready);
        let server = Self { address: listener.local_addr()?, live, workers };
        for _ in 0..server.workers.len() {
            // A worker that sends nothing has panicked; joining it reports that.
            if let Ok(Err(error)) = started.recv() {
                let _ = server.tell(StopOrder::Abandon);
                return Err(error);
            }
        }
        Ok(server)
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counters to look at while it runs.
    pub fn live(&self) -> &Arc<LiveCounters> {
        &self.live
    }

    /// Ends the server and waits for its workers.
    ///
    /// A worker that blocks in an operation ends only after it. One that has not ended within `patience` of the order is
    /// abandoned with its thread.
    ///
    /// # Errors
    /// What a worker's poller failed with.
    ///
    /// # Panics
    /// A panic of a worker is handed on.
    pub fn end(self, how: StopOrder, patience: Duration) -> io::Result<Ended> {
        self.tell(how)?;
        if let StopOrder::Drain(grace) = how {
            self.wait(grace);
        }
        self.tell(StopOrder::Abandon)?;
        self.wait(patience);
        let (ended, stuck): (Vec<_>, Vec<_>) =
            self.workers.into_iter().partition(|worker| worker.thread.is_finished());
        let join = |worker: Running| match worker.thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let workers = ended.into_iter().map(join).collect::<io::Result<_>>()?;
        Ok(Ended { workers, stuck: stuck.len() as u64 })
    }

    /// Waits, for at most `time`, until every worker has ended.
    fn wait(&self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline
            && !self.workers.iter().all(|worker| worker.thread.is_finished())
        {
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// Tells the workers to end without waiting for them.
    ///
    /// # Errors
    /// When a worker cannot be woken.
    pub fn tell(&self, how: StopOrder) -> io::Result<()> {
        let what = match how {
            StopOrder::Drain(_) => DRAIN,
            StopOrder::Abandon => ABANDON,
        };
        self.live.drain();
        for worker in &self.workers {
            worker.control.say(what);
            worker.waker.wake()?;
        }
        Ok(())
    }
}

/// How often the end of a worker is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
