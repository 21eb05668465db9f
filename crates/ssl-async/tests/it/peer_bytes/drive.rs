//! One run of a session against the peer's bytes and other events, with the checks after each step.

use std::any::Any;
use std::io::Write as _;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crypto_ops::device_handles;
use job_core::{Job, pause};
use ssl_async::{Acceptor, AsyncCallback, Outcome, Parking, Ssl, SslError};
use wait_ctx::{ReadyQueue, Route, Token};

use super::clear;
use super::line::{Line, LineControl};
use super::program::{Event, Op, Program, Setup};
use super::world::{DEADLINE, World};
use crate::support::{Pipe, localhost, pipe};

/// Result of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Handshakes completed.
    pub(crate) completed: usize,
    /// The operations that parked a packet, in order.
    pub(crate) parked: Vec<&'static str>,
    /// Plaintext received.
    pub(crate) received: usize,
    /// Sessions that ended with an error.
    pub(crate) failed: usize,
}

/// Runs the program encoded in `data` with sessions that are parked in this way.
///
/// # Panics
///
/// If a check fails: a panic of the session, a call that loops, an error without a cause, a failed session that works again,
/// a lost wake, or a resource left at the end.
pub(crate) fn drive(data: &[u8], parking: Parking) -> Seen {
    let program = Program::parse(data);
    let mut driver = Driver::new(program.setup, parking);
    for op in program.ops {
        driver.step(op);
    }
    driver.finish()
}

/// A bound on the sessions of one run, to save time.
const MOST_SESSIONS: usize = 6;

/// The stage of the session.
enum Stage {
    Accepting(Box<Acceptor<Line>>),
    Open(Box<Ssl<Line>>),
    /// The acceptor failed.
    Refused,
}

pub(super) struct Driver {
    pub(super) world: World,
    stage: Stage,
    pub(super) peer: Pipe,
    control: LineControl,
    ready: ReadyQueue,
    called_back: Arc<AtomicBool>,
    squatter: Option<Job<()>>,
    sessions: usize,
    sent: usize,
    /// A wake arrived since the session was last called.
    woken: bool,
    /// An operation was settled since the session was last called.
    settled: bool,
    blocking: bool,
    peer_closed: bool,
    broken: bool,
    shut_down: bool,
    ever_shut_down: bool,
    done: bool,
    dead: Option<String>,
    pub(super) seen: Seen,
}

impl Driver {
    pub(super) fn new(setup: Setup, parking: Parking) -> Self {
        clear::begin_again();
        let world = World::new(setup, parking);
        let (control, (ours, peer)) = (LineControl::default(), pipe());
        let mut driver = Self {
            world,
            stage: Stage::Refused,
            peer,
            control,
            ready: ReadyQueue::new().expect("a descriptor"),
            called_back: Arc::default(),
            squatter: None,
            sessions: 0,
            sent: 0,
            woken: false,
            settled: false,
            blocking: false,
            peer_closed: false,
            broken: false,
            shut_down: false,
            ever_shut_down: false,
            done: false,
            dead: None,
            seen: Seen::default(),
        };
        driver.open(ours);
        driver
    }

    fn open(&mut self, io: Pipe) {
        self.sessions += 1;
        let line = Line::new(io, self.control.clone());
        let world = &self.world;
        if world.setup.has(Setup::CLIENT) {
            self.opened(Ssl::connect(&world.client, &world.pool, localhost(), line));
        } else if world.setup.has(Setup::ACCEPTOR) {
            self.stage = Stage::Accepting(Box::new(Acceptor::new(line)));
        } else {
            let ssl = Ssl::accept(&world.server, &world.pool, line);
            self.opened(ssl.expect("a configuration that is fit for use"));
        }
    }

    fn opened(&mut self, mut ssl: Ssl<Line>) {
        ssl.set_async_mode(!self.blocking);
        ssl.wait_ctx().notifier().set_route(Route::Ready(self.ready.sender(), Token(1)));
        self.stage = Stage::Open(Box::new(ssl));
    }

    /// Makes a new connection and forgets the old one.
    fn reset(&mut self) -> Pipe {
        let (ours, theirs) = pipe();
        self.peer = theirs;
        self.control.change(|weather| *weather = Default::default());
        (self.peer_closed, self.broken, self.shut_down, self.done) = (false, false, false, false);
        self.dead = None;
        ours
    }

    pub(super) fn step(&mut self, op: Op) {
        match op {
            Op::Peer(bytes) => {
                self.sent += bytes.len();
                // Fails only if no session is left to read it.
                let _unheard = self.peer.write_all(&bytes);
            }
            Op::Event(event) => self.happens(event),
        }
        self.check();
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Handshake => self.call(event, |ssl| ssl.do_handshake()),
            Event::Read => {
                let mut buffer = [0; 300];
                let mut n = 0;
                self.call(event, |ssl| Ok(ssl.read(&mut buffer)?.map(|read| n = read)));
                self.seen.received += n;
            }
            Event::Peek => self.call(event, |ssl| Ok(ssl.peek(&mut [0; 8])?.map(drop))),
            Event::Write => self.call(event, |ssl| Ok(ssl.write(b"data")?.map(drop))),
            Event::Flush => self.call(event, |ssl| ssl.flush()),
            Event::Shutdown => self.call(event, |ssl| ssl.shutdown()),
            Event::KeyUpdate => self.call(event, |ssl| ssl.key_update()),
            Event::WatchPeer => self.call(event, |ssl| ssl.watch_peer().map(Outcome::Ready)),
            Event::Answer | Event::AnswerWrongly | Event::Fail => self.settle(event),
            Event::Overtake => self.world.device.put_last(),
            Event::AllowHook => self.settled |= self.world.gates.answer(true),
            Event::DenyHook => self.settled |= self.world.gates.answer(false),
            Event::DeadlinePasses => {
                self.world.clock.advance(2 * DEADLINE);
                let _next = self.world.engine.poll();
                self.settled = true;
            }
            Event::AtOnce => self.at_once(false),
            // Requests that the device holds would never complete.
            Event::Blocking => self.at_once(true),
            Event::WhenTold => {
                self.world.device.set_answers_at_once(false);
                self.world.gates.set_open(false);
                self.set_blocking(false);
            }
            Event::Wake => self.with(|ssl| ssl.wait_ctx().notifier().waker().wake()),
            Event::SetCallback => {
                let called = Arc::clone(&self.called_back);
                let callback: AsyncCallback =
                    Arc::new(move |_, _| called.store(true, Ordering::Relaxed));
                self.with(|ssl| ssl.set_async_callback(Some(callback)));
            }
            Event::UnsetCallback => self.with(|ssl| ssl.set_async_callback(None)),
            Event::PeerCloses => {
                self.peer.close();
                self.peer_closed = true;
            }
            Event::Stall => self.control.change(|weather| weather.stalled = true),
            Event::GoOn => {
                self.control.change(|weather| (weather.stalled, weather.trickles) = (false, false));
            }
            Event::Trickle => self.control.change(|weather| weather.trickles = true),
            Event::Break => {
                self.control.change(|weather| weather.broken = true);
                self.broken = true;
            }
            Event::Clear => self.clear(),
            Event::Replace if self.sessions < MOST_SESSIONS => {
                self.stage = Stage::Refused;
                let io = self.reset();
                self.open(io);
            }
            Event::Squat if self.squatter.is_none() => {
                let squatter = self.world.pool.start(|| {
                    let _resumed = pause();
                });
                self.squatter = squatter.ok().and_then(|step| step.paused());
            }
            Event::Unsquat => self.squatter = None,
            Event::Replace | Event::Squat => {}
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Ssl<Line>)) {
        if let Stage::Open(ssl) = &mut self.stage {
            act(ssl);
        }
    }

    fn set_blocking(&mut self, blocking: bool) {
        self.blocking = blocking;
        self.with(|ssl| ssl.set_async_mode(!blocking));
    }

    fn at_once(&mut self, blocking: bool) {
        self.world.device.set_answers_at_once(true);
        self.world.gates.set_open(true);
        while self.world.device.held() > 0 {
            self.world.device.answer();
        }
        self.settled = true;
        self.set_blocking(blocking);
    }

    fn settle(&mut self, how: Event) {
        let device = &self.world.device;
        if device.held() == 0 {
            return;
        }
        match how {
            Event::AnswerWrongly => device.answer_wrongly(),
            Event::Fail => device.fail(),
            _ => device.answer(),
        }
        self.settled = true;
    }

    fn clear(&mut self) {
        if self.sessions >= MOST_SESSIONS {
            return;
        }
        let Stage::Open(mut ssl) = mem::replace(&mut self.stage, Stage::Refused) else {
            let io = self.reset();
            return self.open(io);
        };
        self.sessions += 1;
        let line = Line::new(self.reset(), self.control.clone());
        drop(ssl.clear(line).expect("a configuration that is fit for use"));
        self.stage = Stage::Open(ssl);
    }

    /// Reads the hello. False while there is no session.
    fn accept(&mut self) -> bool {
        let Stage::Accepting(acceptor) = &mut self.stage else {
            return matches!(self.stage, Stage::Open(_));
        };
        match acceptor.accept() {
            Ok(Outcome::Ready(accepted)) => {
                let ssl = accepted.into_session(&self.world.server, &self.world.pool);
                self.opened(ssl);
                return true;
            }
            Ok(Outcome::WantRead | Outcome::WantWrite) => {}
            Ok(outcome) => panic!("an acceptor does not want {:?}", outcome.map(drop)),
            Err(error) => {
                self.explains(&error);
                self.stage = Stage::Refused;
                self.seen.failed += 1;
            }
        }
        false
    }

    fn call(
        &mut self,
        which: Event,
        call: impl FnOnce(&mut Ssl<Line>) -> Result<Outcome<()>, SslError>,
    ) {
        self.control.begin_call();
        if !self.accept() {
            return;
        }
        let takes_up = which != Event::WatchPeer;
        let before = self.world.engine.stats().submitted;
        let Stage::Open(ssl) = &mut self.stage else { return };
        let was_waiting = ssl.waiting_for_async();
        let unprompted = was_waiting && !self.settled;
        if takes_up {
            let _earlier = take_wakes(&mut self.ready, &self.called_back);
            (self.woken, self.settled) = (false, false);
        }
        let result = match catch_unwind(AssertUnwindSafe(|| call(ssl))) {
            Ok(result) => result,
            Err(panic) if self.shut_down && is_rustls_assertion(&*panic) => {
                Err(ssl.do_handshake().expect_err("a session whose job has panicked is over"))
            }
            Err(panic) => resume_unwind(panic),
        };
        let (waiting, id) = (ssl.waiting_for_async(), ssl.id());
        let submitted = self.world.engine.stats().submitted;
        if unprompted && takes_up && result.is_ok() {
            assert_eq!(submitted, before, "{which:?} of {id} submitted something unprompted");
            assert!(waiting, "{which:?} of {id} went on before its operation was settled");
        }
        self.shut_down |= which == Event::Shutdown && result.is_ok();
        self.ever_shut_down |= self.shut_down;
        self.judge(which, &result, waiting);
        if waiting && !unprompted && takes_up {
            let hook = self.world.gates.youngest();
            let point = hook.or_else(|| self.world.device.kinds().last().copied());
            self.seen.parked.push(point.unwrap_or("queue"));
        }
    }

    fn judge(&mut self, which: Event, result: &Result<Outcome<()>, SslError>, waiting: bool) {
        let takes_up = which != Event::WatchPeer;
        if let Some(cause) = &self.dead {
            let again = result.as_ref().err().map(ToString::to_string);
            let same = again.as_ref() == Some(cause);
            assert!(same || !takes_up && again.is_none(), "{cause}, and then {result:?}");
            return;
        }
        match result {
            Ok(Outcome::WantAsync) => assert!(waiting, "{which:?} waits for nothing"),
            Ok(Outcome::WantAsyncJob) => {
                let jobs = self.world.pool.stats().live;
                assert!(!waiting && jobs > 0, "{which:?} wants a job, and {jobs} are in use");
            }
            Ok(_) if takes_up => assert!(!waiting, "{which:?} is done and waits: {result:?}"),
            Ok(_) => {}
            // The session continues.
            Err(SslError::ShutDown) if which == Event::Write && self.shut_down => {}
            Err(SslError::Tls(_)) if which == Event::KeyUpdate && self.has_connection() => {}
            // Before the hello a session by replay has no connection yet.
            Err(SslError::Tls(rustls::Error::HandshakeNotComplete))
                if which == Event::KeyUpdate => {}
            Err(error) => {
                self.explains(error);
                assert!(!waiting, "a session that has ended waits");
                self.dead = Some(error.to_string());
                self.seen.failed += 1;
            }
        }
    }

    fn has_connection(&self) -> bool {
        matches!(&self.stage, Stage::Open(ssl) if ssl.connection().is_some())
    }

    /// Whether an event explains the error.
    fn explains(&self, error: &SslError) {
        let explained = match error {
            SslError::Tls(_) => self.sent > 0,
            SslError::PeerClosed(_) => self.peer_closed,
            SslError::Io(_) => self.broken,
            // See `is_rustls_assertion`; any other panic has ended the run.
            SslError::Panicked => self.shut_down,
            SslError::Failed(_) => {
                let counted = self.world.engine.stats();
                counted.failed + counted.refused > 0
            }
            _ => false,
        };
        assert!(explained, "nothing has happened that explains: {error:?}");
    }

    /// Checks the invariants.
    fn check(&mut self) {
        self.woken |= take_wakes(&mut self.ready, &self.called_back);
        let jobs = self.world.pool.stats().live - usize::from(self.squatter.is_some());
        let Stage::Open(ssl) = &self.stage else { return assert_eq!(jobs, 0) };
        let waiting = ssl.waiting_for_async();
        let most = usize::from(waiting);
        // By replay a session waits without a job.
        let least = if self.world.parking == Parking::Fiber { most } else { 0 };
        assert!((least..=most).contains(&jobs), "{jobs} jobs for the packet that waits");
        if self.dead.is_some() {
            assert!(!waiting && ssl.connection().is_none(), "what has ended stays so");
        }
        if self.dead.is_none() && !self.done && !ssl.is_handshaking() {
            self.done = true;
            self.seen.completed += 1;
        }
    }

    /// Completes everything, and checks that nothing is left.
    pub(super) fn finish(mut self) -> Seen {
        self.squatter = None;
        self.control.change(|weather| (weather.stalled, weather.trickles) = (false, false));
        for _ in 0..MOST_PAUSES {
            while self.world.device.held() > 0 {
                self.settle(Event::Answer);
            }
            while self.world.gates.answer(true) {
                self.settled = true;
            }
            self.check();
            let Stage::Open(ssl) = &self.stage else { break };
            if ssl.waiting_for_async() {
                assert!(self.woken, "everything was answered and the session was not woken (L3)");
            } else if self.dead.is_some() || ssl.connection().is_some() {
                break;
            }
            self.step(Op::Event(Event::Handshake));
        }
        assert!(!self.is_waiting(), "answered {MOST_PAUSES} times, and it still waits");
        self.read_all();
        self.stage = Stage::Refused;
        while self.world.device.held() > 0 {
            self.world.device.answer();
        }
        while self.world.gates.answer(true) {}
        let (jobs, engine) = (self.world.pool.stats(), self.world.engine.stats());
        assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0));
        // Cancelling after a shutdown runs into the same assertion of rustls.
        let known = cfg!(debug_assertions) && self.ever_shut_down;
        assert!(jobs.swallowed_panics == 0 || known, "a job panicked when it was cancelled");
        assert_eq!(jobs.swallowed_unwinds, 0);
        assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
        assert_eq!(device_handles().now, 0);
        self.seen
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(&self.stage, Stage::Open(ssl) if ssl.waiting_for_async())
    }

    /// Reads until nothing is left; each step reads data or answers a request.
    fn read_all(&mut self) {
        let most = self.sent + 64;
        for _ in 0..most {
            let before = self.seen.received;
            self.step(Op::Event(Event::Read));
            if self.is_waiting() {
                self.settle(Event::Answer);
                let _answered = self.world.gates.answer(true);
                self.settled = true;
            } else if self.seen.received == before {
                return;
            }
        }
        panic!("{most} reads, and still more");
    }
}

/// More than the pause points of one handshake.
const MOST_PAUSES: usize = 64;

/// rustls 0.23 with debug assertions panics when it has an alert to send after our `close_notify`: a peer that breaks the
/// protocol after our shutdown triggers that. Without debug assertions the alert is sent.
fn is_rustls_assertion(panic: &(dyn Any + Send)) -> bool {
    cfg!(debug_assertions)
        && panic.downcast_ref().is_some_and(|text: &&str| text.contains("self.sent_fatal_alert"))
}

fn take_wakes(ready: &mut ReadyQueue, called_back: &AtomicBool) -> bool {
    let mut tokens = Vec::new();
    ready.drain(&mut tokens);
    called_back.swap(false, Ordering::Relaxed) | !tokens.is_empty()
}
