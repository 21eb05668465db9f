//! One turn: one server, one setting, in a process of its own, so that no turn finds what another one left behind.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lab_report::output::eprint_line;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::client;
use crate::clients;
use crate::cpu::{self, Place, process_cpu};
use crate::incoming::{Crowd, Incoming};
use crate::key::{NEVER, SimulatedKey};
use crate::memory::{Resident, threads};
use crate::meter::Meter;
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
    /// How long is measured; zero measures memory instead.
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

fn speed(server: &'static dyn Server, order: &Order) -> Result<Speed, Problem> {
    let key = SimulatedKey::start(Duration::from_micros(order.latency_us));
    let site = Arc::new(Site::new(order.suite, key.clone(), order.concurrent)?);
    let (config, meter) = (client::config(server.signs()), Arc::new(Meter::new()));
    let before = threads()?;
    match order.transport {
        Transport::Memory => {
            let mut crowd = Crowd::new(config, Arc::clone(&meter));
            if !server.signs() {
                crowd = crowd.with_busy_key(&site);
            }
            let crowd = Arc::new(crowd);
            start(server, &site, Incoming::Memory(Arc::clone(&crowd)))?;
            crowd.arrive(order.concurrent);
        }
        Transport::Loopback => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            rustix::net::listen(&listener, 16_384)?;
            let target = listener.local_addr()?;
            start(server, &site, Incoming::Loopback(Arc::new(listener)))?;
            clients::start(target, order.concurrent, config, Arc::clone(&meter))?;
        }
    }
    cpu::pin(Place::Beside);
    warm_up(&meter, order.concurrent);
    let now = || {
        (
            Instant::now(),
            process_cpu(),
            meter.clients_cpu(),
            key.thread_cpu(),
            key.answers_cpu(),
            meter.done(),
            meter.failed(),
        )
    };
    meter.begin();
    site.heartbeat.begin();
    let from = now();
    thread::sleep(Duration::from_millis(order.window_ms) / 2);
    let threads =
        threads()?.saturating_sub(before + usize::from(order.transport == Transport::Loopback));
    thread::sleep(Duration::from_millis(order.window_ms) / 2);
    let to = now();
    let handshakes = (to.5 - from.5) as f64;
    let some = |value: f64| (handshakes > 0.0).then_some(value);
    let each = |time: Duration| some(time.as_nanos() as f64 / handshakes);
    let serving = (to.1 - from.1).saturating_sub(to.2 - from.2).saturating_sub(to.3 - from.3);
    let latencies = meter.latencies();
    let delays = site.heartbeat.delays();
    let beats = !delays.is_empty();
    Ok(Speed {
        rate: handshakes / (to.0 - from.0).as_secs_f64(),
        cpu: each(serving),
        answer: each(to.4 - from.4),
        p50: some(latencies.value_at_quantile(0.5) as f64),
        p99: some(latencies.value_at_quantile(0.99) as f64),
        p999: some(latencies.value_at_quantile(0.999) as f64),
        heartbeat_p99: beats.then(|| delays.value_at_quantile(0.99) as f64),
        heartbeat_worst: beats.then(|| delays.max() as f64),
        threads,
        failed: to.6 - from.6,
    })
}

/// Until the opening burst is over: each of the first clients has been replaced twice, or time is up. Connecting is part of it.
fn warm_up(meter: &Meter, concurrent: usize) {
    let (begun, enough) = (Instant::now(), 2 * concurrent as u64);
    let each = Duration::from_micros(300);
    let (least, most) =
        (Duration::from_millis(300), Duration::from_secs(2) + each * concurrent as u32);
    while begun.elapsed() < least || (meter.done() < enough && begun.elapsed() < most) {
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
    while meter.done() < 20 && begun.elapsed() < Duration::from_secs(10) {
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

/// Ten thousand clients and the server's ends are more descriptors than most systems give by default.
fn raise_file_limit() {
    const ENOUGH: u64 = 1 << 16;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raise = |limit| setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    let enough = maximum.is_none_or(|maximum| maximum >= ENOUGH);
    // Beyond the maximum only as root. Where neither works the turn says what it has run out of.
    if enough || raise(Some(ENOUGH)).is_err() {
        let _ = raise(maximum);
    }
}
