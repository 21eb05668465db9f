//! How one instance is built, and the checks before it is.

use core::time::Duration;

use crate::batch::Batch;
use crate::completion::ServiceClass;
use crate::fault::FaultPlan;
use crate::service::{ServiceTime, ServiceTimeError};

/// The build of one [`Instance`](crate::Instance).
///
/// Fill in `units` and take the rest from [`Default`]; each default says where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceConfig {
    /// The name in log lines and spans, as field `device`.
    pub name: String,
    /// Entries of a request ring, 1 to 2^20. An entry is taken from submission until the software
    /// has drained its response. Default 64, as the sample configurations of accelerator cards
    /// have it for public-key work.
    pub ring_depth: usize,
    /// One ring for each class, or one for all. Default [`RingLayout::PerClass`].
    pub rings: RingLayout,
    /// Entries of the response ring, 1 to 2^20. When it is full, units keep what they finished and
    /// take no new work until the software drains it. Default 64.
    pub response_depth: usize,
    /// The service units, a group for each class.
    pub units: Vec<UnitConfig>,
    /// All classes together get no more than this many units at a time, and the units go to
    /// whoever came first: the worker threads of a module, the one core of a token. A group's
    /// `count` is then the most that its class may use. Default `None`: groups share nothing, so
    /// a slow class takes no unit from a fast one.
    pub pool: Option<u32>,
    /// From the write of the doorbell until the device sees the entry. Default 1 us, the order of
    /// a posted write over PCIe and the fetch of a descriptor.
    pub doorbell: Duration,
    /// When the device calls for attention. Default [`InterruptMode::PerResponse`].
    pub interrupts: InterruptMode,
    /// From the raising of an interrupt until the software can take it. Default 2 us.
    pub interrupt_latency: Duration,
    /// The device counts up its heartbeat this often. Default 500 ms, so that software which looks
    /// once a second always finds a new count.
    pub heartbeat: Duration,
    /// What goes wrong. Default nothing.
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
    /// The first field found wrong, with its value and what to write instead.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_depth("ring_depth", self.ring_depth)?;
        check_depth("response_depth", self.response_depth)?;
        if self.units.is_empty() {
            return Err(ConfigError::NoUnits);
        }
        for (index, unit) in self.units.iter().enumerate() {
            if unit.count == 0 {
                return Err(ConfigError::NoneOfClass { class: unit.class });
            }
            if self.units[..index].iter().any(|earlier| earlier.class == unit.class) {
                return Err(ConfigError::DuplicateClass { class: unit.class });
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
            return Err(ConfigError::EmptyBatch { class });
        }
        if size as usize > self.ring_depth {
            return Err(ConfigError::BatchBeyondRing { class, size, ring_depth: self.ring_depth });
        }
        check_latency("units.batch.timeout", batch.timeout)
    }
}

/// The service units of one class: `count` identical ones in parallel, served first come first
/// served.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitConfig {
    /// The class served.
    pub class: ServiceClass,
    /// How many units work on the class at a time, each on one request or one batch; at least 1.
    pub count: u32,
    /// How long a unit takes, for one request or for a whole batch.
    pub service: ServiceTime,
    /// Whether a unit takes several requests at once, and waits for them. Default `None`: one by
    /// one.
    pub batch: Option<Batch>,
}

impl UnitConfig {
    /// `count` units that take requests one by one.
    #[must_use]
    pub const fn new(class: ServiceClass, count: u32, service: ServiceTime) -> Self {
        Self { class, count, service, batch: None }
    }

    /// The same units, taking requests by the batch.
    #[must_use]
    pub fn batched(self, batch: Batch) -> Self {
        Self { batch: Some(batch), ..self }
    }
}

/// How request rings are shared out among classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RingLayout {
    /// A ring of `ring_depth` entries for each class, as cards keep public-key and symmetric work
    /// apart: a class that is slow fills no ring but its own.
    #[default]
    PerClass,
    /// One ring of `ring_depth` entries for all: a slow class can starve a fast one of entries.
    Shared,
}

/// When the device calls for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InterruptMode {
    /// Never: the software polls the response ring.
    Polling,
    /// For every response; responses that come while an interrupt is under way share it.
    #[default]
    PerResponse,
    /// When `responses` have been written since the last interrupt, or `delay` after the first of
    /// them, whichever is sooner.
    Coalesced {
        /// At least 1.
        responses: u32,
        /// The longest that a response goes unannounced.
        delay: Duration,
    },
}

/// A field of an [`InstanceConfig`] that cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A ring too small or too large.
    #[error("`{field}` is {value}: give a depth from 1 to {DEEPEST_RING}")]
    RingDepth {
        /// `ring_depth` or `response_depth`.
        field: &'static str,
        /// As given.
        value: usize,
    },
    /// No service unit at all.
    #[error("`units` is empty: add a group of service units for each class of request")]
    NoUnits,
    /// A group without a unit.
    #[error("`units`: {class} has a `count` of 0: give at least 1, or leave the class out")]
    NoneOfClass {
        /// The class of the group.
        class: ServiceClass,
    },
    /// Two groups for one class.
    #[error("`units` has two groups for {class}: join them by adding up their `count`")]
    DuplicateClass {
        /// The class named twice.
        class: ServiceClass,
    },
    /// A pool without a unit.
    #[error("`pool` is 0: give at least 1 unit, or none for groups that share nothing")]
    EmptyPool,
    /// A service-time model that makes no sense.
    #[error("`units`: `service` of {class}: {source}")]
    Service {
        /// The class of the group.
        class: ServiceClass,
        /// What is wrong with it.
        source: ServiceTimeError,
    },
    /// A batch of no request.
    #[error("`units`: `batch` of {class} has a `size` of 0: give at least 1, or no batch")]
    EmptyBatch {
        /// The class of the group.
        class: ServiceClass,
    },
    /// A batch that no ring can fill.
    #[error(
        "`units`: `batch` of {class} has a `size` of {size}, which a ring of {ring_depth} never \
         fills: give at most `ring_depth`"
    )]
    BatchBeyondRing {
        /// The class of the group.
        class: ServiceClass,
        /// As given.
        size: u32,
        /// As given.
        ring_depth: usize,
    },
    /// A latency longer than [`LONGEST_LATENCY`].
    #[error("`{field}` is {value:?}: give at most {LONGEST_LATENCY:?}")]
    Latency {
        /// The field.
        field: &'static str,
        /// As given.
        value: Duration,
    },
    /// Interrupts for every zeroth response.
    #[error("`interrupts`: `responses` is 0: give at least 1, or use polling")]
    CoalesceNothing,
    /// A heartbeat without a period.
    #[error("`heartbeat` is zero: give the period of the heartbeat, for example 500 ms")]
    NoHeartbeat,
    /// A probability outside 0 to 1.
    #[error("`faults.rules[{index}]`: a chance of {value}: give a probability from 0 to 1")]
    FaultChance {
        /// Position of the rule.
        index: usize,
        /// As given.
        value: f64,
    },
    /// Opportunities are counted from 1.
    #[error("`faults.rules[{index}]`: the 0th opportunity never comes: count from 1")]
    FaultZeroth {
        /// Position of the rule.
        index: usize,
    },
    /// A fault that lasts longer than [`LONGEST_FAULT`].
    #[error("`faults.rules[{index}]`: lasts {value:?}: give at most {LONGEST_FAULT:?}")]
    FaultDuration {
        /// Position of the rule.
        index: usize,
        /// As given.
        value: Duration,
    },
}

/// The deepest ring accepted.
pub const DEEPEST_RING: usize = 1 << 20;

/// The longest doorbell, interrupt or coalescing latency accepted: beyond a minute it is a fault,
/// and faults have their own rules.
pub const LONGEST_LATENCY: Duration = Duration::from_secs(60);

/// The longest fault accepted, a day; a removal for good has no duration.
pub const LONGEST_FAULT: Duration = Duration::from_secs(24 * 60 * 60);

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
