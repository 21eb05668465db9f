//! What the arms share: the configurations with the slow key, and the delays of the heartbeat task.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use handshake_lab::certs::TestPki;
use handshake_lab::cpu::thread_processor_wait;
use handshake_lab::keys::{Sign, server_config, watched};
use handshake_lab::load::{Verified, client_config};
use handshake_lab::scenario::{KeyType, TlsVersion};
use rustls::{ClientConfig, ServerConfig};
use ssl_async::SlowKey;

const KEY_TAKES: Duration = Duration::from_millis(20);
const THREADS: usize = 128;
/// Period of the heartbeat task.
pub(super) const PERIOD: Duration = Duration::from_millis(1);

/// What the arms share.
pub(super) struct Setting {
    /// With the key on the pool.
    pub(super) offloaded: Arc<ServerConfig>,
    /// With the key blocking the thread that asks it.
    pub(super) blocking: Arc<ServerConfig>,
    /// The same, within `block_in_place`.
    pub(super) in_place: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Setting {
    pub(super) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let pki = TestPki::generate(KeyType::P256)?;
        let key = pki.software_key()?;
        let client = client_config(Some(&pki.ca), TlsVersion::Tls13, &Verified::default())?;
        let config = |key| server_config(vec![pki.certificate.clone()], key).map(Arc::new);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let block = |sign: Sign<'_>| {
            thread::sleep(KEY_TAKES);
            sign()
        };
        let blocking = watched(Arc::clone(&key), move |_, sign| block(sign));
        let in_place = watched(key, move |_, sign| tokio::task::block_in_place(|| block(sign)));
        let slow = SlowKey::builder_with_provider(vec![pki.certificate.clone()], &provider)?;
        let slow = slow.threads(THREADS).signing_key(Arc::clone(&blocking))?;
        Ok(Self {
            offloaded: config(Arc::clone(&slow.certified_key().key))?,
            blocking: config(blocking)?,
            in_place: config(in_place)?,
            client: Arc::new(client),
        })
    }
}

/// How late each run of the heartbeat task was.
#[derive(Debug, Default)]
pub(super) struct HeartbeatDelays {
    beats: Vec<Beat>,
    /// What the serving thread had waited for a processor at the last beat.
    waited: Option<Duration>,
}

#[derive(Debug)]
struct Beat {
    /// In nanoseconds.
    late: f64,
    /// How long the thread was ready to run without a processor since the beat before, in nanoseconds.
    without_processor: f64,
}

impl HeartbeatDelays {
    /// Records the run that was due at `due`, and returns when the next one is.
    pub(super) fn note(&mut self, due: Instant) -> Instant {
        let (now, waited) = (Instant::now(), thread_processor_wait());
        let since = self.waited.zip(waited).map(|(before, now)| now.saturating_sub(before));
        self.waited = waited;
        self.beats.push(Beat {
            late: now.saturating_duration_since(due).as_nanos() as f64,
            without_processor: since.unwrap_or_default().as_nanos() as f64,
        });
        // Beats that were missed are not made up for: each stall is one late beat.
        (due + PERIOD).max(now)
    }

    /// The lateness that one beat in a hundred passes.
    pub(super) fn p99(&self) -> Lateness {
        let all = self.beats.iter().map(|beat| beat.late);
        let running = self.beats.iter().map(|beat| (beat.late - beat.without_processor).max(0.0));
        Lateness { all: p99(all), running: p99(running) }
    }
}

/// How late a heartbeat is, in nanoseconds, one beat in a hundred left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lateness {
    /// As its program sees it.
    pub(crate) all: f64,
    /// Less the time in which its thread was ready to run and the system had given its processor to another: what the thread
    /// itself did meanwhile.
    pub(crate) running: f64,
}

fn p99(delays: impl Iterator<Item = f64>) -> f64 {
    let mut delays: Vec<f64> = delays.collect();
    delays.sort_by(f64::total_cmp);
    delays.get(delays.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}
