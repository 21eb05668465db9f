//! The words of the scenario language: every field that takes one of a few values.

use crypto_ops::Algorithm;
use sim_device::RingLayout;

use super::declare::words;

words! {
    /// The clock of a run: this machine's, or a calendar that one thread steps.
    ClockMode { Real = "real", Virtual = "virtual" }

    /// When a handshake begins: when the one before on its connection ends, independently of all others, many at once, or
    /// independently at a rate that grows.
    Arrivals { Closed = "closed", Poisson = "poisson", Bursts = "bursts", Ramp = "ramp" }

    /// Whether TLS is executed, replaced by messages of one byte around a signature, or executed over connections in memory
    /// whose handshakes are all parked at once.
    Handshakes { Real = "real", Profiled = "profiled", Held = "held" }

    /// The protocol version that the clients offer (RFC 5246, RFC 8446).
    TlsVersion { Tls12 = "1.2", Tls13 = "1.3" }

    /// The type of the server's key; that of RSA has 2,048 bits.
    KeyType { P256 = "p256", P384 = "p384", Ed25519 = "ed25519", Rsa2048 = "rsa2048" }

    /// The key exchange that the clients offer (RFC 7748).
    Group { X25519 = "x25519" }

    /// Whether clients resume sessions by tickets (RFC 8446, 4.6.1; RFC 5077), or every handshake is a full one.
    Resumption { None = "none", Tickets = "tickets" }

    /// How a completion reaches the event loop: by the thread's ready queue and its one eventfd, by the session's own
    /// descriptor, by the session's callback, or not at all: then parked sessions are called again every millisecond.
    Wake { Ready = "ready", Fd = "fd", Callback = "callback", Poll = "poll" }

    /// How a handshake is parked while the device signs: on a fiber, whose stack is kept, or by replay, rehearsed up to the
    /// signature, thrown away, and run again with it.
    ParkingMethod { Fiber = "fiber", Replay = "replay" }

    /// How connections are spread over the devices that could sign for them: in turn, or each event loop has its device.
    Spread { Connections = "connections", Workers = "workers" }

    /// What carries out an operation that the device does not: nothing, software, or the device that is the standby.
    FallbackTo { Fail = "fail", Software = "software", OtherDevice = "other-device" }

    /// Which results the engine checks before it hands them out: all, or those whose use would give a secret away.
    Checks { Always = "always", Required = "required" }

    /// The kind of a device: as the other fields have it, or one of [`sim_device::Profile`].
    DeviceProfile {
        Custom = "custom",
        AcceleratorCard = "accelerator-card",
        NetworkHsm = "network-hsm",
        CloudKms = "cloud-kms",
        UsbToken = "usb-token",
    }

    /// How service times are distributed: all the same, exponential around the mean, or log-normal around the median.
    Service { Fixed = "fixed", Exponential = "exponential", LogNormal = "log-normal" }

    /// When finished work is collected from a device: when it interrupts, at fixed intervals, when every connection waits
    /// for the device or many do, or whenever the server polls.
    PollingMode { Interrupt = "interrupt", Interval = "interval", Heuristic = "heuristic", Inline = "inline" }

    /// For which connections a device signs: for all, for those to the name with this type of key, or for none, because it
    /// does what another device could not.
    Serves {
        All = "all",
        P256 = "p256",
        P384 = "p384",
        Ed25519 = "ed25519",
        Rsa2048 = "rsa2048",
        Standby = "standby",
    }

    /// Whether each kind of operation has a ring of its own, or all share one.
    Rings { Own = "own", Shared = "shared" }

    /// What can go wrong in a device: one of [`sim_device::Fault`].
    FaultKind {
        RingStuck = "ring-stuck",
        Lost = "lost",
        Late = "late",
        Duplicate = "duplicate",
        Reordered = "reordered",
        Corrupt = "corrupt",
        Misdirected = "misdirected",
        DeviceError = "device-error",
        Reset = "reset",
        HeartbeatLoss = "heartbeat-loss",
        Hang = "hang",
        Removal = "removal",
    }

    /// How the server signs: in the worker's own thread without a device, on the device with the thread waiting for it, on
    /// the device with the handshake parked meanwhile, or not at all: garbage in the shape of a signature, which the client
    /// does not check. The last is the limit.
    Mode { Software = "software", Blocking = "blocking", Async = "async", FreeSign = "free-sign" }
}

impl KeyType {
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

impl Mode {
    /// Whether the device signs.
    #[must_use]
    pub fn uses_device(self) -> bool {
        matches!(self, Self::Blocking | Self::Async)
    }
}

impl ParkingMethod {
    /// The same for a server in which it is the only one: a handshake that would need the other fails.
    pub(crate) const fn strictly(self) -> ssl_async::Parking {
        match self {
            Self::Fiber => ssl_async::Parking::Fiber,
            Self::Replay => ssl_async::Parking::Replay,
        }
    }
}

impl Rings {
    /// The layout of the device's rings.
    pub(crate) const fn layout(self) -> RingLayout {
        match self {
            Self::Own => RingLayout::PerClass,
            Self::Shared => RingLayout::Shared,
        }
    }
}

impl Serves {
    /// Whether it signs with this key.
    #[must_use]
    pub fn covers(self, key: KeyType) -> bool {
        match self {
            Self::All => true,
            Self::Standby => false,
            Self::P256 => key == KeyType::P256,
            Self::P384 => key == KeyType::P384,
            Self::Ed25519 => key == KeyType::Ed25519,
            Self::Rsa2048 => key == KeyType::Rsa2048,
        }
    }
}
