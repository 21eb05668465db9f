//! A checked scenario. Units, ranges and defaults of the fields are those of [`SECTIONS`](super::SECTIONS).

use crypto_ops::Algorithm;
use serde::{Deserialize, Serialize};

use super::{
    batching::{Batching, RowBatching},
    kinds::{Kinds, RowKinds},
    mix::{OrMix, Resumption, Shares},
    several::{Serves, Spread},
};

/// A whole scenario, every field in range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// What is done to answer it.
    pub summary: String,
    /// The clock under which it runs.
    pub clock: ClockMode,
    /// How long a run usually takes, in seconds.
    pub usual_seconds: u32,
    /// Draws service times, arrivals, mixes, and what faults and hang-ups strike.
    pub seed: u64,
    /// The clients.
    pub load: Load,
    /// What share of them is of which kind.
    pub mix: Shares,
    /// The server.
    pub server: Server,
    /// The engines.
    pub engine: EngineOptions,
    /// The accelerators.
    #[serde(rename = "device")]
    pub devices: Vec<DeviceSpec>,
    /// What goes wrong.
    #[serde(rename = "fault", default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultSpec>,
    /// The measurements, in order.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
    /// What has to come of it.
    pub expect: Expect,
    /// What is left of the plan of each seed of a swarm.
    pub swarm: SeedSubset,
}

/// What is left of the plan of a seed of the swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedSubset {
    /// The connections that come; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visits: Option<Vec<usize>>,
    /// The faults that can strike, over all devices; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<Vec<usize>>,
    /// Whether anybody goes early.
    pub departures: Departures,
    /// Event loops; 0 for as many as were drawn.
    pub workers: usize,
}

/// Whether clients hang up and sessions are given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Departures {
    /// As the seed has it.
    #[default]
    Drawn,
    /// Nobody goes early.
    None,
}

/// On which terms operations are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EngineOptions {
    /// How long one may take, in milliseconds; 0 for as long as it likes.
    pub deadline_ms: f64,
    /// What happens to one that the device does not carry out.
    pub fallback: FallbackTo,
    /// After so many failures in a row the device is left alone; 0 for never.
    pub breaker_failures: u32,
    /// For how long, in milliseconds.
    pub breaker_pause_ms: f64,
    /// The device gets an operation when more handshakes than this are under way, software the others; 0 for all.
    pub offload_beyond: usize,
}

impl Default for EngineOptions {
    /// As a scenario has it that says nothing of its engine.
    fn default() -> Self {
        Self {
            deadline_ms: 0.0,
            fallback: FallbackTo::Fail,
            breaker_failures: 0,
            breaker_pause_ms: 50.0,
            offload_beyond: 0,
        }
    }
}

/// Who carries out what the device does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FallbackTo {
    /// Nobody: it fails.
    Fail,
    /// Software.
    Software,
    /// The device that is the standby.
    OtherDevice,
}

/// Something that goes wrong in the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// Its name.
    pub name: String,
    /// What goes wrong.
    pub kind: FaultKind,
    /// From when on, in milliseconds.
    pub at_ms: f64,
    /// At one in n opportunities, which one the seed draws; 0 for once.
    pub every: u64,
    /// How often at most.
    pub budget: u32,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: f64,
    /// How many overtake one that is reordered.
    pub behind: u32,
    /// The device that it strikes; `None` for every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// What can go wrong; [`sim_device::Fault`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the fault of the same name")]
pub enum FaultKind {
    RingStuck,
    Lost,
    Late,
    Duplicate,
    Reordered,
    Corrupt,
    Misdirected,
    DeviceError,
    Reset,
    HeartbeatLoss,
    Hang,
    Removal,
}

/// What has to come of each row that uses the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// Handshakes that fail, at most.
    pub most_failed: u64,
    /// Handshakes that fail, at least.
    pub least_failed: u64,
    /// Faults that strike.
    pub least_faults: u64,
    /// Operations done by software instead.
    pub least_fallbacks: u64,
    /// Answers that come when nobody waits any more.
    pub least_late: u64,
    /// Times that the ring is full.
    pub least_ring_full: u64,
    /// Operations given up.
    pub least_cancelled: u64,
    /// Results that do not pass their check.
    pub least_invalid: u64,
    /// Times that the breaker opens.
    pub least_trips: u64,
    /// How far the mean wait may be from theory, in percent; 0 for not compared.
    pub wait_within_percent: u64,
}

/// The clients of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Connections kept open at the same time.
    pub connections: usize,
    /// When handshakes begin.
    pub arrivals: Arrivals,
    /// Handshakes that begin each second, unless in a closed loop.
    pub rate_per_s: f64,
    /// The rate that a ramp reaches.
    pub ramp_to_per_s: f64,
    /// Clients of a burst.
    pub burst: u64,
    /// Handshakes that begin at most, unless in a closed loop; 0 for as many as fit.
    pub total: u64,
    /// Protocol version.
    pub tls: OrMix<TlsVersion>,
    /// The type of the server's key.
    pub key: OrMix<KeyType>,
    /// What stands for TLS.
    pub handshakes: Handshakes,
    /// Key exchange; `x25519` is the only group so far.
    pub group: String,
    /// Whether clients resume sessions.
    pub resumption: Resumption,
    /// How long a row lasts, in seconds.
    pub seconds: f64,
    /// Handshakes per connection, 0 for as many as fit.
    pub rounds: u64,
    /// One client in n hangs up in the middle of the handshake, 0 for none.
    pub hang_up_every: u64,
    /// How long it takes until all clients of a closed loop have connected once, in milliseconds.
    pub first_connect_ms: f64,
    /// Every n-th handshake needs the slow kind of signature, 0 for none.
    pub slow_every: u64,
}

/// The server of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Event loops, one thread each.
    pub workers: usize,
    /// How a completion reaches the event loop.
    pub wake: Wake,
    /// How connections are spread over devices.
    pub spread: Spread,
    /// How long handshakes under way may take to end, in seconds.
    pub drain_seconds: f64,
    /// How often another task of each event loop is due, in milliseconds; 0 for none.
    pub beat_ms: f64,
}

/// One accelerator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Its name.
    pub name: String,
    /// The kind of device.
    pub profile: DeviceProfile,
    /// How service times are distributed.
    pub service: Service,
    /// The spread of a log-normal distribution.
    pub sigma: f64,
    /// Mean service time in milliseconds.
    pub latency_ms: f64,
    /// Requests that it holds.
    pub ring: usize,
    /// Operations at the same time.
    pub units: usize,
    /// When finished work is collected.
    pub polling: PollingMode,
    /// The interval of polling, in microseconds.
    pub poll_us: f64,
    /// How many of it the card has.
    pub instances: usize,
    /// For which connections it signs.
    pub serves: Serves,
    /// Requests in flight from which on the heuristic looks in any case.
    pub poll_threshold: usize,
    /// Whether units serve several requests at once.
    #[serde(flatten)]
    pub batching: Batching,
    /// The slow kind of signature, and how kinds share the rings.
    #[serde(flatten)]
    pub kinds: Kinds,
}

impl Default for DeviceSpec {
    /// As a scenario has it that says nothing of its device.
    fn default() -> Self {
        Self {
            name: "card".to_owned(),
            profile: DeviceProfile::Custom,
            service: Service::Fixed,
            sigma: 0.5,
            latency_ms: 10.0,
            ring: 64,
            units: 64,
            polling: PollingMode::Interrupt,
            poll_us: 100.0,
            instances: 1,
            serves: Serves::All,
            poll_threshold: 48,
            batching: Batching::default(),
            kinds: Kinds::default(),
        }
    }
}

/// One measurement. What is `None` is as in `[load]` and `[[device]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name in the results.
    pub name: String,
    /// How the server signs.
    pub mode: Mode,
    /// Connections kept open at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// How long it lasts, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Handshakes per connection, 0 for as many as fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// Mean service time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Requests that the device holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<usize>,
    /// Operations of the device at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// When finished work is collected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling: Option<PollingMode>,
    /// How units of the device take several requests at once.
    #[serde(flatten)]
    pub batching: RowBatching,
    /// Handshakes that begin each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Event loops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Handshakes under way beyond which the device gets an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offload_beyond: Option<usize>,
    /// Which kinds of signature are asked for, and how they share the device.
    #[serde(flatten)]
    pub kinds: RowKinds,
}

/// When handshakes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Arrivals {
    /// When one ends.
    Closed,
    /// Independently of all others.
    Poisson,
    /// Many at once.
    Bursts,
    /// Independently, at a rate that grows.
    Ramp,
}

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeviceProfile {
    /// As the other fields have it.
    Custom,
    /// [`sim_device::Profile::AcceleratorCard`].
    AcceleratorCard,
    /// [`sim_device::Profile::NetworkHsm`].
    NetworkHsm,
    /// [`sim_device::Profile::CloudKms`].
    CloudKms,
    /// [`sim_device::Profile::UsbToken`].
    UsbToken,
}

impl DeviceProfile {
    /// The profile of the device; `None` for one of its own kind.
    #[must_use]
    pub const fn known(self) -> Option<sim_device::Profile> {
        use sim_device::Profile;
        match self {
            Self::Custom => None,
            Self::AcceleratorCard => Some(Profile::AcceleratorCard),
            Self::NetworkHsm => Some(Profile::NetworkHsm),
            Self::CloudKms => Some(Profile::CloudKms),
            Self::UsbToken => Some(Profile::UsbToken),
        }
    }
}

impl std::fmt::Display for DeviceProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Custom => "custom",
            Self::AcceleratorCard => "accelerator-card",
            Self::NetworkHsm => "network-hsm",
            Self::CloudKms => "cloud-kms",
            Self::UsbToken => "usb-token",
        })
    }
}

/// When finished work is collected from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PollingMode {
    /// When it interrupts.
    Interrupt,
    /// Every so often.
    Interval,
    /// When the server has nothing better to do: every connection waits for the device, or many do.
    Heuristic,
    /// Whenever the server polls.
    Inline,
}

/// The clock of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClockMode {
    /// Threads, sockets and the clock of this machine.
    Real,
    /// One thread, wires in memory, and a calendar.
    Virtual,
}

/// What stands for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Handshakes {
    /// TLS, executed.
    Real,
    /// Its outline: a signature between messages of one byte, charged like TLS. In virtual time only.
    Profiled,
}

/// The protocol version that the clients offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// The type of the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyType {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA with 2,048 bits.
    Rsa2048,
}

impl KeyType {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Ed25519, Self::Rsa2048];

    /// The algorithm of its signatures.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::EcdsaP256,
            Self::P384 => Algorithm::EcdsaP384,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::Rsa2048 => Algorithm::Rsa,
        }
    }
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa2048",
        })
    }
}

impl std::fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        })
    }
}

/// How a completion reaches the event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Wake {
    /// By the thread's ready queue and its one eventfd.
    Ready,
    /// By the session's own descriptor, which the poller watches.
    Fd,
    /// By the session's callback, which names the session to its thread.
    Callback,
    /// Not at all: parked sessions are called again every millisecond.
    Poll,
}

/// How service times are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Service {
    /// Always the same.
    Fixed,
    /// Exponential around the mean.
    Exponential,
    /// Log-normal around the median.
    LogNormal,
}

/// How the server signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// With the key in the worker's own thread, no device.
    Software,
    /// On the device, the worker's thread waiting for it.
    Blocking,
    /// On the device, the handshake parked meanwhile.
    Async,
    /// Not at all: garbage in the shape of a signature, which the client does not check. The limit.
    FreeSign,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Blocking => "blocking",
            Self::Async => "async",
            Self::FreeSign => "free-sign",
        })
    }
}

impl Mode {
    /// Whether the device signs.
    #[must_use]
    pub fn uses_device(self) -> bool {
        matches!(self, Self::Blocking | Self::Async)
    }
}

impl std::fmt::Display for ClockMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        })
    }
}

impl std::fmt::Display for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Fd => "fd",
            Self::Callback => "callback",
            Self::Poll => "poll",
        })
    }
}

impl std::fmt::Display for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Poisson => "poisson",
            Self::Bursts => "bursts",
            Self::Ramp => "ramp",
        })
    }
}
