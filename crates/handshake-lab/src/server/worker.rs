//! The driver of a worker in real time: a poller, a listening socket, the worker's thread, and the order to it to go on,
//! to drain, or to end at once.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use job_core::JobPool;
use mio::{
    Events, Interest, Poll, Registry,
    event::Event,
    net::{TcpListener, TcpStream},
    unix::SourceFd,
};
use ssl_async::{Ssl, SslContext};
use wait_ctx::{ReadyQueue, Route};

use super::{
    connection::{Connection, FdWatch},
    limits::Limits,
    service::{Collect, LiveCounters, Service},
    session::RealTime,
    tally::WorkerReport,
    tokens::{self, EventSource, LISTENER, READY},
    worker_core::{Core, NEW_A_TURN, POLL_EVERY, Policy},
};
use crate::{
    cpu::{thread_cpu, thread_processor_wait},
    scenario::Wake,
};

/// How long accepting pauses for want of descriptors or memory, unless a session ends before that. Others may free
/// them, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the system keeps for a listener at most.
const LONGEST_BACKLOG: usize = 65_536;

/// What a server is started with.
#[derive(Debug)]
pub struct ServerPlan {
    /// Event loops.
    pub workers: usize,
    /// How a completion reaches the event loop.
    pub wake: Wake,
    /// The configuration and mode of its sessions.
    pub context: SslContext,
    pub service: Service,
    /// Every n-th session that parks is resumed once more without a wake, to show that it does no harm (law L2).
    pub unprompted_every: Option<u64>,
    /// Collects the answers of a device that does not interrupt.
    pub collector: Option<Arc<dyn Collect>>,
    /// How long sessions may wait for their peers.
    pub limits: Limits,
}

/// The latest order to a worker. It only ever goes up.
#[derive(Debug, Default)]
pub(super) struct Control(AtomicU8);

/// No new connection; open ones are served to their end. A new control has 0: the worker runs.
pub(super) const DRAIN: u8 = 1;
/// End at once, whatever is under way.
pub(super) const ABANDON: u8 = 2;

impl Control {
    pub(super) fn say(&self, what: u8) {
        self.0.fetch_max(what, Ordering::Release);
    }

    pub(super) fn draining(&self) -> bool {
        self.0.load(Ordering::Acquire) >= DRAIN
    }

    pub(super) fn abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) >= ABANDON
    }
}

/// One worker. It stays on the thread that runs it, for its jobs do.
#[derive(Debug)]
pub(super) struct Worker {
    poll: Poll,
    registry: Rc<Registry>,
    /// `None` once the worker drains.
    listener: Option<TcpListener>,
    plan: Arc<ServerPlan>,
    control: Arc<Control>,
    core: Core<Connection<TcpStream>, RealTime>,
    live: Arc<LiveCounters>,
    /// Callbacks that ran on the stack of a job.
    calls_on_job_stack: Arc<AtomicU64>,
    /// More connections may be waiting to be accepted than were in the last turn.
    more_to_accept: bool,
    /// Set when a connection could not be accepted for want of descriptors or memory: how many sessions there were, and
    /// when it is tried again at the latest.
    accept_pause: Option<(usize, Duration)>,
    /// What times are counted from.
    began: Instant,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        plan: Arc<ServerPlan>,
        control: Arc<Control>,
        live: Arc<LiveCounters>,
    ) -> io::Result<Self> {
        let policy = Policy {
            unprompted_every: plan.unprompted_every,
            polls: plan.wake == Wake::Poll,
            limits: plan.limits,
        };
        let ready = ReadyQueue::new()?;
        let core = Core::new(JobPool::new(), ready, Arc::clone(&live), policy, RealTime);
        let readable = Interest::READABLE;
        poll.registry().register(&mut listener, LISTENER, readable)?;
        poll.registry().register(&mut SourceFd(&core.as_fd().as_raw_fd()), READY, readable)?;
        let registry = Rc::new(poll.registry().try_clone()?);
        Ok(Self {
            poll,
            registry,
            listener: Some(listener),
            plan,
            control,
            core,
            live,
            calls_on_job_stack: Arc::default(),
            more_to_accept: false,
            accept_pause: None,
            began: Instant::now(),
        })
    }

    /// Serves until the owner says otherwise.
    pub(super) fn run(mut self) -> io::Result<WorkerReport> {
        let cpu_before = thread_cpu();
        let wait_before = thread_processor_wait();
        let mut events = Events::with_capacity(256);
        let mut next_poll = Duration::ZERO;
        while !self.is_over() {
            self.core.turn();
            self.core.completions();
            let now = self.began.elapsed();
            if self.core.polls() && now >= next_poll {
                self.core.poll_parked();
                next_poll = now + POLL_EVERY;
            }
            let next_poll = self.core.polls().then_some(next_poll);
            let next_look = self.collect().map(|pause| now + pause);
            let next_accept = self.accept_pause.map(|(_, until)| until);
            let alarms = [self.core.expire(now), next_poll, next_look, next_accept];
            let alarm = alarms.into_iter().flatten().min();
            // Asleep only when the ready queue is really empty; then a push writes its descriptor.
            let sleeps =
                self.core.prepare_sleep() && !self.wants_to_accept() && !self.core.has_fresh();
            let timeout = if sleeps {
                alarm.map(|at| at.saturating_sub(self.began.elapsed()))
            } else {
                Some(Duration::ZERO)
            };
            let polled = self.poll.poll(&mut events, timeout);
            self.core.awake();
            self.core.set_now(self.began.elapsed());
            match polled {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                self.core.completions();
                if self.control.abandoned() {
                    break;
                }
                self.event(event);
            }
            if self.wants_to_accept() {
                self.accept();
            }
            for _ in 0..NEW_A_TURN {
                if self.control.abandoned() || !self.core.begin_one() {
                    break;
                }
                self.core.completions();
            }
        }
        let mut report = self.core.finish(thread_cpu().saturating_sub(cpu_before));
        report.processor_wait = thread_processor_wait()
            .zip(wait_before)
            .map(|(now, before)| now.saturating_sub(before));
        report.calls_on_job_stack = self.calls_on_job_stack.load(Ordering::Relaxed);
        Ok(report)
    }

    /// Collects the answers of a device that must be polled, since there is nothing else to do until the next event.
    fn collect(&mut self) -> Option<Duration> {
        let collector = self.plan.collector.as_ref()?;
        let next = collector.collect(self.live.sessions());
        // A resumed session may submit another request.
        if self.core.completions() { Some(Duration::ZERO) } else { next }
    }

    fn is_over(&mut self) -> bool {
        if self.control.abandoned() {
            return true;
        }
        if self.control.draining() && self.listener.is_some() {
            // The peers of those in the backlog have a connection: they are served like those before them.
            self.more_to_accept = true;
            for _ in 0..LONGEST_BACKLOG / NEW_A_TURN {
                if !self.more_to_accept {
                    break;
                }
                self.accept();
            }
        }
        if self.control.draining()
            && let Some(mut listener) = self.listener.take()
        {
            // Fails only if it was never registered.
            let _ = self.poll.registry().deregister(&mut listener);
            self.core.begin_drain();
        }
        self.listener.is_none() && self.core.len() == 0
    }

    fn event(&mut self, event: &Event) {
        match tokens::source(event.token()) {
            EventSource::Bell => {}
            EventSource::Listener => self.more_to_accept = true,
            EventSource::Session(key) => self.core.woken(key),
            EventSource::Socket(key) => {
                let first = event.is_readable() || event.is_read_closed() || event.is_error();
                self.core.transport_ready(key, first);
            }
        }
    }

    fn wants_to_accept(&mut self) -> bool {
        if let Some((sessions, until)) = self.accept_pause
            && (self.core.len() < sessions || self.began.elapsed() >= until)
        {
            self.accept_pause = None;
            self.more_to_accept = self.listener.is_some();
        }
        self.more_to_accept
    }

    /// Accepts a few connections; the others keep.
    fn accept(&mut self) {
        for _ in 0..NEW_A_TURN {
            let Some(listener) = &self.listener else { break };
            match listener.accept() {
                Ok((socket, _)) => self.welcome(socket),
                // The peer was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        let remedy = "raise the limit of open files, for instance by ulimit -n";
                        tracing::warn!(%error, remedy, "accept.paused");
                        self.live.accept_pause();
                        let until = self.began.elapsed() + ACCEPT_PAUSE;
                        self.accept_pause = Some((self.core.len(), until));
                    }
                    self.more_to_accept = false;
                    return;
                }
            }
        }
        self.more_to_accept = self.listener.is_some();
    }

    fn welcome(&mut self, mut socket: TcpStream) {
        // Without it the last flight can wait for a delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let (registry, plan) = (&self.registry, &self.plan);
        let calls_on_job_stack = &self.calls_on_job_stack;
        self.core.welcome(self.began.elapsed(), (), |key, pool, route| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut socket, tokens::socket(key), interest).ok()?;
            let ssl = Ssl::accept(&plan.context, pool, socket).ok()?;
            let mut watch = None;
            match (plan.wake, route) {
                // Nothing wakes it: it is called again and again.
                (Wake::Poll, _) | (_, None) => {}
                (Wake::Ready, Some(route)) => ssl.wait_ctx().notifier().set_route(route),
                (Wake::Callback, Some(route)) => {
                    let on_job_stack = Arc::clone(calls_on_job_stack);
                    ssl.set_async_callback(Some(Arc::new(move |_, _| {
                        let here = u64::from(job_core::on_job_stack());
                        on_job_stack.fetch_add(here, Ordering::Relaxed);
                        if let Route::Ready(sender, token) = &route {
                            sender.push(*token);
                        }
                    })))
                }
                // Made when the session first parks; a wake before that is kept for it.
                (Wake::Fd, Some(_)) => {
                    let registry = Rc::clone(registry);
                    watch = Some(FdWatch { registry, token: tokens::session(key) });
                }
            }
            Some(Connection::new(ssl, plan.service.clone(), watch))
        });
    }
}
