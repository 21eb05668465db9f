//! CPU time of the serving thread when 1,024 handshakes wait for a key of 10 ms, beside rustls with a free signature and
//! as many handshakes between hello and finish.
//!
//! ```text
//!   turn:  whose answer is there   server: resume, answer   | client |  server: finish, drop
//!          and as many new ones                             | client |  server: accept, hello, park
//! ```
//!
//! The arms differ in how a session waits: ours, on a fiber or parked by replay, is due again when the device has answered,
//! the free one when it is its turn. They take turns round by round.
//!
//! The device signs beside the free arm, too, and the signatures are thrown away: processors share a core's units, its caches and its power, and a
//! serving thread is slower while another processor is at work, whatever that works for.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use crypto_ops::CryptoOp;
use engine_core::{CheckPolicy, Engine, Pending};
use handshake_lab::cpu::{process_cpu, thread_cpu};
use sim_engine::{SimCard, SimConfig};
use ssl_async::JobPool;
use wait_ctx::{ReadyQueue, ReadySender, Route, Token};

use super::party::{Client, Fixture, Ours, Plain, Replaying, Server, Stood, Suite, Wire, text};
use crate::measure::Measured;
use crate::report::Bench;

const IN_FLIGHT: usize = 1024;
const LATENCY: Duration = Duration::from_millis(10);
/// Handshakes of one arm in one round.
const HANDSHAKES: usize = 4096;
/// Odd, so that the median is one of them.
const ROUNDS: usize = 7;
/// Sessions served one after the other before clients have their turn.
const BATCH: usize = 32;

/// `tls.cpu_vs_free_sign` and its variants.
pub(crate) fn cpu_vs_free_sign() -> Vec<Bench> {
    let mut rows = Vec::new();
    for (suite, checks, variant) in [
        (Suite::P256, CheckPolicy::Auto, ""),
        (Suite::P256, CheckPolicy::Required, "unchecked"),
        (Suite::Rsa2048, CheckPolicy::Auto, ""),
        (Suite::MlKem, CheckPolicy::Auto, ""),
    ] {
        let separated = |mark: &str| {
            if variant.is_empty() { String::new() } else { format!("{mark}{variant}") }
        };
        let fiber = format!("tls.cpu_vs_free_sign{}{}", suite.suffix(), separated("."));
        let replay = format!("tls.cpu_vs_free_sign{}{}", suite.replay_suffix(), separated("_"));
        match measure(suite, checks) {
            Ok([free, on_fiber, by_replay]) => {
                rows.extend(pair(fiber, &on_fiber, &free, None));
                let on_fiber = Some(Measured::of(&on_fiber.serving).median);
                rows.extend(pair(replay, &by_replay, &free, on_fiber));
            }
            Err(why) => {
                rows.push(Bench::missing(fiber, "ns", why.clone()));
                rows.push(Bench::missing(replay, "ns", why));
            }
        }
    }
    rows
}

const RIVAL: &str = "rustls, free signature";
const NOTE: &str = "CPU time of the serving thread for one handshake, clients out";

/// The row of the serving thread and that of the whole process.
fn pair(name: String, ours: &Rounds, free: &Rounds, on_fiber: Option<f64>) -> [Bench; 2] {
    let whole = "CPU time of the whole process, the device's signatures and checks in";
    let process = format!("{name}.process");
    let rounds = ours.serving.iter().zip(&free.serving).map(|(ours, free)| ours / free);
    let Measured { median, min, max, .. } = Measured::of(&rounds.collect::<Vec<_>>());
    let row =
        Bench::beside(name, RIVAL, (Measured::of(&ours.serving), Measured::of(&free.serving)));
    let mut row = row.with_note(format!("{NOTE}; {median:.2} times ({min:.2} to {max:.2})"));
    if let Some(fiber) = on_fiber {
        row = row.with_note(format!("{fiber:.0} on a fiber in the same run"));
    }
    let both = (Measured::of(&ours.process), Measured::of(&free.process));
    [row, Bench::beside(process, RIVAL, both).with_note(whole)]
}

/// The rounds with a free signature, on fibers, and by replay.
fn measure(suite: Suite, checks: CheckPolicy) -> Result<[Rounds; 3], String> {
    let fixture = Fixture::new(suite)?;
    let config = SimConfig::signer(LATENCY, IN_FLIGHT as u32, IN_FLIGHT).map_err(text)?;
    let card = SimCard::start(config, Arc::clone(&fixture.keys)).map_err(text)?;
    let engine: Arc<Engine<CryptoOp>> =
        Engine::builder(card.clone() as Arc<_>).queue_bound(IN_FLIGHT).checks(checks).build();
    let (plain, context, replay) =
        (fixture.plain()?, fixture.ours(Arc::clone(&engine))?, fixture.replay()?);
    let pool = JobPool::new();
    let (mut by_turn, mut on_fiber, mut by_replay) =
        (VecDeque::new(), Woken::new()?, Woken::new()?);
    let route = on_fiber.ready.sender();
    let mut unasked = Unasked::new(fixture.signature(), Arc::clone(&engine));
    let wakers: Vec<Waker> = (0..IN_FLIGHT).map(|seat| by_replay.waker(seat)).collect();
    let mut rounds: [Rounds; 3] = Default::default();
    for round in 0..=ROUNDS {
        let spent = [
            run(&fixture, &mut by_turn, || unasked.sign(), |_, wire| Plain::new(&plain, wire))?,
            run(
                &fixture,
                &mut on_fiber,
                || (),
                |seat, wire| {
                    Ours::new(&context, &pool, wire).route(Route::Ready(route.clone(), Token(seat)))
                },
            )?,
            run(
                &fixture,
                &mut by_replay,
                || (),
                |seat, wire| Replaying::new(&replay, &engine, wakers[seat].clone(), wire),
            )?,
        ];
        // The first of each is warm-up.
        if round > 0 {
            rounds.iter_mut().zip(spent).for_each(|(rounds, spent)| rounds.push(spent));
        }
    }
    card.stop();
    Ok(rounds)
}

/// Nanoseconds of CPU time for each handshake, round by round.
#[derive(Default)]
struct Rounds {
    serving: Vec<f64>,
    process: Vec<f64>,
}

impl Rounds {
    fn push(&mut self, spent: Spent) {
        let each = |time: Duration| time.as_nanos() as f64 / HANDSHAKES as f64;
        self.serving.push(each(spent.serving));
        self.process.push(each(spent.process));
    }
}

struct Spent {
    serving: Duration,
    process: Duration,
}

/// Whose turn it is.
trait Turns {
    /// A server has worked its client's hello off.
    fn greeted(&mut self, seat: usize, stood: Stood);

    /// The seats whose turn it is, at most a batch; waits for the first if `idle`.
    fn due(&mut self, idle: bool, into: &mut Vec<usize>) -> Result<(), String>;
}

/// The signature is there at once. A handshake is finished after all that came before it.
impl Turns for VecDeque<usize> {
    fn greeted(&mut self, seat: usize, stood: Stood) {
        assert_eq!(stood, Stood::WaitsForPeer);
        self.push_back(seat);
    }

    fn due(&mut self, idle: bool, into: &mut Vec<usize>) -> Result<(), String> {
        // Not before as many are in flight as with the device.
        if idle {
            into.extend(self.drain(..self.len().min(BATCH)));
        }
        Ok(())
    }
}

/// The seats whose device has answered, by the ready queue.
struct Woken {
    ready: ReadyQueue,
    poll: mio::Poll,
    events: mio::Events,
    tokens: Vec<Token>,
    due: VecDeque<usize>,
}

impl Woken {
    fn new() -> Result<Self, String> {
        let (poll, ready) = (mio::Poll::new().map_err(text)?, ReadyQueue::new().map_err(text)?);
        let fd = ready.as_fd().as_raw_fd();
        let mut source = mio::unix::SourceFd(&fd);
        let readable = mio::Interest::READABLE;
        poll.registry().register(&mut source, mio::Token(0), readable).map_err(text)?;
        let events = mio::Events::with_capacity(4);
        Ok(Self { ready, poll, events, tokens: Vec::new(), due: VecDeque::new() })
    }

    fn waker(&self, seat: usize) -> Waker {
        Waker::from(Arc::new(Seat(self.ready.sender(), Token(seat))))
    }
}

impl Turns for Woken {
    fn greeted(&mut self, seat: usize, stood: Stood) {
        match stood {
            Stood::Parked => {}
            // On a busy machine this thread may have stood still for so long that the answer was there first.
            Stood::WaitsForPeer => self.due.push_back(seat),
            Stood::Done => unreachable!("the client has only said hello"),
        }
    }

    fn due(&mut self, idle: bool, into: &mut Vec<usize>) -> Result<(), String> {
        loop {
            self.ready.drain(&mut self.tokens);
            self.due.extend(self.tokens.drain(..).map(|token| token.0));
            into.extend(self.due.drain(..self.due.len().min(BATCH)));
            if !into.is_empty() || !idle {
                return Ok(());
            }
            if self.ready.prepare_sleep() {
                self.poll.poll(&mut self.events, None).map_err(text)?;
            }
            self.ready.awake();
        }
    }
}

/// Wakes the serving thread for one seat.
struct Seat(ReadySender, Token);

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.push(self.1);
    }
}

/// Signatures that are thrown away.
struct Unasked {
    operation: CryptoOp,
    engine: Arc<Engine<CryptoOp>>,
    /// Those the device may not have made yet. The first that is dropped has been made.
    pending: VecDeque<Pending<CryptoOp>>,
}

impl Unasked {
    fn new(operation: CryptoOp, engine: Arc<Engine<CryptoOp>>) -> Self {
        Self { operation, engine, pending: VecDeque::new() }
    }

    fn sign(&mut self) {
        while self.pending.len() >= IN_FLIGHT {
            self.pending.pop_front();
        }
        self.pending.extend(self.engine.submit(self.operation.clone()));
    }
}

/// A round of one arm, whose servers `accept` makes. `beside` is called once for each handshake, in no figure.
fn run<S: Server>(
    fixture: &Fixture,
    turns: &mut impl Turns,
    mut beside: impl FnMut(),
    accept: impl Fn(usize, Wire) -> S,
) -> Result<Spent, String> {
    let mut seats: Vec<Option<(S, Client)>> = Vec::new();
    seats.resize_with(IN_FLIGHT, || None);
    let mut empty: Vec<usize> = (0..IN_FLIGHT).rev().collect();
    let (mut begun, mut done) = (0, 0);
    let (mut due, mut hellos) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let (process_before, thread_before) = (process_cpu(), thread_cpu());
    let mut clients = Duration::ZERO;
    while done < HANDSHAKES {
        let idle = empty.is_empty() || begun == HANDSHAKES;
        turns.due(idle, &mut due)?;
        for &seat in &due {
            let (server, _) = seats[seat].as_mut().expect("it is in flight");
            server.step();
        }
        clients += timed(|| {
            for &seat in &due {
                let (server, client) = seats[seat].as_mut().expect("it is in flight");
                client.step(server.wire());
            }
        });
        for &seat in &due {
            let (mut server, client) = seats[seat].take().expect("it is in flight");
            assert_eq!(server.step(), Stood::Done);
            drop(server);
            empty.push(seat);
            hellos.push((seat, client));
        }
        done += due.len();
        due.clear();
        // The clients that are through go, and new ones come.
        clients += timed(|| {
            hellos.clear();
            while hellos.len() < BATCH && begun < HANDSHAKES {
                let Some(seat) = empty.pop() else { break };
                begun += 1;
                hellos.push((seat, fixture.client()));
                beside();
            }
        });
        let mut wires = Vec::with_capacity(BATCH);
        clients += timed(|| {
            for (_, client) in &mut hellos {
                let mut wire = Wire::default();
                client.step(&mut wire);
                wires.push(wire);
            }
        });
        for ((seat, client), wire) in hellos.drain(..).zip(wires) {
            let mut server = accept(seat, wire);
            let stood = server.step();
            seats[seat] = Some((server, client));
            turns.greeted(seat, stood);
        }
    }
    let (process, thread) = (process_cpu() - process_before, thread_cpu() - thread_before);
    Ok(Spent { serving: thread - clients, process: process - clients })
}

fn timed(work: impl FnOnce()) -> Duration {
    let before = thread_cpu();
    work();
    thread_cpu() - before
}
