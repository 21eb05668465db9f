//! What a simulated card is built from.

use core::time::Duration;

use crypto_ops::Algorithm;
use engine_core::Kind;
use sim_device::{InstanceConfig, ServiceClass, ServiceTime, UnitConfig};

use crate::error::SimError;

/// The build of a simulated card: one instance of the device, and which of its service classes does which kind of
/// work.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Rings, service units, service times, interrupts.
    pub instance: InstanceConfig,
    /// Which class of service units does which kind of work. Work of any other kind is refused as unsupported.
    pub classes: Vec<(Kind, ServiceClass)>,
    /// Drives the service times. The same seed gives the same times.
    pub seed: u64,
}

impl SimConfig {
    /// A card with `units` service units for each kind of signature, each taking exactly `latency`, behind a ring of
    /// `ring_depth` entries for each kind.
    ///
    /// # Errors
    ///
    /// [`SimError::Config`] naming the field, if the device cannot be built so.
    pub fn signer(latency: Duration, units: u32, ring_depth: usize) -> Result<Self, SimError> {
        let service = ServiceTime::fixed(latency).map_err(|source| {
            // Every class has the same service time; the first stands for all.
            sim_device::ConfigError::Service { class: ServiceClass(0), source }
        })?;
        let classes: Vec<_> = (0..).map(ServiceClass).take(Algorithm::ALL.len()).collect();
        let instance = InstanceConfig {
            ring_depth,
            response_depth: ring_depth,
            units: classes
                .iter()
                .map(|&class| UnitConfig { class, count: units, service: service.clone() })
                .collect(),
            ..InstanceConfig::default()
        };
        instance.validate()?;
        let kinds = Algorithm::ALL.map(Algorithm::sign_kind);
        Ok(Self { instance, classes: kinds.into_iter().zip(classes).collect(), seed: 0 })
    }

    pub(crate) fn class_of(&self, kind: Kind) -> Option<ServiceClass> {
        self.classes.iter().find(|(k, _)| *k == kind).map(|(_, class)| *class)
    }
}
