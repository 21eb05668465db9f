//! The configuration of an instance and its validation.

use core::time::Duration;

use crate::completion::ServiceClass;
use crate::error::{ConfigError, DEEPEST_RING, LONGEST_LATENCY};
use crate::fault::FaultPlan;
use crate::service::ServiceTime;

/// The configuration of one [`Instance`](crate::Instance).
///
/// Set `units` and take the rest from [`Default`]; each field gives the reason for its default.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceConfig {
    /// The name in log lines and spans, as field `device`.
    pub name: String,
    /// Entries of a request ring, 1 to 2^20. An entry is held from submission until the software
    /// has drained its response. Default 64, as in sample configurations of accelerator cards for
    /// public-key work.
    pub ring_depth: usize,
    /// One ring per class, or one for all. Default [`RingLayout::PerClass`].
    pub rings: RingLayout,
    /// Entries of the response ring, 1 to 2^20. While it is full, units hold their finished
    /// requests and start no new ones. Default 64.
    pub response_depth: usize,
    /// The service units, a group for each class.
    pub units: Vec<UnitConfig>,
    /// The number of units that all classes together may use at a time, first come first served:
    /// the worker threads of a module, the one core of a token. A group's `count` then limits its
    /// own class. Default `None`: groups share nothing, so a slow class takes no unit from a fast
    /// one.
    pub pool: Option<u32>,
    /// From the doorbell write until the device sees the entry. Default 1 us, about a posted PCIe
    /// write and the fetch of a descriptor.
    pub doorbell: Duration,
    /// When the device raises interrupts. Default [`InterruptMode::PerResponse`].
    pub interrupts: InterruptMode,
    /// From raising an interrupt until the software can take it. Default 2 us.
    pub interrupt_latency: Duration,
    /// The period of the heartbeat counter. Default 500 ms, so that software which reads it once a
    /// second always finds a new count.
    pub heartbeat: Duration,
    /// The faults. Default none.
    pub faults: FaultPlan,
}

impl Default for InstanceConfig {
    fn default() -> Self {
        Self {
            name: String::from("sim0"),
            ring_depth: 64,
            rings: RingLayout::PerClass,
            response_depth: 64,
            units: Vec::new(),
            pool: None,
            doorbell: Duration::from_micros(1),
            interrupts: InterruptMode::PerResponse,
            interrupt_latency: Duration::from_micros(2),
            heartbeat: Duration::from_millis(500),
            faults: FaultPlan::default(),
        }
    }
}

impl InstanceConfig {
    /// Checks every field; [`Instance::new`](crate::Instance::new) does so too.
    ///
    /// # Errors
    /// The first invalid field, with its value and the accepted range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_depth("ring_depth", self.ring_depth)?;
        check_depth("response_depth", self.response_depth)?;
        if self.units.is_empty() {
            return Err(ConfigError::NoUnits);
        }
        for (index, unit) in self.units.iter().enumerate() {
            if unit.count == 0 {
                return Err(ConfigError::NoneOfClass(unit.class));
            }
            if self.units[..index].iter().any(|earlier| earlier.class == unit.class) {
                return Err(ConfigError::DuplicateClass(unit.class));
            }
            unit.service
                .validate()
                .map_err(|source| ConfigError::Service { class: unit.class, source })?;
            if let Some(batch) = unit.batch {
                self.check_batch(unit.class, batch)?;
            }
        }
        if self.pool == Some(0) {
            return Err(ConfigError::EmptyPool);
        }
        check_latency("doorbell", self.doorbell)?;
        check_latency("interrupt_latency", self.interrupt_latency)?;
        if let InterruptMode::Coalesced { responses, delay } = self.interrupts {
            if responses == 0 {
                return Err(ConfigError::CoalesceNothing);
            }
            check_latency("interrupts.delay", delay)?;
        }
        if self.heartbeat.is_zero() {
            return Err(ConfigError::NoHeartbeat);
        }
        self.faults.validate()
    }

    fn check_batch(&self, class: ServiceClass, batch: Batch) -> Result<(), ConfigError> {
        let size = batch.size;
        if size == 0 {
            return Err(ConfigError::EmptyBatch(class));
        }
        if size as usize > self.ring_depth {
            return Err(ConfigError::BatchBeyondRing { class, size, ring_depth: self.ring_depth });
        }
        check_latency("units.batch.timeout", batch.timeout)
    }
}

/// The service units of one class: `count` identical ones in parallel, first come first served.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitConfig {
    /// The class served.
    pub class: ServiceClass,
    /// The number of units, each on one request or one batch at a time; at least 1.
    pub count: u32,
    /// The service time of one request, or of a whole batch.
    pub service: ServiceTime,
    /// How a unit takes several requests at once. Default `None`: one by one.
    pub batch: Option<Batch>,
}

impl UnitConfig {
    /// Creates `count` units that take requests one by one.
    #[must_use]
    pub const fn new(class: ServiceClass, count: u32, service: ServiceTime) -> Self {
        Self { class, count, service, batch: None }
    }

    /// Makes the units take requests in batches.
    #[must_use]
    pub fn batched(self, batch: Batch) -> Self {
        Self { batch: Some(batch), ..self }
    }
}

/// The size and timeout of batches: when a unit that serves several requests at once starts.
///
/// Hardware of this kind (wide vector units, matrix and graphics processors) takes as long for one
/// request as for a full batch, so an idle unit waits for more requests. Under a light load that wait
/// dominates the latency: a batch that does not fill starts at its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The number of requests at which a unit starts, and the most it takes at once: 1 to the depth
    /// of a ring.
    pub size: u32,
    /// The time after which a unit starts with fewer, counted from when the device saw the oldest
    /// request; at most [`LONGEST_LATENCY`](crate::LONGEST_LATENCY). Zero: a free unit takes the
    /// requests that are queued and waits for no more.
    pub timeout: Duration,
}

/// How classes share request rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RingLayout {
    /// A ring of `ring_depth` entries per class, as cards separate public-key and symmetric work: a
    /// slow class fills only its own ring.
    #[default]
    PerClass,
    /// One ring of `ring_depth` entries for all: a slow class can starve a fast one of entries.
    Shared,
}

/// When the device raises interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InterruptMode {
    /// Never; the software polls the response ring.
    Polling,
    /// For every response; responses written while an interrupt is in transit share it.
    #[default]
    PerResponse,
    /// When `responses` have been written since the last interrupt, or `delay` after the first of
    /// them, whichever is sooner.
    Coalesced {
        /// At least 1.
        responses: u32,
        /// The longest time from a response to its interrupt.
        delay: Duration,
    },
}

fn check_depth(field: &'static str, value: usize) -> Result<(), ConfigError> {
    if (1..=DEEPEST_RING).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::RingDepth { field, value })
    }
}

fn check_latency(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value <= LONGEST_LATENCY { Ok(()) } else { Err(ConfigError::Latency { field, value }) }
}
