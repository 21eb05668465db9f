//! What handshakes with a slow key do to everything else on their thread: how late a task is that is due every
//! millisecond, and what a handshake costs.
//!
//! One thread offers 3,000 handshakes a second over loopback, whatever the server does with them. The key blocks for
//! 20 ms, on a pool of 128 threads where there is one. Every arm serves on one thread but for `.block_in_place`, which
//! needs a runtime of several. Arms take turns, so that a machine whose speed drifts slows all.

mod mio;
mod tokio;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use ssl_async::SlowKey;

use crate::measure::Measured;
use crate::paced;
use crate::report::Bench;
use handshake_lab::certs::TestPki;
use handshake_lab::keys::{server_config, software};
use handshake_lab::load::{Verified, client_config};
use handshake_lab::scenario::{KeyType, TlsVersion};

const RATE: f64 = 3000.0;
const KEY_TAKES: Duration = Duration::from_millis(20);
const THREADS: usize = 128;
const BEAT: Duration = Duration::from_millis(1);
/// One turn of one arm.
const TURN: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

/// One way to serve: until it is told to stop, on the calling thread. Returns how late the beats were.
type Serve = fn(TcpListener, &Setting, &Arc<AtomicBool>) -> io::Result<Beats>;

/// What the arms share.
struct Setting {
    /// With the key on the pool.
    offloaded: Arc<ServerConfig>,
    /// With the key blocking whoever asks.
    blocking: Arc<ServerConfig>,
    /// The same, within `block_in_place`.
    in_place: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A key that blocks, wherever it is asked.
#[derive(Debug)]
struct Blocking {
    key: Arc<dyn SigningKey>,
    in_place: bool,
}

#[derive(Debug)]
struct BlockingSigner {
    signer: Box<dyn rustls::sign::Signer>,
    in_place: bool,
}

impl SigningKey for Blocking {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let signer = self.key.choose_scheme(offered)?;
        Some(Box::new(BlockingSigner { signer, in_place: self.in_place }))
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl rustls::sign::Signer for BlockingSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let sign = || {
            thread::sleep(KEY_TAKES);
            self.signer.sign(message)
        };
        if self.in_place { ::tokio::task::block_in_place(sign) } else { sign() }
    }

    fn scheme(&self) -> SignatureScheme {
        self.signer.scheme()
    }
}

impl Setting {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let pki = TestPki::generate(KeyType::P256)?;
        let key = software(&PrivateKeyDer::from_pem_slice(pki.key_pem.as_bytes())?)?;
        let client = client_config(Some(&pki.ca), TlsVersion::Tls13, &Verified::default())?;
        let config = |key| server_config(vec![pki.certificate.clone()], key).map(Arc::new);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let blocking = |in_place| -> Arc<dyn SigningKey> {
            Arc::new(Blocking { key: Arc::clone(&key), in_place })
        };
        let slow = SlowKey::builder_with_provider(vec![pki.certificate.clone()], &provider)?;
        let slow = slow.threads(THREADS).signing_key(blocking(false))?;
        Ok(Self {
            offloaded: config(Arc::clone(&slow.certified_key().key))?,
            blocking: config(blocking(false))?,
            in_place: config(blocking(true))?,
            client: Arc::new(client),
        })
    }
}

/// How late each beat was, in nanoseconds.
#[derive(Debug, Default)]
struct Beats(Vec<f64>);

impl Beats {
    /// Notes the beat that was due at `due`, and says when the next one is.
    fn note(&mut self, due: Instant) -> Instant {
        let now = Instant::now();
        self.0.push(now.saturating_duration_since(due).as_nanos() as f64);
        // Beats that were missed are not caught up with: each stall is one late beat.
        (due + BEAT).max(now)
    }

    fn p99(mut self) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let nth = (self.0.len() * 99 / 100).min(self.0.len().saturating_sub(1));
        self.0.get(nth).copied().unwrap_or(f64::NAN)
    }
}

/// One turn of one arm: what the beats were, what the clients saw, and the CPU time of a handshake.
struct Turn {
    p99: f64,
    handshakes: u64,
    /// That of the whole process but for the clients' thread.
    cpu: f64,
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
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
    let (beats, clients) = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let clients = paced::run(&pace);
            stop.store(true, Ordering::Release);
            clients
        });
        let beats = serve(listener, setting, &stop);
        (beats, clients.join().expect("the clients do not panic"))
    });
    let clients = clients?;
    let cpu = process_cpu().saturating_sub(before).saturating_sub(clients.cpu);
    Ok(Turn {
        p99: beats?.p99(),
        handshakes: clients.handshakes,
        cpu: cpu.as_nanos() as f64 / clients.handshakes.max(1) as f64,
    })
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
    Measured::of(turns.iter().map(|turn| turn.p99).collect())
}

fn served(turns: &[Turn]) -> String {
    let all: u64 = turns.iter().map(|turn| turn.handshakes).sum();
    let seconds = TURN.as_secs_f64() * turns.len() as f64;
    format!("{:.0} of {RATE} handshakes a second served", all as f64 / seconds)
}

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
                Measured::of(turns[arm].iter().map(|turn| turn.cpu).collect())
            });
            let bench = Bench::nanoseconds("tls.cpu_tokio_vs_mio", tokio);
            let note =
                "CPU of the process without the clients, heartbeat and software signature in it";
            vec![bench.with_rival("the mio path", mio.median).with_note(note)]
        }
        Err(error) => vec![Bench::missing("tls.cpu_tokio_vs_mio", "ns", error.to_string())],
    }
}
