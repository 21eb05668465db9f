//! The scenario language: every table and every field with its type, meaning, unit, range and default.
//!
//! Types, checks, `--set`, `--print`, the page and the JSON Schema all come from the declarations here.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the texts are shown to people too, and name tables as they stand in a file"
)]

use serde::{Deserialize, Serialize};

use super::{
    declare::{absent, section},
    field::{Absent, Accepts, Field, Section, Shape, to_toml},
    words::{
        Arrivals, Checks, ClockMode, DeviceProfile, FallbackTo, FaultKind, Group, Handshakes,
        KeyType, Mode, ParkingMethod, PollingMode, Resumption, Rings, Serves, Service, Spread,
        TlsVersion, Wake,
    },
};

/// All tables, in the order in which they are printed. The first is the top level.
pub(super) const SECTIONS: &[Section] = &[
    Scenario::SECTION,
    Load::SECTION,
    Shares::SECTION,
    Server::SECTION,
    EngineOptions::SECTION,
    DeviceSpec::SECTION,
    FaultSpec::SECTION,
    Row::SECTION,
    Expect::SECTION,
];

/// One value for every connection, or a mix by the shares of `[mix]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OrMix<T> {
    /// The same for all.
    One(T),
    /// By shares.
    Mix(Mixed),
}

/// The word that stands for a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mixed {
    /// `mix`.
    #[serde(rename = "mix")]
    Mix,
}

const MIX: &[&str] = &["mix"];

const fn whole(min: i64, max: i64, unit: &'static str) -> Accepts {
    Accepts::Integer { min, max, unit }
}

const fn decimal(min: f64, max: f64, unit: &'static str) -> Accepts {
    Accepts::Number { min, max, unit }
}

const fn text(max: usize) -> Accepts {
    Accepts::Text { max }
}

const MILLIS: Accepts = decimal(0.0, 60_000.0, "ms");
const RATE: Accepts = decimal(0.1, 1_000_000.0, "1/s");
const SHARE: Accepts = decimal(0.0, 100.0, "%");
const ONE_IN: i64 = 1_000_000;
const COUNT: i64 = 1_000_000_000;

section! {
    /// What the scenario asks and how it is run.
    Scenario = "" Once {
        /// The name of the scenario; its results go to a directory of this name.
        name: String => Accepts::Name, required;
        /// The question that the scenario answers.
        question: String => text(120), required;
        /// What is done to answer it, in one or two sentences.
        summary: String => text(400), required;
        /// The clock under which it runs: this machine's, or a calendar that one thread steps, the same way every time.
        clock: ClockMode => Accepts::OneOf(&[ClockMode::WORDS]), default(ClockMode::Real);
        /// How long a run usually takes.
        usual_seconds: u32 => whole(1, 3_600, "s"), default(30);
        /// Seeds every random draw: service times, arrivals, mixes, and what faults and hang-ups strike.
        seed: u64 => whole(0, i64::MAX, ""), default(1);
        /// The verdict on a good run, with figures of its rows in braces: {ROW.FIGURE} is a figure of that row in
        /// results.json, {ROW/OTHER.FIGURE} how many times that of the other row. If a figure is missing, the verdict counts
        /// handshakes instead.
        verdict: Option<String> => text(400), inherits("the count of handshakes and laws");
        /// A command to try after a good run.
        next: String => text(200), default("cargo xtask sim swarm".to_owned());
    } and {
        /// The clients.
        load: Load,
        /// What share of the connections is of which kind.
        mix: Shares,
        /// The server.
        server: Server,
        /// The engines.
        engine: EngineOptions,
        /// The accelerators.
        #[serde(rename = "device")]
        devices: Vec<DeviceSpec>,
        /// What goes wrong.
        #[serde(rename = "fault", default, skip_serializing_if = "Vec::is_empty")]
        faults: Vec<FaultSpec>,
        /// The measurements, in order.
        #[serde(rename = "row")]
        rows: Vec<Row>,
        /// What each row must show.
        expect: Expect,
    }
}

section! {
    /// The clients: verifying TLS clients on a thread of their own, over loopback TCP.
    Load = "load" Once {
        /// Connections kept open at the same time. If clients come by a rate, the most that are open at a time; one more is
        /// turned away. More than 65,536 with held handshakes only.
        connections: usize => whole(1, 1_000_000, "connections"), default(1_024);
        /// When a handshake begins: when one ends (a closed loop), independently of all others (Poisson), many at once
        /// (bursts, themselves Poisson), or Poisson at a rate that grows evenly (ramp). All but the closed loop in virtual
        /// time only.
        arrivals: Arrivals => Accepts::OneOf(&[Arrivals::WORDS]), default(Arrivals::Closed);
        /// Handshakes that begin each second, unless in a closed loop; of a ramp the first rate.
        rate_per_s: f64 => RATE, default(1_000.0);
        /// The rate that a ramp has reached when the row ends.
        ramp_to_per_s: f64 => RATE, default(2_000.0);
        /// How many clients come at the same moment in a burst.
        burst: u64 => whole(1, 65_536, "clients"), default(100);
        /// The most handshakes that begin in a row, unless in a closed loop; 0 for no limit but the time.
        total: u64 => whole(0, 100_000_000, "handshakes"), default(0);
        /// Whether TLS is executed (real), or replaced by messages of one byte around a signature, charged like TLS
        /// (profiled, in virtual time only). Held handshakes are real ones over connections in memory: all are parked at
        /// once, the memory of the process is read, and `completed` of them are completed; in real time only.
        handshakes: Handshakes => Accepts::OneOf(&[Handshakes::WORDS]), default(Handshakes::Real);
        /// How many held handshakes are completed, the others being given up; the seed draws which.
        completed: usize => whole(0, 65_536, "handshakes"), default(1_000);
        /// The protocol version that the clients offer; mix for several, by the shares of [mix].
        tls: OrMix<TlsVersion> => Accepts::OneOf(&[TlsVersion::WORDS, MIX]), default(OrMix::One(TlsVersion::Tls13));
        /// The type of the server's key; mix for several keys, each of a name of its own, by the shares of [mix].
        key: OrMix<KeyType> => Accepts::OneOf(&[KeyType::WORDS, MIX]), default(OrMix::One(KeyType::P256));
        /// The key exchange that the clients offer.
        group: Group => Accepts::OneOf(&[Group::WORDS]), default(Group::X25519);
        /// Whether clients resume sessions, by tickets; mix.resumed says how many.
        resumption: Resumption => Accepts::OneOf(&[Resumption::WORDS]), default(Resumption::None);
        /// How long each row lasts; after it no handshake begins.
        seconds: f64 => decimal(0.1, 600.0, "s"), default(4.0);
        /// How many handshakes each connection makes, one after the other; 0 for no limit but the time.
        rounds: u64 => whole(0, ONE_IN, "handshakes"), default(0);
        /// One client in n hangs up in the middle of the handshake, as soon as it has sent its hello; the seed draws which
        /// one. 0 for none.
        hang_up_every: u64 => whole(0, ONE_IN, "clients"), default(0);
        /// The clients of a closed loop connect for the first time within this time, each at a moment that the seed draws; 0
        /// for all at once. In virtual time only.
        first_connect_ms: f64 => MILLIS, default(0.0);
        /// Every n-th handshake needs a second, slow kind of signature (device.slow_latency_ms); 0 for none. With profiled
        /// handshakes only.
        slow_every: u64 => whole(0, ONE_IN, "handshakes"), default(0);
    }
}

section! {
    /// What share of the connections is of which kind; the seed draws each connection's. The keys' shares are read where
    /// load.key is mix, the versions' where load.tls is, and either sums to 100.
    #[derive(Copy)]
    Shares = "mix" Once {
        /// Connections to the name whose key is ECDSA on P-256.
        p256: f64 => SHARE, default(0.0);
        /// Connections to the name whose key is ECDSA on P-384.
        p384: f64 => SHARE, default(0.0);
        /// Connections to the name whose key is Ed25519.
        ed25519: f64 => SHARE, default(0.0);
        /// Connections to the name whose key is RSA with 2,048 bits.
        rsa2048: f64 => SHARE, default(0.0);
        /// Connections over TLS 1.2.
        tls12: f64 => SHARE, default(0.0);
        /// Connections over TLS 1.3.
        tls13: f64 => SHARE, default(0.0);
        /// Connections that resume, where load.resumption is tickets; one for which there is no ticket yet makes a full
        /// handshake and counts as that.
        resumed: f64 => SHARE, default(0.0);
    }
}

section! {
    /// The server: event loops on threads of their own.
    Server = "server" Once {
        /// Event loops; each has one thread, one job pool and one ready queue.
        workers: usize => whole(1, 64, "threads"), default(1);
        /// How a completion reaches the event loop: by the thread's ready queue and its one eventfd, by a descriptor of the
        /// session's own, by the session's callback, or not at all: then parked sessions are called again every millisecond.
        wake: Wake => Accepts::OneOf(&[Wake::WORDS]), default(Wake::Ready);
        /// How handshakes are parked in the mode async: on a fiber, whose stack is kept, or by replay, which throws a
        /// rehearsal away and runs the handshake again with the signature.
        parking: ParkingMethod => Accepts::OneOf(&[ParkingMethod::WORDS]), default(ParkingMethod::Fiber);
        /// How connections are spread over the devices that could sign for them, if there are several: in turn, those of
        /// each event loop by themselves, or each event loop has its device.
        spread: Spread => Accepts::OneOf(&[Spread::WORDS]), default(Spread::Connections);
        /// The interval at which a heartbeat task of each event loop is due, whose delays are reported; 0 for none. In
        /// virtual time only.
        beat_ms: f64 => MILLIS, default(0.0);
        /// How long handshakes under way may take to end once a row is over.
        drain_seconds: f64 => decimal(0.1, 120.0, "s"), default(10.0);
    }
}

section! {
    /// The engine before each device: how long operations may take, what stands in for the device, and what is checked.
    #[derive(Copy)]
    EngineOptions = "engine" Once {
        /// How long an operation may take; 0 for no limit. In virtual time only.
        deadline_ms: f64 => MILLIS, default(0.0);
        /// What happens to an operation that the device does not carry out: it fails, or software does it, or the device
        /// that serves as standby. The latter in virtual time only; software there, or with offload_beyond.
        fallback: FallbackTo => Accepts::OneOf(&[FallbackTo::WORDS]), default(FallbackTo::Fail);
        /// The number of failures in a row after which a breaker keeps operations from the device for a while; a missing
        /// heartbeat opens it too. 0 for no breaker. In virtual time only.
        breaker_failures: u32 => whole(0, 1_000, "failures"), default(0);
        /// How long the breaker stays open.
        breaker_pause_ms: f64 => MILLIS, default(50.0);
        /// The device gets an operation when more handshakes than this are under way; while there are fewer, software does
        /// it at once, on the serving thread. 0 for all to the device. Needs fallback = "software".
        offload_beyond: usize => whole(0, 65_536, "handshakes"), default(0);
        /// Which results the engine checks before it hands them out: all, or only those that would give the key away
        /// (RSA).
        checks: Checks => Accepts::OneOf(&[Checks::WORDS]), default(Checks::Always);
    }
}

section! {
    /// The simulated accelerator that holds the key. Several, each with a name and an engine of its own, in virtual time
    /// only.
    DeviceSpec = "device" Some {
        /// Its name in traces and results.
        name: String => Accepts::Name, default("card".to_owned());
        /// The kind of device: one whose service times, rings, units and interrupts are those published of it (latency_ms,
        /// ring, units and service are then ignored), or custom, made of the fields below. The page of the crate sim-device
        /// names the sources.
        profile: DeviceProfile => Accepts::OneOf(&[DeviceProfile::WORDS]), default(DeviceProfile::Custom);
        /// How service times are distributed around latency_ms; of a log-normal distribution that is the median.
        service: Service => Accepts::OneOf(&[Service::WORDS]), default(Service::Fixed);
        /// The spread of a log-normal distribution: 0.5 puts the p99 at 3.2 times the median.
        sigma: f64 => decimal(0.0, 4.0, ""), default(0.5);
        /// The mean time that one operation takes on a service unit.
        latency_ms: f64 => MILLIS, default(10.0);
        /// Requests that the device holds; more wait in the engine, first come first served.
        ring: usize => whole(1, 65_536, "requests"), default(64);
        /// Operations that the device works on at the same time.
        units: usize => whole(1, 65_536, "units"), default(64);
        /// When finished work is collected: when the device interrupts; every poll_us; when every connection waits for the
        /// device or poll_threshold of them do, because the server then has nothing else to do (heuristic); or whenever the
        /// server polls (inline). The last two at the latest after poll_us.
        polling: PollingMode => Accepts::OneOf(&[PollingMode::WORDS]), default(PollingMode::Interrupt);
        /// The interval of polling; unused where the device interrupts.
        poll_us: f64 => decimal(1.0, 1_000_000.0, "us"), default(100.0);
        /// How many of it there are on one card, each with rings, units and faults of its own; a request goes to the one
        /// with the most room.
        instances: usize => whole(1, 64, ""), default(1);
        /// For which connections it signs: for all, for those with one type of key, or for none, as the standby that does
        /// what another device could not (engine.fallback).
        serves: Serves => Accepts::OneOf(&[Serves::WORDS]), default(Serves::All);
        /// Of heuristic polling: the number of requests in flight from which on answers are collected in any case.
        poll_threshold: usize => whole(1, 65_536, "requests"), default(48);
        /// How many requests a unit serves at once, in the time of one; 1 for one by one. At most ring.
        batch: u32 => whole(1, 65_536, "requests"), default(1);
        /// The mean time that an operation of the slow kind takes (load.slow_every).
        slow_latency_ms: f64 => MILLIS, default(100.0);
        /// Operations of the slow kind that the device works on at the same time, beside the others.
        slow_units: u32 => whole(1, 65_536, "units"), default(1);
        /// Whether each kind of operation has a ring of its own, or all share one.
        rings: Rings => Accepts::OneOf(&[Rings::WORDS]), default(Rings::Own);
        /// How long the oldest request waits at most for its batch to fill; an idle unit then begins with fewer. 0 for no
        /// waiting.
        batch_timeout_ms: f64 => MILLIS, default(1.0);
    }
}

section! {
    /// Something that goes wrong in the device: what, when, and how often at most. A file may have none.
    FaultSpec = "fault" Any {
        /// Its name, to tell it from others.
        name: String => Accepts::Name, required;
        /// What goes wrong.
        kind: FaultKind => Accepts::OneOf(&[FaultKind::WORDS]), required;
        /// From when on. Faults of the whole device strike then; others at one in `every` opportunities.
        at_ms: f64 => MILLIS, default(0.0);
        /// Strikes at one in n submissions or completions; the seed draws which one of each n. 0 for once, at at_ms.
        every: u64 => whole(0, ONE_IN, "opportunities"), default(0);
        /// How often at most.
        budget: u32 => whole(1, ONE_IN, "times"), default(1);
        /// How long it lasts, or by how much an answer is late.
        lasts_ms: f64 => MILLIS, default(10.0);
        /// How many other answers overtake one that is reordered.
        behind: u32 => whole(1, 10_000, "answers"), default(1);
        /// The device that it strikes, by its name.
        device: Option<String> => Accepts::Name, inherits("every device");
    }
}

section! {
    /// One measurement; rows run one after the other, each on a fresh server and device.
    Row = "row" Some {
        /// Its name in the results.
        name: String => Accepts::Name, required;
        /// How the server signs: in its own thread, waiting for the device, parked meanwhile, or not at all.
        mode: Mode => Accepts::OneOf(&[Mode::WORDS]), required;
        /// As in [server], for this row.
        parking: Option<ParkingMethod> => Server::SECTION.accepts("parking"), inherits("server.parking");
        /// As in [load], for this row.
        connections: Option<usize> => Load::SECTION.accepts("connections"), inherits("load.connections");
        /// As in [load], for this row.
        seconds: Option<f64> => Load::SECTION.accepts("seconds"), inherits("load.seconds");
        /// As in [load], for this row.
        rounds: Option<u64> => Load::SECTION.accepts("rounds"), inherits("load.rounds");
        /// As in [[device]], for this row; of every device.
        latency_ms: Option<f64> => DeviceSpec::SECTION.accepts("latency_ms"), inherits("device.latency_ms");
        /// As in [[device]], for this row; of every device.
        ring: Option<usize> => DeviceSpec::SECTION.accepts("ring"), inherits("device.ring");
        /// As in [[device]], for this row; of every device.
        units: Option<usize> => DeviceSpec::SECTION.accepts("units"), inherits("device.units");
        /// As in [[device]], for this row; of every device.
        polling: Option<PollingMode> => DeviceSpec::SECTION.accepts("polling"), inherits("device.polling");
        /// As in [[device]], for this row; of every device.
        batch: Option<u32> => DeviceSpec::SECTION.accepts("batch"), inherits("device.batch");
        /// As in [[device]], for this row; of every device.
        batch_timeout_ms: Option<f64> => DeviceSpec::SECTION.accepts("batch_timeout_ms"), inherits("device.batch_timeout_ms");
        /// As in [load], for this row.
        rate_per_s: Option<f64> => Load::SECTION.accepts("rate_per_s"), inherits("load.rate_per_s");
        /// As in [server], for this row.
        workers: Option<usize> => Server::SECTION.accepts("workers"), inherits("server.workers");
        /// As in [engine], for this row.
        offload_beyond: Option<usize> => EngineOptions::SECTION.accepts("offload_beyond"), inherits("engine.offload_beyond");
        /// As in [load], for this row.
        slow_every: Option<u64> => Load::SECTION.accepts("slow_every"), inherits("load.slow_every");
        /// As in [[device]], for this row; of every device.
        rings: Option<Rings> => DeviceSpec::SECTION.accepts("rings"), inherits("device.rings");
    }
}

section! {
    /// What each row that uses the device must show, beside the laws.
    #[derive(Copy)]
    Expect = "expect" Once {
        /// The most handshakes that may fail.
        most_failed: u64 => whole(0, COUNT, "handshakes"), default(0);
        /// The fewest handshakes that must fail.
        least_failed: u64 => whole(0, COUNT, "handshakes"), default(0);
        /// The fewest times that faults must strike.
        least_faults: u64 => whole(0, COUNT, "times"), default(0);
        /// The fewest operations that software must do instead.
        least_fallbacks: u64 => whole(0, COUNT, "operations"), default(0);
        /// The fewest answers that must come too late, for an operation that has ended.
        least_late: u64 => whole(0, COUNT, "answers"), default(0);
        /// The fewest times that the ring must be full.
        least_ring_full: u64 => whole(0, COUNT, "times"), default(0);
        /// The fewest operations that must be given up.
        least_cancelled: u64 => whole(0, COUNT, "operations"), default(0);
        /// The fewest results that must fail their check.
        least_invalid: u64 => whole(0, COUNT, "results"), default(0);
        /// The fewest times that the breaker must open.
        least_trips: u64 => whole(0, COUNT, "times"), default(0);
        /// How far the mean wait for the device may be from what queueing theory (Erlang C) says of clients that come by
        /// Poisson and exponential service times; 0 for no comparison.
        wait_within_percent: u64 => whole(0, 100, "%"), default(0);
    }
}

/// A table of which every field has a default: that of a scenario which leaves it out.
macro_rules! defaults {
    ($($Table:ident),+) => { $(
        impl Default for $Table {
            fn default() -> Self {
                Self::SECTION.defaults().try_into().expect("defaults are of their fields' types")
            }
        }
    )+ };
}

defaults!(Load, Shares, Server, EngineOptions, DeviceSpec, Expect);
