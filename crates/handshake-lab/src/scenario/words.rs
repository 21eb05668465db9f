//! The words of the scenario language: every field that takes one of a few values.

use crypto_ops::Algorithm;
use sim_device::RingLayout;

use super::declare::words;

words! {
    /// The clock of a run.
    ClockMode {
        /// Threads, sockets and the clock of this machine.
        Real = "real",
        /// One thread, wires in memory, and a calendar.
        Virtual = "virtual",
    }

    /// When handshakes begin.
    Arrivals {
        /// When the one before on the same connection ends.
        Closed = "closed",
        /// Independently of all others.
        Poisson = "poisson",
        /// Many at once.
        Bursts = "bursts",
        /// Independently, at a rate that grows.
        Ramp = "ramp",
    }

    /// Whether TLS is executed.
    Handshakes {
        /// TLS, executed.
        Real = "real",
        /// Messages of one byte around a signature, charged like TLS. In virtual time only.
        Profiled = "profiled",
    }

    /// The protocol version that the clients offer.
    TlsVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "1.3",
    }

    /// The type of the server's key.
    KeyType {
        /// ECDSA on P-256.
        P256 = "p256",
        /// ECDSA on P-384.
        P384 = "p384",
        /// Ed25519.
        Ed25519 = "ed25519",
        /// RSA with 2,048 bits.
        Rsa2048 = "rsa2048",
    }

    /// The key exchange that the clients offer.
    Group {
        /// X25519 (RFC 7748).
        X25519 = "x25519",
    }

    /// Whether clients resume sessions.
    Resumption {
        /// Every handshake is a full one.
        None = "none",
        /// By tickets (RFC 8446, 4.6.1; RFC 5077).
        Tickets = "tickets",
    }

    /// How a completion reaches the event loop.
    Wake {
        /// By the thread's ready queue and its one eventfd.
        Ready = "ready",
        /// By the session's own descriptor, which the poller watches.
        Fd = "fd",
        /// By the session's callback, which names the session to its thread.
        Callback = "callback",
        /// Not at all: parked sessions are called again every millisecond.
        Poll = "poll",
    }

    /// How connections are spread over the devices that could sign for them.
    Spread {
        /// In turn, those of each event loop by themselves.
        Connections = "connections",
        /// Each event loop has its device.
        Workers = "workers",
    }

    /// What carries out an operation that the device does not.
    FallbackTo {
        /// Nothing: it fails.
        Fail = "fail",
        /// Software.
        Software = "software",
        /// The device that is the standby.
        OtherDevice = "other-device",
    }

    /// Which results the engine checks before it hands them out.
    Checks {
        /// Every result.
        Always = "always",
        /// Only those whose use would give a secret away.
        Required = "required",
    }

    /// The kind of a device.
    DeviceProfile {
        /// As the other fields have it.
        Custom = "custom",
        /// [`sim_device::Profile::AcceleratorCard`].
        AcceleratorCard = "accelerator-card",
        /// [`sim_device::Profile::NetworkHsm`].
        NetworkHsm = "network-hsm",
        /// [`sim_device::Profile::CloudKms`].
        CloudKms = "cloud-kms",
        /// [`sim_device::Profile::UsbToken`].
        UsbToken = "usb-token",
    }

    /// How service times are distributed.
    Service {
        /// Always the same.
        Fixed = "fixed",
        /// Exponential around the mean.
        Exponential = "exponential",
        /// Log-normal around the median.
        LogNormal = "log-normal",
    }

    /// When finished work is collected from a device.
    PollingMode {
        /// When it interrupts.
        Interrupt = "interrupt",
        /// At fixed intervals.
        Interval = "interval",
        /// When every connection waits for the device, or many do.
        Heuristic = "heuristic",
        /// Whenever the server polls.
        Inline = "inline",
    }

    /// For which connections a device signs.
    Serves {
        /// For all.
        All = "all",
        /// For those to the name with an ECDSA key on P-256.
        P256 = "p256",
        /// On P-384.
        P384 = "p384",
        /// With an Ed25519 key.
        Ed25519 = "ed25519",
        /// With an RSA key.
        Rsa2048 = "rsa2048",
        /// For none: it does what another device could not.
        Standby = "standby",
    }

    /// How kinds of operation share the rings of a device.
    Rings {
        /// Each has its own.
        Own = "own",
        /// One for all.
        Shared = "shared",
    }

    /// What can go wrong in a device.
    FaultKind {
        /// [`sim_device::Fault::RingStuck`].
        RingStuck = "ring-stuck",
        /// [`sim_device::Fault::Lost`].
        Lost = "lost",
        /// [`sim_device::Fault::Late`].
        Late = "late",
        /// [`sim_device::Fault::Duplicate`].
        Duplicate = "duplicate",
        /// [`sim_device::Fault::Reordered`].
        Reordered = "reordered",
        /// [`sim_device::Fault::Corrupt`].
        Corrupt = "corrupt",
        /// [`sim_device::Fault::Misdirected`].
        Misdirected = "misdirected",
        /// [`sim_device::Fault::DeviceError`].
        DeviceError = "device-error",
        /// [`sim_device::Fault::Reset`].
        Reset = "reset",
        /// [`sim_device::Fault::HeartbeatLoss`].
        HeartbeatLoss = "heartbeat-loss",
        /// [`sim_device::Fault::Hang`].
        Hang = "hang",
        /// [`sim_device::Fault::Removal`].
        Removal = "removal",
    }

    /// How the server signs.
    Mode {
        /// With the key in the worker's own thread, no device.
        Software = "software",
        /// On the device, the worker's thread waiting for it.
        Blocking = "blocking",
        /// On the device, the handshake parked meanwhile.
        Async = "async",
        /// Not at all: garbage in the shape of a signature, which the client does not check. The limit.
        FreeSign = "free-sign",
    }
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
