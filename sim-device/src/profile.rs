//! Device profiles: four kinds of key holder, with service times from published figures.

use core::fmt;
use core::time::Duration;

use crate::completion::ServiceClass;
use crate::config::{InstanceConfig, InterruptMode, RingLayout, UnitConfig};
use crate::service::ServiceTime;

/// A kind of device, as a starting configuration.
///
/// Published figures are mostly throughputs. A profile divides its number of units by the throughput
/// to get a service time; the number of units and the spread are assumptions where the source gives
/// none. They are orders of magnitude for experiments, not a claim about any product.
///
/// | profile | RSA-2048 | P-256 | agreement | symmetric | units | interrupts |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | `accelerator-card` | 218 us fixed | 109 us fixed | 109 us fixed | 8 us fixed | 24, 24, 24, 8 | coalesced |
/// | `network-hsm` | 30 ms log-normal | 20 ms log-normal | 20 ms | 1 ms | 30 for all | per response |
/// | `cloud-kms` | 30 ms log-normal | 15 ms log-normal | 15 ms | 10 ms | 30, 15, 15, 55 | per response |
/// | `usb-token` | 700 ms | 91 ms | 91 ms | 30 ms | 1 for all | polling |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// A PCIe accelerator card with rings of 64.
    ///
    /// 110,000 RSA-2048 signatures a second on one card, as reported in `intel/QAT_Engine` issue
    /// 34: 24 units of 218 us. Ring depths as in that project's sample configurations. That
    /// elliptic-curve work takes half of it and small symmetric records 8 us is an assumption.
    AcceleratorCard,
    /// A network-attached hardware security module.
    ///
    /// 1,000 RSA-2048 and 1,500 P-256 signatures a second for one module, half of the figures that
    /// the AWS CloudHSM user guide ("performance information", hsm2m.medium) gives for two; spread
    /// over the 30 concurrent threads at which the Thales Luna Network HSM guide ("HA performance")
    /// sees a module at its best. The log-normal spread, sigma 0.25, is an assumption.
    NetworkHsm,
    /// A key management service reached over HTTPS.
    ///
    /// The AWS KMS developer guide ("request quotas") allows 1,000 RSA and 1,000 elliptic-curve
    /// operations a second by default, and 5,500 symmetric ones in smaller regions: units times
    /// their mean rate come near that. The round trip and its long tail, sigma 0.5, are
    /// assumptions.
    CloudKms,
    /// A USB security key: one operation at a time, and one more on its way.
    ///
    /// 700 ms for an RSA-2048 signature (YubiKey NEO, `letsencrypt/boulder` issue 795), 11 P-256
    /// signatures a second (YubiKey 5, documentation of the `sshcerts` crate). Its symmetric
    /// operations are slow, too: 30 ms is an assumption.
    UsbToken,
}

impl Profile {
    /// RSA-2048 signatures.
    pub const RSA_SIGN: ServiceClass = ServiceClass(0);
    /// Signatures on P-256 and curves of like cost.
    pub const EC_SIGN: ServiceClass = ServiceClass(1);
    /// Key agreement on P-256, X25519 and the like.
    pub const KEY_AGREEMENT: ServiceClass = ServiceClass(2);
    /// Short symmetric records, such as session tickets.
    pub const SYMMETRIC: ServiceClass = ServiceClass(3);

    /// All profiles.
    pub const ALL: [Self; 4] =
        [Self::AcceleratorCard, Self::NetworkHsm, Self::CloudKms, Self::UsbToken];

    /// The name in scenario files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceleratorCard => "accelerator-card",
            Self::NetworkHsm => "network-hsm",
            Self::CloudKms => "cloud-kms",
            Self::UsbToken => "usb-token",
        }
    }

    /// One instance of the device, without faults.
    #[must_use]
    pub fn instance_config(self) -> InstanceConfig {
        let config = InstanceConfig { name: self.name().to_owned(), ..InstanceConfig::default() };
        match self {
            Self::AcceleratorCard => InstanceConfig {
                units: units([
                    (24, fixed_us(218)),
                    (24, fixed_us(109)),
                    (24, fixed_us(109)),
                    (8, fixed_us(8)),
                ]),
                interrupts: InterruptMode::Coalesced {
                    responses: 8,
                    delay: Duration::from_micros(10),
                },
                ..config
            },
            Self::NetworkHsm => InstanceConfig {
                units: units([
                    (30, log_normal_ms(30, 0.25)),
                    (30, log_normal_ms(20, 0.25)),
                    (30, log_normal_ms(20, 0.25)),
                    (30, log_normal_ms(1, 0.25)),
                ]),
                pool: Some(30),
                doorbell: SOCKET_WRITE,
                ..config
            },
            Self::CloudKms => InstanceConfig {
                units: units([
                    (30, log_normal_ms(30, 0.5)),
                    (15, log_normal_ms(15, 0.5)),
                    (15, log_normal_ms(15, 0.5)),
                    (55, log_normal_ms(10, 0.5)),
                ]),
                doorbell: SOCKET_WRITE,
                ..config
            },
            Self::UsbToken => InstanceConfig {
                ring_depth: 2,
                rings: RingLayout::Shared,
                pool: Some(1),
                units: units([
                    (1, fixed_us(700_000)),
                    (1, fixed_us(91_000)),
                    (1, fixed_us(91_000)),
                    (1, fixed_us(30_000)),
                ]),
                // One transaction on a bus that is polled every millisecond.
                doorbell: Duration::from_millis(1),
                interrupts: InterruptMode::Polling,
                ..config
            },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A system call and a local network segment.
const SOCKET_WRITE: Duration = Duration::from_micros(50);

/// Builds the groups of the four classes: RSA, elliptic curve, agreement, symmetric.
fn units(groups: [(u32, ServiceTime); 4]) -> Vec<UnitConfig> {
    let classes = [Profile::RSA_SIGN, Profile::EC_SIGN, Profile::KEY_AGREEMENT, Profile::SYMMETRIC];
    classes
        .into_iter()
        .zip(groups)
        .map(|(class, (count, service))| UnitConfig::new(class, count, service))
        .collect()
}

const fn fixed_us(us: u64) -> ServiceTime {
    ServiceTime::Fixed(Duration::from_micros(us))
}

const fn log_normal_ms(ms: u64, sigma: f64) -> ServiceTime {
    ServiceTime::LogNormal { median: Duration::from_millis(ms), sigma }
}
