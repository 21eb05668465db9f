//! One turn: one server, one setting, in a process of its own, so that no turn finds what another one left behind.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lab_report::output::eprint_line;
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::client;
use crate::clients::Clients;
use crate::cpu::{self, Place, process_cpu};
use crate::incoming::{Crowd, Incoming};
use crate::key::{NEVER, SimulatedKey};
use crate::limits::raise_file_limit;
use crate::memory::{Resident, threads};
use crate::meter::{Count, Latencies, Meter};
use crate::servers::Server;
use crate::site::{Site, Suite};

/// What the connections go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    Memory,
    Loopback,
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub server: String,
    pub suite: Suite,
    pub transport: Transport,
    pub concurrent: usize,
    /// How long the key takes.
    pub latency_us: u64,
    /// How long is measured at least; zero measures memory instead.
    pub window_ms: u64,
}

/// What came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    Speed(Speed),
    Memory(Memory),
}

/// Times in nanoseconds; absent where nothing happened in the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Speed {
    /// Handshakes a second.
    pub rate: f64,
    /// CPU time of the server for each handshake: all threads but the key's and the clients'.
    pub cpu: Option<f64>,
    /// CPU time for each handshake that the answers took on the key's thread.
    pub answer: Option<f64>,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    /// Lateness of the heartbeat.
    pub heartbeat_p99: Option<f64>,
    pub heartbeat_worst: Option<f64>,
    /// Of the server.
    pub threads: usize,
    pub failed: u64,
}

/// All handshakes parked at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// How many waited for the key.
    pub in_flight: u64,
    /// For each of them: resident memory, page tables, kernel stacks.
    pub bytes: f64,
}

/// Runs the turn and returns its outcome. The server's threads go on: the process is to end.
///
/// # Errors
///
/// What kept the server from serving.
pub(crate) fn run(server: &'static dyn Server, order: &Order) -> Result<Outcome, Problem> {
    raise_file_limit();
    cpu::pin(Place::Serving);
    if order.window_ms == 0 {
        memory(server, order).map(Outcome::Memory)
    } else {
        speed(server, order).map(Outcome::Speed)
    }
}

/// The server on a thread, which the threads that it makes take after.
fn start(server: &'static dyn Server, site: &Arc<Site>, incoming: Incoming) -> Result<(), Problem> {
    let site = Arc::clone(site);
    thread::Builder::new().name("server".to_owned()).spawn(move || {
        if let Err(problem) = server.serve(&site, &incoming) {
            eprint_line(format_args!("{} does not serve: {problem}", server.name()));
            process::exit(1);
        }
    })?;
    Ok(())
}

/// The clients of a turn, wherever they are.
enum Watched {
    InMemory(Arc<Meter>),
    Apart(Clients),
}

impl Watched {
    fn begin(&mut self) -> Result<Count, Problem> {
        match self {
            Self::InMemory(meter) => {
                meter.begin();
                Ok(meter.count())
            }
            Self::Apart(clients) => clients.begin(),
        }
    }

    fn count(&mut self) -> Result<Count, Problem> {
        match self {
            Self::InMemory(meter) => Ok(meter.count()),
            Self::Apart(clients) => clients.count(),
        }
    }

    fn latencies(&mut self) -> Result<Latencies, Problem> {
        match self {
            Self::InMemory(meter) => Ok(meter.latencies()),
            Self::Apart(clients) => clients.latencies(),
        }
    }

    /// The CPU time of those that run on the server's threads.
    fn cpu(&self) -> Duration {
        match self {
            Self::InMemory(meter) => meter.clients_cpu(),
            Self::Apart(_) => Duration::ZERO,
        }
    }
}

/// What has happened so far.
struct Sample {
    at: Instant,
    /// CPU time: of the process, of clients in it, of the key's thread, and of the answers on it.
    process: Duration,
    clients: Duration,
    key: Duration,
    answers: Duration,
    count: Count,
}

impl Sample {
    fn now(watched: &Watched, key: &SimulatedKey, count: Count) -> Self {
        Self {
            at: Instant::now(),
            process: process_cpu(),
            clients: watched.cpu(),
            key: key.thread_cpu(),
            answers: key.answers_cpu(),
            count,
        }
    }
}

fn speed(server: &'static dyn Server, order: &Order) -> Result<Speed, Problem> {
    let key = SimulatedKey::start(Duration::from_micros(order.latency_us));
    let site = Arc::new(Site::new(order.suite, key.clone(), order.concurrent)?);
    let before = threads()?;
    let mut watched = match order.transport {
        Transport::Memory => {
            let meter = Arc::new(Meter::new());
            let mut crowd = Crowd::new(client::config(server.signs()), Arc::clone(&meter));
            if !server.signs() {
                crowd = crowd.with_busy_key(&site);
            }
            let crowd = Arc::new(crowd);
            start(server, &site, Incoming::Memory(Arc::clone(&crowd)))?;
            cpu::pin(Place::Beside);
            crowd.arrive(order.concurrent);
            Watched::InMemory(meter)
        }
        Transport::Loopback => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            rustix::net::listen(&listener, 16_384)?;
            let target = listener.local_addr()?;
            start(server, &site, Incoming::Loopback(Arc::new(listener)))?;
            cpu::pin(Place::Beside);
            Watched::Apart(Clients::start(target, order.concurrent, server.signs())?)
        }
    };
    warm_up(&mut watched, order.concurrent)?;
    let count = watched.begin()?;
    site.heartbeat.begin();
    let from = Sample::now(&watched, &key, count);
    thread::sleep(Duration::from_millis(order.window_ms) / 2);
    let threads = threads()?.saturating_sub(before);
    let count = measured(&mut watched, &from, order)?;
    let to = Sample::now(&watched, &key, count);
    let handshakes = (to.count.done - from.count.done) as f64;
    let some = |value: f64| (handshakes > 0.0).then_some(value);
    let each = |time: Duration| some(time.as_nanos() as f64 / handshakes);
    let serving = (to.process - from.process)
        .saturating_sub(to.clients - from.clients)
        .saturating_sub(to.key - from.key);
    let latencies = watched.latencies()?;
    let delays = site.heartbeat.delays();
    let beats = !delays.is_empty();
    Ok(Speed {
        rate: handshakes / (to.at - from.at).as_secs_f64(),
        cpu: each(serving),
        answer: each(to.answers - from.answers),
        p50: some(latencies.p50),
        p99: some(latencies.p99),
        p999: some(latencies.p999),
        heartbeat_p99: beats.then(|| delays.value_at_quantile(0.99) as f64),
        heartbeat_worst: beats.then(|| delays.max() as f64),
        threads,
        failed: to.count.failed - from.count.failed,
    })
}

/// Until the opening burst is over: each of the first clients has been replaced twice, or time is up. Connecting is part of it.
fn warm_up(watched: &mut Watched, concurrent: usize) -> Result<(), Problem> {
    let (begun, enough) = (Instant::now(), 2 * concurrent as u64);
    let each = Duration::from_micros(300);
    let (least, most) =
        (Duration::from_millis(300), Duration::from_secs(2) + each * concurrent as u32);
    while begun.elapsed() < least || (begun.elapsed() < most && watched.count()?.done < enough) {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Until the time is over and all that are in flight at once have been replaced twice; eight times the time at most. Clients that
/// arrived together come in waves, and a part of a wave says nothing.
fn measured(watched: &mut Watched, from: &Sample, order: &Order) -> Result<Count, Problem> {
    let (window, enough) = (Duration::from_millis(order.window_ms), 2 * order.concurrent as u64);
    loop {
        let count = watched.count()?;
        let time = from.at.elapsed();
        let is_enough = count.done - from.count.done >= enough;
        if time >= window && (is_enough || time >= 8 * window) {
            return Ok(count);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// When no further handshake reaches the key for this long, all that can wait at once are waiting.
const SETTLED: Duration = Duration::from_millis(500);

fn memory(server: &'static dyn Server, order: &Order) -> Result<Memory, Problem> {
    // What is made once for a process is made by a server before, which stays.
    let key = SimulatedKey::start(Duration::ZERO);
    let site = Arc::new(Site::new(order.suite, key, 1)?);
    let meter = Arc::new(Meter::new());
    let config = client::config(server.signs());
    let crowd = Arc::new(Crowd::new(Arc::clone(&config), Arc::clone(&meter)));
    start(server, &site, Incoming::Memory(Arc::clone(&crowd)))?;
    crowd.arrive(1);
    let begun = Instant::now();
    while meter.count().done < 20 && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    crowd.close();
    thread::sleep(Duration::from_millis(20));

    let key = SimulatedKey::start(NEVER);
    let site = Arc::new(Site::new(order.suite, key.clone(), order.concurrent)?);
    let crowd = Arc::new(Crowd::played(config, meter));
    let before = Resident::now()?;
    start(server, &site, Incoming::Memory(Arc::clone(&crowd)))?;
    crowd.arrive(order.concurrent);
    let (mut asked, mut since) = (0, Instant::now());
    while asked < order.concurrent as u64 && since.elapsed() < SETTLED {
        thread::sleep(Duration::from_millis(5));
        if key.asked() > asked {
            (asked, since) = (key.asked(), Instant::now());
        }
    }
    // The last ones are on their way into their sleep.
    thread::sleep(Duration::from_millis(50));
    let bytes = Resident::now()?.since(before);
    if asked == 0 {
        return Err("no handshake reached the key".into());
    }
    Ok(Memory { in_flight: asked, bytes: bytes / asked as f64 })
}
