//! What handshakes with a slow key do to everything else on their thread: how late a task is that is due every
//! millisecond, and what a handshake costs.
//!
//! One thread offers 3,000 handshakes a second over loopback, whatever the server does with them; it keeps to the
//! last processor. The key blocks for
//! 20 ms, on a pool of 128 threads where there is one. Every arm serves on one thread but for `.block_in_place`, which
//! needs a runtime of several. Arms take turns, so that a machine whose speed drifts slows all.

mod mio;
mod setting;
mod tokio;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use handshake_lab::cpu::{confine_to_last_processor, process_cpu};
use rustls::ServerConfig;

use crate::measure::Measured;
use crate::paced;
use crate::report::Bench;
pub(crate) use setting::Lateness;
use setting::{HeartbeatDelays, Setting};

const RATE: f64 = 3000.0;
/// One turn of one arm.
const TURN: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

/// One way to serve: until it is told to stop, on the calling thread. Returns the delays of the heartbeat.
type Serve = fn(TcpListener, &Setting, &Arc<AtomicBool>) -> io::Result<HeartbeatDelays>;

/// One turn of one arm: the delays of the heartbeat, what the clients saw, and the CPU time of a handshake.
struct Turn {
    p99: Lateness,
    handshakes: u64,
    /// That of the whole process but for the clients' thread.
    cpu: f64,
}

fn turn(serve: Serve, setting: &Setting, rate: f64) -> io::Result<Turn> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listener.set_nonblocking(true)?;
    let pace = paced::Pace {
        target: listener.local_addr()?,
        rate,
        time: TURN,
        cap: 1024,
        config: Arc::clone(&setting.client),
    };
    let (stop, before) = (Arc::new(AtomicBool::new(false)), process_cpu());
    let (delays, clients) = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            confine_to_last_processor();
            let clients = paced::run(&pace);
            stop.store(true, Ordering::Release);
            clients
        });
        let delays = serve(listener, setting, &stop);
        (delays, clients.join().expect("the clients do not panic"))
    });
    let clients = clients?;
    let cpu = process_cpu().saturating_sub(before).saturating_sub(clients.cpu);
    Ok(Turn {
        p99: delays?.p99(),
        handshakes: clients.handshakes,
        cpu: cpu.as_nanos() as f64 / clients.handshakes.max(1) as f64,
    })
}

/// Serves with this configuration on the calling thread until it is told to stop. Returns how late the heartbeat was there.
pub(crate) fn lateness_on_mio(
    listener: TcpListener,
    config: &Arc<ServerConfig>,
    stop: &Arc<AtomicBool>,
) -> io::Result<Lateness> {
    Ok(mio::serve(listener, config, stop)?.p99())
}

/// All arms in turn, [`ROUNDS`] times.
fn rounds(arms: &[(Serve, f64)]) -> Result<Vec<Vec<Turn>>, Box<dyn std::error::Error>> {
    let setting = Setting::new()?;
    let mut turns: Vec<Vec<Turn>> = arms.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (turns, (serve, rate)) in turns.iter_mut().zip(arms) {
            turns.push(turn(*serve, &setting, *rate)?);
        }
    }
    Ok(turns)
}

fn lateness(turns: &[Turn]) -> Measured {
    Measured::of(&turns.iter().map(|turn| turn.p99.all).collect::<Vec<_>>())
}

fn lateness_while_running(turns: &[Turn]) -> Measured {
    Measured::of(&turns.iter().map(|turn| turn.p99.running).collect::<Vec<_>>())
}

fn served(turns: &[Turn]) -> String {
    let all: u64 = turns.iter().map(|turn| turn.handshakes).sum();
    let seconds = TURN.as_secs_f64() * turns.len() as f64;
    format!("{:.0} of {RATE} handshakes a second served", all as f64 / seconds)
}

/// What the rows of lateness while running say.
pub(crate) const WHILE_RUNNING: &str = "the same, less the time in which the system had given the thread's processor to another thread";

/// p99 lateness of a task that is due every millisecond on the serving thread.
pub(crate) fn heartbeat() -> Vec<Bench> {
    let arms: [(Serve, f64); 6] = [
        (mio::offloaded, 0.0),
        (mio::offloaded, RATE),
        (tokio::offloaded, 0.0),
        (tokio::offloaded, RATE),
        (tokio::blocking, RATE),
        (tokio::in_place, RATE),
    ];
    let turns = match rounds(&arms) {
        Ok(turns) => turns,
        Err(error) => return vec![Bench::missing("tls.heartbeat", "ns", error.to_string())],
    };
    let [idle, ours, idle_tokio, on_tokio, blocking, in_place] =
        core::array::from_fn(|arm| lateness(&turns[arm]));
    let [running_idle, running] = core::array::from_fn(|arm| lateness_while_running(&turns[arm]));
    let over_idle = |busy: Measured, idle: Measured| busy.median / idle.median;
    vec![
        Bench::nanoseconds("tls.heartbeat", ours)
            .with_rival("tokio-rustls, blocking", blocking.median)
            .with_note(format!(
                "p99 on mio, {:.2} times idle; {}; the rival: {}",
                over_idle(ours, idle),
                served(&turns[1]),
                served(&turns[4])
            )),
        Bench::nanoseconds("tls.heartbeat.running", running)
            .with_rival("no handshakes", running_idle.median)
            .with_note(WHILE_RUNNING),
        Bench::nanoseconds("tls.heartbeat.idle", idle).with_note("mio, no handshakes"),
        Bench::nanoseconds("tls.heartbeat.tokio", on_tokio)
            .with_rival("tokio-rustls, blocking", blocking.median)
            .with_note(format!(
                "p99 on tokio, one thread, {:.2} times idle; {}",
                over_idle(on_tokio, idle_tokio),
                served(&turns[3])
            )),
        Bench::nanoseconds("tls.heartbeat.tokio_idle", idle_tokio)
            .with_note("tokio, no handshakes; its timer counts whole milliseconds"),
        Bench::nanoseconds("tls.heartbeat.block_in_place", in_place)
            .with_note(format!("tokio-rustls, two workers; {}", served(&turns[5]))),
    ]
}

/// CPU time of a handshake, all threads but the clients', through the tokio path and through the mio path.
pub(crate) fn cpu() -> Vec<Bench> {
    let arms: [(Serve, f64); 2] = [(tokio::offloaded, RATE), (mio::offloaded, RATE)];
    match rounds(&arms) {
        Ok(turns) => {
            let [tokio, mio] = core::array::from_fn(|arm: usize| {
                Measured::of(&turns[arm].iter().map(|turn| turn.cpu).collect::<Vec<_>>())
            });
            let bench = Bench::nanoseconds("tls.cpu_tokio_vs_mio", tokio);
            let note =
                "CPU of the process without the clients, heartbeat and software signature in it";
            vec![bench.with_rival("the mio path", mio.median).with_note(note)]
        }
        Err(error) => vec![Bench::missing("tls.cpu_tokio_vs_mio", "ns", error.to_string())],
    }
}
