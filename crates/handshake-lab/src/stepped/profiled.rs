//! Profiled handshakes: a hello, a signature, an answer and a finish, one byte each, in the place of TLS.
//!
//! Their CPU time comes from the cost profile, and their signatures are checksums. Jobs, wait contexts, engine, device and
//! checks are those of real TLS. The file is long because signature, session, client and both ways of parking are one
//! protocol, and each is of no use without the others.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    io::{self, Read as _, Write as _},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use engine_core::{CheckFailed, DeviceError, Engine, EngineError, Kind, Pending, Work};
use job_core::{Job, JobPool, StartRefused, Step};
use sim_engine::Compute;
use wait_ctx::{Route, WaitCtx};

use super::{
    calls::{Line, Switchboard},
    protocol::{Client, Protocol},
    wire::End,
};
use crate::{
    evidence::{Answers, Calls},
    plant::{self, Bug},
    scenario::{ConnectionKind, KeyType, Mix, ParkingMethod, TlsVersion},
    server::{LiveCounters, Milestone, Session, SessionProgress},
};

/// The kinds of signature, in the order of [`KeyType::ALL`](crate::scenario::KeyType::ALL).
pub(crate) const KINDS: [Kind; 4] = [
    Kind::new("profiled-p256"),
    Kind::new("profiled-p384"),
    Kind::new("profiled-ed25519"),
    Kind::new("profiled-rsa2048"),
];

/// Indices in [`KINDS`] of the fast and the slow kind of a swarm.
pub(super) const FAST_AND_SLOW: [usize; 2] = [0, 3];

#[derive(Debug)]
pub(crate) struct ProfiledSignature {
    session: u64,
    kind: Kind,
    /// Counts it among the requests of its device; `None` in a copy for the standby.
    counted: Option<Counted>,
}

/// Counts one request that waits for its device or is inside it, until its answer leaves the device or it is dropped. The
/// engine keeps work that was done for its caller to drop, which may be much later.
#[derive(Debug)]
struct Counted {
    device: usize,
    kind: usize,
    is_over: AtomicBool,
}

impl Counted {
    fn new(device: usize, kind: usize) -> Self {
        PRESENT.with_borrow_mut(|present| {
            if present.len() <= device {
                present.resize(device + 1, [0; KINDS.len()]);
            }
            present[device][kind] += 1;
        });
        Self { device, kind, is_over: AtomicBool::new(false) }
    }

    fn end(&self) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        PRESENT.with_borrow_mut(|present| {
            if let Some(kinds) = present.get_mut(self.device) {
                // A request of an earlier run on this thread does not count.
                kinds[self.kind] = kinds[self.kind].saturating_sub(1);
            }
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checksum(u64);

impl ProfiledSignature {
    /// The correct result. It differs for every session, so that a result of another session fails the check.
    fn checksum(&self) -> Checksum {
        // The finaliser of SplitMix64, in which every bit of the number matters.
        let mixed = (self.session ^ (self.session >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Checksum((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb))
    }
}

impl Work for ProfiledSignature {
    type Output = Checksum;

    fn kind(&self) -> Kind {
        self.kind
    }

    fn duplicate(&self) -> Option<Self> {
        Some(Self { counted: None, ..*self })
    }

    fn check(&self, output: &Checksum) -> Result<(), CheckFailed> {
        if *output == self.checksum() { Ok(()) } else { Err(CheckFailed("the checksum is wrong")) }
    }

    fn erase(_: Checksum) {
        Answers::note(|answers| answers.erased += 1);
    }
}

thread_local! {
    static PRESENT: RefCell<Vec<[usize; KINDS.len()]>> = const { RefCell::new(Vec::new()) };
}

/// Computes profiled signatures, on the device.
#[derive(Debug)]
pub(crate) struct Checksums;

impl Compute for Checksums {
    type Work = ProfiledSignature;

    fn compute(&self, work: &ProfiledSignature) -> Result<Checksum, DeviceError> {
        Answers::note(|answers| answers.computed += 1);
        if let Some(counted) = &work.counted {
            counted.end();
        }
        Ok(work.checksum())
    }

    fn computes_cancelled(&self) -> bool {
        true
    }

    fn spoil(&self, output: Checksum) -> Checksum {
        Checksum(!output.0)
    }
}

#[derive(Debug, Clone)]
pub(super) enum Signing {
    /// On devices, one engine each; handshakes park, in this way.
    Async(ParkingMethod, Vec<Arc<Engine<ProfiledSignature>>>),
    /// On devices, one engine each; the thread waits.
    Blocking(Vec<Arc<Engine<ProfiledSignature>>>),
    /// On the serving thread, or not at all: only the time is charged.
    Inline,
}

#[derive(Debug)]
pub(super) struct Profiled {
    pub(super) signing: Signing,
    pub(super) mix: Mix,
    /// One connection in n needs the slow kind of signature, whatever its key; 0 for none.
    pub(super) slow_every: u64,
    callbacks: Option<Callbacks>,
    counts: Rc<SessionCounts>,
}

#[derive(Debug)]
struct Callbacks {
    switchboard: Switchboard,
    /// One session in n takes its callback away while it is parked.
    unset_every: u64,
}

#[derive(Debug, Default)]
struct SessionCounts {
    /// The number of sessions so far, which are numbered from 0.
    sessions: Cell<u64>,
    asked: Cell<u64>,
    verified: Cell<u64>,
    tickets: TicketCounts,
}

/// Tickets that clients have, by key and version: over TLS 1.3 each is used once, over TLS 1.2 any number of times.
#[derive(Debug, Default)]
struct TicketCounts(RefCell<BTreeMap<(KeyType, TlsVersion), u64>>);

impl TicketCounts {
    fn give(&self, kind: ConnectionKind) {
        *self.0.borrow_mut().entry((kind.key, kind.tls)).or_default() += 1;
    }

    /// Uses a ticket, if there is one. Returns whether there was.
    fn take(&self, kind: ConnectionKind) -> bool {
        let mut tickets = self.0.borrow_mut();
        let Some(left) = tickets.get_mut(&(kind.key, kind.tls)).filter(|left| **left > 0) else {
            return false;
        };
        *left -= u64::from(kind.tls == TlsVersion::Tls13);
        true
    }
}

impl Profiled {
    pub(super) fn new(signing: Signing, mix: Mix, slow_every: u64) -> Self {
        // Clears the counts of an earlier run on this thread.
        let _ = Answers::take();
        PRESENT.with_borrow_mut(Vec::clear);
        Self { signing, mix, slow_every, callbacks: None, counts: Rc::default() }
    }

    /// Wakes sessions by callback; one in `unset_every` takes it away while it is parked.
    pub(super) fn called_back(self, unset_every: u64) -> Self {
        let switchboard = Switchboard::default();
        Self { callbacks: Some(Callbacks { switchboard, unset_every }), ..self }
    }
}

impl Protocol for Profiled {
    type Work = ProfiledSignature;
    type Session = ProfiledSession;
    type Client = ProfiledClient;

    fn kind(&self, number: u64) -> ConnectionKind {
        let kind = self.mix.draw(number);
        if kind.resumed && self.counts.tickets.take(kind) { kind } else { kind.full() }
    }

    fn accept(&self, end: End, pool: &JobPool, route: Option<Route>) -> Option<ProfiledSession> {
        let wire = end.wire();
        let slow = self.slow_every > 0 && wire.number % self.slow_every == self.slow_every - 1;
        let signature = match self.slow_every {
            0 => wire.kind.key as usize,
            _ => FAST_AND_SLOW[usize::from(slow)],
        };
        let work =
            ProfiledSignature { session: wire.number, kind: KINDS[signature], counted: None };
        let (engine, parks) = match &self.signing {
            // The signature was made when the session began.
            _ if wire.kind.resumed => (None, None),
            Signing::Async(parking, engines) => {
                (Some(Arc::clone(engines.get(wire.device)?)), Some(*parking))
            }
            Signing::Blocking(engines) => (Some(Arc::clone(engines.get(wire.device)?)), None),
            Signing::Inline => (None, None),
        };
        let wait_ctx = WaitCtx::new();
        let line = match (route, &self.callbacks) {
            (Some(route), Some(callbacks)) => {
                let line = callbacks.switchboard.connect(&wait_ctx, route);
                wire.number.is_multiple_of(callbacks.unset_every).then_some(line)
            }
            (Some(route), None) => {
                wait_ctx.notifier().set_route(route);
                None
            }
            (None, _) => None,
        };
        let counts = Rc::clone(&self.counts);
        counts.sessions.set(counts.sessions.get().max(wire.number + 1));
        let stage = ProfiledStage::Hello;
        Some(ProfiledSession {
            end,
            work,
            signature,
            engine,
            parks,
            line,
            wait_ctx,
            pool: pool.clone(),
            counts,
            stage,
        })
    }

    fn connect(&self, end: End) -> Result<ProfiledClient, String> {
        let counts = self.mix.resumes().then(|| Rc::clone(&self.counts));
        Ok(ProfiledClient { end, greeted: false, answers: 0, counts })
    }

    fn asked(&self) -> u64 {
        self.counts.asked.get()
    }

    fn verified(&self) -> u64 {
        self.counts.verified.get()
    }

    fn present(&self, device: usize, mut tell: impl FnMut(Kind, usize)) {
        let present =
            PRESENT.with_borrow(|present| present.get(device).copied().unwrap_or_default());
        KINDS.into_iter().zip(present).for_each(|(kind, present)| tell(kind, present));
    }

    fn answers(&self) -> Option<Answers> {
        Some(Answers::take())
    }

    fn calls(&self) -> Option<Calls> {
        self.callbacks.as_ref().map(|callbacks| callbacks.switchboard.calls())
    }
}

type Signed = Result<Checksum, EngineError>;

/// Counts a result that its session has received.
fn received(signed: Signed) -> Signed {
    if signed.is_ok() {
        Answers::note(|answers| answers.received += 1);
    }
    signed
}

/// The server's end of a profiled handshake.
#[derive(Debug)]
pub(super) struct ProfiledSession {
    /// First, to be dropped before the wait context: what is parked then tells its engine that it is given up.
    stage: ProfiledStage,
    end: End,
    work: ProfiledSignature,
    /// The index of its kind in [`KINDS`].
    signature: usize,
    engine: Option<Arc<Engine<ProfiledSignature>>>,
    /// How it parks; `None` if its thread waits instead.
    parks: Option<ParkingMethod>,
    /// Its callback, if the session takes it away while it is parked.
    line: Option<Line>,
    wait_ctx: WaitCtx,
    pool: JobPool,
    counts: Rc<SessionCounts>,
}

#[derive(Debug)]
enum ProfiledStage {
    Hello,
    /// The hello has arrived and no job was free for it.
    Unstarted,
    Parked(Parked),
    Answered,
    Established,
}

/// What a parked session waits in.
#[derive(Debug)]
enum Parked {
    Fiber(Job<Signed>),
    /// Nothing is kept but the request.
    Replay(Pending<ProfiledSignature>),
}

impl Parked {
    /// The signature, or what still waits for it.
    fn resume(self) -> Result<Signed, Self> {
        match self {
            Self::Fiber(job) => Self::after(job.resume()),
            Self::Replay(mut pending) => match pending.poll_result() {
                Poll::Ready(signed) => Ok(received(signed)),
                Poll::Pending => Err(Self::Replay(pending)),
            },
        }
    }

    fn after(step: Step<Signed>) -> Result<Signed, Self> {
        match step {
            Step::Finished(signed) => Ok(signed),
            Step::Paused(job) => Err(Self::Fiber(job)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ProfiledError {
    #[error("the peer hung up")]
    PeerClosed,
    #[error("signature: {0}")]
    Engine(#[from] EngineError),
    #[error("no job: {0}")]
    NoJob(StartRefused),
    #[error("a result that is not this session's left the engine unchecked")]
    WrongResult,
}

impl ProfiledSession {
    /// Asks for the signature: returns it, or what waits for it.
    fn sign(&self) -> Result<Result<Signed, Parked>, StartRefused> {
        let Some(engine) = self.engine.clone() else {
            return Ok(Ok(Ok(self.work.checksum())));
        };
        let counted = Some(Counted::new(self.end.wire().device, self.signature));
        let work = ProfiledSignature { counted, ..self.work };
        let counts = Rc::clone(&self.counts);
        let ask = move || counts.asked.set(counts.asked.get() + 1);
        if self.parks == Some(ParkingMethod::Replay) {
            ask();
            return Ok(match engine.submit_on(self.wait_ctx.notifier(), work) {
                Ok(pending) => Parked::Replay(pending).resume(),
                Err(refused) => Ok(Err(EngineError::Refused(refused.reason))),
            });
        }
        let body = move || {
            ask();
            received(engine.run(work))
        };
        if self.parks.is_none() && !plant::armed(Bug::ParkAnyway) {
            return Ok(Ok(body()));
        }
        let started = self.pool.start_with(&self.wait_ctx, body);
        started.map(Parked::after).map_err(|refused| refused.reason)
    }

    fn answer(&mut self, signed: Signed) -> Result<(), ProfiledError> {
        let signed = signed?;
        if signed != self.work.checksum() {
            let of = |session| {
                ProfiledSignature { session, kind: self.work.kind, counted: None }.checksum()
            };
            let foreign = (0..self.counts.sessions.get()).any(|session| of(session) == signed);
            Answers::note(|answers| answers.foreign += u64::from(foreign));
            return Err(ProfiledError::WrongResult);
        }
        if !self.end.wire().kind.resumed {
            self.counts.verified.set(self.counts.verified.get() + 1);
        }
        // Writing to memory does not fail.
        let _ = self.end.write(b"A");
        self.stage = ProfiledStage::Answered;
        Ok(())
    }
}

impl Session for ProfiledSession {
    type Failure = ProfiledError;

    fn advance(&mut self, live: &LiveCounters) -> Result<SessionProgress, ProfiledError> {
        loop {
            match std::mem::replace(&mut self.stage, ProfiledStage::Unstarted) {
                ProfiledStage::Hello => match receive(&mut self.end) {
                    Received::Byte => {}
                    Received::Nothing => {
                        self.stage = ProfiledStage::Hello;
                        return Ok(SessionProgress::Waits);
                    }
                    Received::End => return Err(ProfiledError::PeerClosed),
                },
                ProfiledStage::Unstarted => match self.sign() {
                    Ok(Ok(Err(_))) if plant::armed(Bug::HushFailure) => {
                        return Ok(SessionProgress::Ended);
                    }
                    Ok(Ok(signed)) => self.answer(signed)?,
                    Ok(Err(parked)) => {
                        self.stage = ProfiledStage::Parked(parked);
                        return Ok(SessionProgress::Waits);
                    }
                    Err(StartRefused::NoJobs { .. }) => return Ok(SessionProgress::WaitsForJob),
                    Err(refused) => return Err(ProfiledError::NoJob(refused)),
                },
                ProfiledStage::Parked(parked) => match parked.resume() {
                    Ok(Err(_)) if plant::armed(Bug::HushFailure) => {
                        return Ok(SessionProgress::Ended);
                    }
                    Ok(signed) => self.answer(signed)?,
                    Err(parked) => {
                        self.stage = ProfiledStage::Parked(parked);
                        self.watch_peer()?;
                        return Ok(SessionProgress::Waits);
                    }
                },
                ProfiledStage::Answered => match receive(&mut self.end) {
                    Received::Byte => {
                        live.handshake();
                        if flights(self.end.wire().kind) > 1 {
                            let _ = self.end.write(b"B");
                        }
                        self.stage = ProfiledStage::Established;
                    }
                    Received::Nothing => {
                        self.stage = ProfiledStage::Answered;
                        return Ok(SessionProgress::Waits);
                    }
                    Received::End => return Err(ProfiledError::PeerClosed),
                },
                ProfiledStage::Established => {
                    self.stage = ProfiledStage::Established;
                    return Ok(SessionProgress::Ended);
                }
            }
        }
    }

    fn parked(&mut self) -> Result<(), ProfiledError> {
        if let Some(line) = self.line.take() {
            line.cut(&self.wait_ctx);
        }
        Ok(())
    }

    fn is_parked(&self) -> bool {
        matches!(self.stage, ProfiledStage::Parked(_))
    }

    fn start_over(&mut self) -> bool {
        let parked = self.is_parked();
        if parked {
            self.stage = ProfiledStage::Unstarted;
        }
        parked
    }

    fn watch_peer(&mut self) -> Result<(), ProfiledError> {
        // A client sends nothing between its hello and the answer, so what can be read is the end.
        match receive(&mut self.end) {
            Received::End => Err(ProfiledError::PeerClosed),
            Received::Byte | Received::Nothing => Ok(()),
        }
    }

    fn milestone(&self) -> Milestone {
        match self.stage {
            ProfiledStage::Hello => Milestone::Accepted,
            ProfiledStage::Unstarted | ProfiledStage::Parked(_) => Milestone::Signing,
            ProfiledStage::Answered => Milestone::Answered,
            ProfiledStage::Established => Milestone::Established,
        }
    }

    fn drain(&mut self) -> bool {
        false
    }

    fn has_hung_up(failure: &ProfiledError) -> bool {
        matches!(failure, ProfiledError::PeerClosed)
    }
}

/// The client's end of a profiled handshake.
#[derive(Debug)]
pub(super) struct ProfiledClient {
    end: End,
    greeted: bool,
    /// Flights received from the server.
    answers: u32,
    /// The store for its ticket, if it gets one.
    counts: Option<Rc<SessionCounts>>,
}

/// Flights of the server in a handshake: over TLS 1.2 a full one ends with its second (RFC 5246, 7.3).
fn flights(kind: ConnectionKind) -> u32 {
    if kind.tls == TlsVersion::Tls12 && !kind.resumed { 2 } else { 1 }
}

/// The server hung up on a client.
#[derive(Debug)]
pub(super) struct ClosedEarly;

impl fmt::Display for ClosedEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server closed the connection before the handshake was done")
    }
}

impl Client for ProfiledClient {
    type Failure = ClosedEarly;

    fn drive(&mut self) -> Result<bool, ClosedEarly> {
        if !self.greeted {
            self.greeted = true;
            let _ = self.end.write(b"H");
        }
        loop {
            match receive(&mut self.end) {
                Received::Byte => {
                    self.answers += 1;
                    if self.answers == 1 {
                        let _ = self.end.write(b"F");
                    }
                }
                Received::Nothing => return Ok(false),
                Received::End if self.is_established() => {
                    if let Some(counts) = &self.counts {
                        counts.tickets.give(self.end.wire().kind);
                    }
                    return Ok(true);
                }
                Received::End => return Err(ClosedEarly),
            }
        }
    }

    fn is_established(&self) -> bool {
        self.answers >= flights(self.end.wire().kind)
    }

    fn has_resumed(&self) -> bool {
        self.end.wire().kind.resumed
    }
}

enum Received {
    Byte,
    Nothing,
    End,
}

fn receive(end: &mut End) -> Received {
    match end.read(&mut [0]) {
        Ok(0) => Received::End,
        Ok(_) => Received::Byte,
        Err(error) => {
            debug_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            Received::Nothing
        }
    }
}
