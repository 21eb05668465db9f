//! The configuration of a simulated card.

use core::time::Duration;
use std::io;

use crypto_ops::{Algorithm, Group};
use engine_core::Kind;
use sim_device::{InstanceConfig, Profile, ServiceClass, ServiceTime, UnitConfig};

use crate::polling::Polling;

/// The configuration of a simulated card: its instances, and the service class of each kind of work.
///
/// ```
/// use core::time::Duration;
/// use sim_device::{Fault, FaultRule, Trigger};
/// use sim_engine::{Polling, SimConfig};
///
/// // Two instances, polled when the application has nothing better to do; a single response is corrupt.
/// let mut config = SimConfig::signer(Duration::from_millis(2), 8, 64)?;
/// config.instances = 2;
/// config.polling = Polling::Heuristic { threshold: 48, at_latest: Duration::from_millis(5) };
/// config.instance.faults.rules = vec![FaultRule::new(Fault::Corrupt, Trigger::Nth(10))];
/// config.instance.faults.budget = Some(1);
/// # Ok::<(), sim_engine::SimError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimConfig {
    /// Rings, service units, service times, interrupts and faults of each instance.
    pub instance: InstanceConfig,
    /// How many instances the card has, each with rings, units and faults of its own; clamped to 1 to
    /// [`MOST_INSTANCES`](Self::MOST_INSTANCES). A request goes to the one with the most room. Default 1.
    pub instances: usize,
    /// When finished work is collected.
    pub polling: Polling,
    /// How long the driver waits for a response before it checks whether the device has lost the request; a lost one ends
    /// with [`DeviceError::Lost`](engine_core::DeviceError::Lost), and its ring entry is free again. `None` waits for ever.
    /// Default 10 s.
    pub response_timeout: Option<Duration>,
    /// Whether events are recorded; see [`SteppedCard::drain_trace`](crate::SteppedCard::drain_trace). Default no.
    pub trace: bool,
    /// The class of service units for each kind of work. Work of any other kind is refused as unsupported.
    pub classes: Vec<(Kind, ServiceClass)>,
    /// Drives the service times. The same seed gives the same times.
    pub seed: u64,
}

impl SimConfig {
    /// The most instances of a card; real ones have a few dozen.
    pub const MOST_INSTANCES: usize = 1024;

    /// A card with `units` service units for each kind of signature, each taking exactly `latency`, behind a ring of
    /// `ring_depth` entries for each kind.
    ///
    /// # Errors
    ///
    /// [`SimError::Config`] naming the field, if the configuration is invalid.
    pub fn signer(latency: Duration, units: u32, ring_depth: usize) -> Result<Self, SimError> {
        let service = ServiceTime::fixed(latency).map_err(|source| {
            // Every class has the same service time: reported for the first.
            sim_device::ConfigError::Service { class: ServiceClass(0), source }
        })?;
        let classes: Vec<_> = (0..).map(ServiceClass).take(Algorithm::ALL.len()).collect();
        let instance = InstanceConfig {
            ring_depth,
            response_depth: ring_depth,
            units: classes
                .iter()
                .map(|&class| UnitConfig::new(class, units, service.clone()))
                .collect(),
            ..InstanceConfig::default()
        };
        instance.validate()?;
        let kinds = Algorithm::ALL.map(Algorithm::sign_kind);
        Ok(Self::new(instance, kinds.into_iter().zip(classes).collect()))
    }

    /// A device with the service times of a real one, without faults; see [`Profile`] for the sources.
    pub fn profile(profile: Profile) -> Self {
        let class = |algorithm| match algorithm {
            Algorithm::Rsa => Profile::RSA_SIGN,
            _ => Profile::EC_SIGN,
        };
        let signatures = Algorithm::ALL.map(|a| (a.sign_kind(), class(a)));
        let agreements = Group::ALL.map(|g| (g.agree_kind(), Profile::KEY_AGREEMENT));
        let tickets = [(TICKET, Profile::SYMMETRIC)];
        let classes = signatures.into_iter().chain(agreements).chain(tickets).collect();
        Self::new(profile.instance_config(), classes)
    }

    /// A card of one instance.
    pub fn new(instance: InstanceConfig, classes: Vec<(Kind, ServiceClass)>) -> Self {
        Self {
            instance,
            instances: 1,
            polling: Polling::default(),
            response_timeout: Some(RESPONSE_TIMEOUT),
            trace: false,
            classes,
            seed: 0,
        }
    }

    pub(crate) fn class_of(&self, kind: Kind) -> Option<ServiceClass> {
        self.classes.iter().find(|(k, _)| *k == kind).map(|(_, class)| *class)
    }
}

/// Why a simulated card could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] sim_device::ConfigError),
    /// The operating system gave no thread for the hardware queue.
    #[error("no thread for the hardware queue: {0}")]
    Thread(#[from] io::Error),
}

/// Longer than any service time of the profiles, under any queue worth waiting in.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The kind of a [`TicketOp`](crypto_ops::TicketOp).
const TICKET: Kind = Kind::new("ticket");
