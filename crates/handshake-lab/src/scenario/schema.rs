//! The whole scenario language as data: every section and every field with meaning, unit, range and default.

mod device;

use device::{DEVICE, FAULT};

use super::{
    field::{
        Absent::{Default, Inherits, Required},
        Accepts, Field, Section,
    },
    mix::MIX,
    outcome::{EXPECT, SWARM},
};

/// All sections, in the order in which they are printed. The first is the top level.
pub const SECTIONS: &[Section] =
    &[TOP, LOAD, MIX, SERVER, ENGINE, DEVICE, FAULT, ROW, EXPECT, SWARM];

const CONNECTIONS: Accepts = Accepts::Integer { min: 1, max: 65_536 };
const RATE: Accepts = Accepts::Number { min: 0.1, max: 1_000_000.0 };
const WORKERS: Accepts = Accepts::Integer { min: 1, max: 64 };
const POLLING: Accepts =
    Accepts::OneOf { built: &["interrupt", "interval", "heuristic", "inline"], reserved: &[] };
const BEYOND: Accepts = Accepts::Integer { min: 0, max: 65_536 };
const SLOW_EVERY: Accepts = Accepts::Integer { min: 0, max: 1_000_000 };
const RINGS: Accepts = Accepts::OneOf { built: &["own", "shared"], reserved: &[] };
const BATCH: Accepts = Accepts::Integer { min: 1, max: 65_536 };
const SECONDS: Accepts = Accepts::Number { min: 0.1, max: 600.0 };
const ROUNDS: Accepts = Accepts::Integer { min: 0, max: 1_000_000 };
const LATENCY: Accepts = Accepts::Number { min: 0.0, max: 60_000.0 };
const RING: Accepts = Accepts::Integer { min: 1, max: 65_536 };
const UNITS: Accepts = Accepts::Integer { min: 1, max: 65_536 };

const TOP: Section = Section {
    name: "",
    repeats: false,
    meaning: "What the scenario asks and how it is run.",
    fields: &[
        Field {
            key: "name",
            meaning: "The name of the scenario; its results go to a directory of this name.",
            unit: "",
            accepts: Accepts::Name,
            absent: Required,
        },
        Field {
            key: "question",
            meaning: "The question that the scenario answers.",
            unit: "",
            accepts: Accepts::Text { max: 120 },
            absent: Required,
        },
        Field {
            key: "summary",
            meaning: "What is done to answer it, in one or two sentences.",
            unit: "",
            accepts: Accepts::Text { max: 400 },
            absent: Required,
        },
        Field {
            key: "clock",
            meaning: "The clock under which it runs: this machine's, or a calendar that one thread steps, the same way every time.",
            unit: "",
            accepts: Accepts::OneOf { built: &["real", "virtual"], reserved: &[] },
            absent: Default("\"real\""),
        },
        Field {
            key: "usual_seconds",
            meaning: "How long a run usually takes.",
            unit: "s",
            accepts: Accepts::Integer { min: 1, max: 3_600 },
            absent: Default("30"),
        },
        Field {
            key: "seed",
            meaning: "Seeds the service times of the devices.",
            unit: "",
            accepts: Accepts::Integer { min: 0, max: i64::MAX },
            absent: Default("1"),
        },
    ],
};

const LOAD: Section = Section {
    name: "load",
    repeats: false,
    meaning: "The clients: verifying TLS clients on a thread of their own, over loopback TCP.",
    fields: &[
        Field {
            key: "connections",
            meaning: "Connections kept open at the same time; if clients come by a rate, at most so many, and one that finds them all open is turned away.",
            unit: "connections",
            accepts: CONNECTIONS,
            absent: Default("1024"),
        },
        Field {
            key: "arrivals",
            meaning: "When a handshake begins: when one ends (a closed loop), independently of all others (Poisson), many at once (bursts, themselves Poisson), or Poisson at a rate that grows evenly (ramp). All but the closed loop in virtual time only.",
            unit: "",
            accepts: Accepts::OneOf {
                built: &["closed", "poisson", "bursts", "ramp"],
                reserved: &[],
            },
            absent: Default("\"closed\""),
        },
        Field {
            key: "rate_per_s",
            meaning: "Handshakes that begin each second, unless in a closed loop; of a ramp the first rate.",
            unit: "1/s",
            accepts: RATE,
            absent: Default("1000.0"),
        },
        Field {
            key: "ramp_to_per_s",
            meaning: "The rate that a ramp has reached when the row ends.",
            unit: "1/s",
            accepts: RATE,
            absent: Default("2000.0"),
        },
        Field {
            key: "burst",
            meaning: "How many clients come at the same moment in a burst.",
            unit: "clients",
            accepts: Accepts::Integer { min: 1, max: 65_536 },
            absent: Default("100"),
        },
        Field {
            key: "total",
            meaning: "How many handshakes begin in a row at most, unless in a closed loop; 0 for as many as the time allows.",
            unit: "handshakes",
            accepts: Accepts::Integer { min: 0, max: 100_000_000 },
            absent: Default("0"),
        },
        Field {
            key: "handshakes",
            meaning: "Whether TLS is executed, or only its outline is run and charged like it; the outline in virtual time only.",
            unit: "",
            accepts: Accepts::OneOf { built: &["real", "profiled"], reserved: &[] },
            absent: Default("\"real\""),
        },
        Field {
            key: "tls",
            meaning: "The protocol version that the clients offer; mix for several, by the shares of [mix].",
            unit: "",
            accepts: Accepts::OneOf { built: &["1.3", "1.2", "mix"], reserved: &[] },
            absent: Default("\"1.3\""),
        },
        Field {
            key: "key",
            meaning: "The type of the server's key; mix for several keys, each of a name of its own, by the shares of [mix].",
            unit: "",
            accepts: Accepts::OneOf {
                built: &["p256", "p384", "ed25519", "rsa2048", "mix"],
                reserved: &[],
            },
            absent: Default("\"p256\""),
        },
        Field {
            key: "group",
            meaning: "The key exchange that the clients offer.",
            unit: "",
            accepts: Accepts::OneOf {
                built: &["x25519"],
                reserved: &["secp256r1", "secp384r1", "x25519mlkem768", "mix"],
            },
            absent: Default("\"x25519\""),
        },
        Field {
            key: "resumption",
            meaning: "Whether clients resume sessions, by tickets; mix.resumed says how many.",
            unit: "",
            accepts: Accepts::OneOf { built: &["none", "tickets"], reserved: &[] },
            absent: Default("\"none\""),
        },
        Field {
            key: "seconds",
            meaning: "How long each row lasts; after it no handshake begins.",
            unit: "s",
            accepts: SECONDS,
            absent: Default("4.0"),
        },
        Field {
            key: "rounds",
            meaning: "How many handshakes each connection makes, one after the other; 0 for as many as fit.",
            unit: "handshakes",
            accepts: ROUNDS,
            absent: Default("0"),
        },
        Field {
            key: "hang_up_every",
            meaning: "One client in n hangs up as soon as it has said hello, in the middle of the handshake; the seed draws which one. 0 for none.",
            unit: "clients",
            accepts: Accepts::Integer { min: 0, max: 1_000_000 },
            absent: Default("0"),
        },
        Field {
            key: "first_connect_ms",
            meaning: "The clients of a closed loop connect for the first time within this time, each at a moment that the seed draws; 0 for all at once. In virtual time only.",
            unit: "ms",
            accepts: LATENCY,
            absent: Default("0.0"),
        },
        Field {
            key: "slow_every",
            meaning: "Every n-th handshake needs a second, slow kind of signature (device.slow_latency_ms); 0 for none. With profiled handshakes only.",
            unit: "handshakes",
            accepts: SLOW_EVERY,
            absent: Default("0"),
        },
    ],
};

const SERVER: Section = Section {
    name: "server",
    repeats: false,
    meaning: "The server: event loops on threads of their own.",
    fields: &[
        Field {
            key: "workers",
            meaning: "Event loops; each has one thread, one job pool and one ready queue.",
            unit: "threads",
            accepts: WORKERS,
            absent: Default("1"),
        },
        Field {
            key: "wake",
            meaning: "How a completion reaches the event loop: by the thread's ready queue and its one eventfd, by a descriptor of the session's own, by the session's callback, or not at all: then parked sessions are called again every millisecond.",
            unit: "",
            accepts: Accepts::OneOf { built: &["ready", "fd", "callback", "poll"], reserved: &[] },
            absent: Default("\"ready\""),
        },
        Field {
            key: "spread",
            meaning: "How connections are spread over the devices that could sign for them, if there are several: in turn, those of each event loop by themselves, or each event loop has its device.",
            unit: "",
            accepts: Accepts::OneOf { built: &["connections", "workers"], reserved: &[] },
            absent: Default("\"connections\""),
        },
        Field {
            key: "beat_ms",
            meaning: "Another task of each event loop is due so often, and how late it was is told; 0 for none. In virtual time only.",
            unit: "ms",
            accepts: Accepts::Number { min: 0.0, max: 60_000.0 },
            absent: Default("0.0"),
        },
        Field {
            key: "drain_seconds",
            meaning: "How long handshakes under way may take to end once a row is over.",
            unit: "s",
            accepts: Accepts::Number { min: 0.1, max: 120.0 },
            absent: Default("10.0"),
        },
    ],
};

const ENGINE: Section = Section {
    name: "engine",
    repeats: false,
    meaning: "The engine before each device: how long operations may take, and who helps out.",
    fields: &[
        Field {
            key: "deadline_ms",
            meaning: "How long an operation may take; 0 for as long as it likes. In virtual time only.",
            unit: "ms",
            accepts: LATENCY,
            absent: Default("0.0"),
        },
        Field {
            key: "fallback",
            meaning: "What happens to an operation that the device does not carry out: it fails, or software does it, or the device that serves as standby. The latter in virtual time only; software there, or with offload_beyond.",
            unit: "",
            accepts: Accepts::OneOf { built: &["fail", "software", "other-device"], reserved: &[] },
            absent: Default("\"fail\""),
        },
        Field {
            key: "breaker_failures",
            meaning: "After so many failures in a row, or without a heartbeat, the device is left alone for a while; 0 for never. In virtual time only.",
            unit: "failures",
            accepts: Accepts::Integer { min: 0, max: 1_000 },
            absent: Default("0"),
        },
        Field {
            key: "breaker_pause_ms",
            meaning: "For how long.",
            unit: "ms",
            accepts: LATENCY,
            absent: Default("50.0"),
        },
        Field {
            key: "offload_beyond",
            meaning: "The device gets an operation when more handshakes than this are under way; while there are fewer, software does it at once, on the serving thread. 0 for all to the device. Needs fallback = \"software\".",
            unit: "handshakes",
            accepts: BEYOND,
            absent: Default("0"),
        },
    ],
};

const ROW: Section = Section {
    name: "row",
    repeats: true,
    meaning: "One measurement; rows run one after the other, each on a fresh server and device.",
    fields: &[
        Field {
            key: "name",
            meaning: "Its name in the results.",
            unit: "",
            accepts: Accepts::Name,
            absent: Required,
        },
        Field {
            key: "mode",
            meaning: "How the server signs: in its own thread, waiting for the device, parked meanwhile, or not at all.",
            unit: "",
            accepts: Accepts::OneOf {
                built: &["software", "blocking", "async", "free-sign"],
                reserved: &["threads"],
            },
            absent: Required,
        },
        Field {
            key: "connections",
            meaning: "As in [load], for this row.",
            unit: "connections",
            accepts: CONNECTIONS,
            absent: Inherits("load.connections"),
        },
        Field {
            key: "seconds",
            meaning: "As in [load], for this row.",
            unit: "s",
            accepts: SECONDS,
            absent: Inherits("load.seconds"),
        },
        Field {
            key: "rounds",
            meaning: "As in [load], for this row.",
            unit: "handshakes",
            accepts: ROUNDS,
            absent: Inherits("load.rounds"),
        },
        Field {
            key: "latency_ms",
            meaning: "As in [[device]], for this row; of every device.",
            unit: "ms",
            accepts: LATENCY,
            absent: Inherits("device.latency_ms"),
        },
        Field {
            key: "ring",
            meaning: "As in [[device]], for this row; of every device.",
            unit: "requests",
            accepts: RING,
            absent: Inherits("device.ring"),
        },
        Field {
            key: "units",
            meaning: "As in [[device]], for this row; of every device.",
            unit: "units",
            accepts: UNITS,
            absent: Inherits("device.units"),
        },
        Field {
            key: "polling",
            meaning: "As in [[device]], for this row; of every device.",
            unit: "",
            accepts: POLLING,
            absent: Inherits("device.polling"),
        },
        Field {
            key: "batch",
            meaning: "As in [[device]], for this row.",
            unit: "requests",
            accepts: BATCH,
            absent: Inherits("device.batch"),
        },
        Field {
            key: "batch_timeout_ms",
            meaning: "As in [[device]], for this row.",
            unit: "ms",
            accepts: LATENCY,
            absent: Inherits("device.batch_timeout_ms"),
        },
        Field {
            key: "rate_per_s",
            meaning: "As in [load], for this row.",
            unit: "1/s",
            accepts: RATE,
            absent: Inherits("load.rate_per_s"),
        },
        Field {
            key: "workers",
            meaning: "As in [server], for this row.",
            unit: "threads",
            accepts: WORKERS,
            absent: Inherits("server.workers"),
        },
        Field {
            key: "offload_beyond",
            meaning: "As in [engine], for this row.",
            unit: "handshakes",
            accepts: BEYOND,
            absent: Inherits("engine.offload_beyond"),
        },
        Field {
            key: "slow_every",
            meaning: "As in [load], for this row.",
            unit: "handshakes",
            accepts: SLOW_EVERY,
            absent: Inherits("load.slow_every"),
        },
        Field {
            key: "rings",
            meaning: "As in [[device]], for this row.",
            unit: "",
            accepts: RINGS,
            absent: Inherits("device.rings"),
        },
    ],
};
