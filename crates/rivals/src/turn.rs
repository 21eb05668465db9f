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
use crate::cpu::{self, Place, process_cpu, thread_cpu};
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

/// Times in nanoseconds; absent where nothing happened in the window. Those of clients are absent, too, if time was up before
/// the opening burst was over and all in flight had been replaced: they would be those of the fastest only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Speed {
    /// Handshakes a second.
    pub rate: f64,
    /// CPU time of the server for each handshake: of all threads but the key's, the clients' and the one that measures. The
    /// heartbeat is in it.
    pub cpu: Option<f64>,
    /// CPU time for each handshake that the answers took on the key's thread.
    pub answer: Option<f64>,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    /// Lateness of the heartbeat.
    pub heartbeat_p99: Option<f64>,
    pub heartbeat_worst: Option<f64>,
    /// Of the server, while it is measured.
    pub threads: usize,
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
    /// CPU time: of the process, of clients in it, of the key's thread, and of the answers on that.
    process: Duration,
    clients: Duration,
    key: Duration,
    answers: Duration,
    /// Of this thread, which measures.
    measuring: Duration,
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
            measuring: thread_cpu(),
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
            if !server.asks_key() {
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
    let is_warm = warm_up(&mut watched, order.concurrent)?;
    let count = watched.begin()?;
    site.heartbeat.begin();
    let from = Sample::now(&watched, &key, count);
    thread::sleep(Duration::from_millis(order.window_ms) / 2);
    let threads = threads()?.saturating_sub(before);
    let (count, is_enough) = measured(&mut watched, &from, order)?;
    let to = Sample::now(&watched, &key, count);
    let handshakes = handshakes(from.count, to.count)? as f64;
    let some = |value: f64| (handshakes > 0.0).then_some(value);
    let each = |time: Duration| some(time.as_nanos() as f64 / handshakes);
    let serving = (to.process - from.process)
        .saturating_sub(to.clients - from.clients)
        .saturating_sub(to.key - from.key)
        .saturating_sub(to.measuring - from.measuring);
    let latencies = watched.latencies()?;
    let of_all = |latency: f64| some(latency).filter(|_| is_warm && is_enough);
    let delays = site.heartbeat.delays();
    let beats = !delays.is_empty();
    Ok(Speed {
        rate: handshakes / (to.at - from.at).as_secs_f64(),
        cpu: each(serving),
        answer: each(to.answers - from.answers),
        p50: of_all(latencies.p50),
        p99: of_all(latencies.p99),
        p999: of_all(latencies.p999),
        heartbeat_p99: beats.then(|| delays.value_at_quantile(0.99) as f64),
        heartbeat_worst: beats.then(|| delays.max() as f64),
        threads,
    })
}

/// The handshakes between two counts. If more than one in a hundred failed, the server has no figures: wrong signatures are an
/// example, since every sixteenth client notices them.
fn handshakes(from: Count, to: Count) -> Result<u64, Problem> {
    let (done, failed) = (to.done - from.done, to.failed - from.failed);
    match failed > done / 100 {
        true => Err(format!("{failed} handshakes failed, and {done} did not").into()),
        false => Ok(done),
    }
}

/// How many handshakes make a figure whole: all that are in flight at once have been replaced twice. Clients that arrived
/// together come in waves, and a part of a wave says nothing. Ten thousand are a wave of some seconds, and one has to do.
const fn replacements(concurrent: usize) -> u64 {
    let times = if concurrent > 2_000 { 1 } else { 2 };
    times * concurrent as u64
}

/// Until the opening burst is over: all have been [replaced](replacements), or time is up. Connecting is part of it. Returns
/// whether it is over.
fn warm_up(watched: &mut Watched, concurrent: usize) -> Result<bool, Problem> {
    let (begun, enough) = (Instant::now(), replacements(concurrent));
    let each = Duration::from_micros(500);
    let (least, most) =
        (Duration::from_millis(300), Duration::from_secs(2) + each * concurrent as u32);
    loop {
        let is_over = watched.count()?.done >= enough;
        let time = begun.elapsed();
        if time >= least && (is_over || time >= most) {
            return Ok(is_over);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A window is no longer than this, unless the order asks for more.
const LONGEST: Duration = Duration::from_secs(8);

/// Until the window is over and all have been [replaced](replacements), or time is up. Returns whether they have been.
fn measured(watched: &mut Watched, from: &Sample, order: &Order) -> Result<(Count, bool), Problem> {
    let (window, enough) = (Duration::from_millis(order.window_ms), replacements(order.concurrent));
    loop {
        let count = watched.count()?;
        let time = from.at.elapsed();
        let is_enough = count.done - from.count.done >= enough;
        if time >= window && (is_enough || time >= LONGEST) {
            return Ok((count, is_enough));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_which_more_than_one_handshake_in_a_hundred_fails_has_no_figures() {
        let counted = |done: u64, failed: u64| {
            let from = Count { done: 7, failed: 3 };
            handshakes(from, Count { done: 7 + done, failed: 3 + failed }).ok()
        };
        assert_eq!(counted(100, 1), Some(100));
        assert_eq!(counted(100, 2), None);
        assert_eq!(counted(0, 1), None);
        assert_eq!(counted(0, 0), Some(0));
    }
}
