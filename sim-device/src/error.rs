//! Errors of configurations, and the limits they name.

use core::time::Duration;

use crate::completion::ServiceClass;
use crate::service::ServiceTimeError;

/// A field of an [`InstanceConfig`](crate::InstanceConfig) that is out of range.
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
    /// No service units.
    #[error("`units` is empty: add a group of service units for each class of request")]
    NoUnits,
    /// A group without a unit.
    #[error("`units`: {0} has a `count` of 0: give at least 1, or leave the class out")]
    NoneOfClass(ServiceClass),
    /// Two groups for one class.
    #[error("`units` has two groups for {0}: join them by adding up their `count`")]
    DuplicateClass(ServiceClass),
    /// A pool without a unit.
    #[error("`pool` is 0: give at least 1 unit, or none for groups that share nothing")]
    EmptyPool,
    /// An invalid service-time model.
    #[error("`units`: `service` of {class}: {source}")]
    Service {
        /// The class of the group.
        class: ServiceClass,
        /// The invalid parameter.
        source: ServiceTimeError,
    },
    /// A batch size of zero.
    #[error("`units`: `batch` of {0} has a `size` of 0: give at least 1, or no batch")]
    EmptyBatch(ServiceClass),
    /// A batch larger than its ring.
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
    /// Coalescing by zero responses.
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
    /// A trigger that counts to zero; opportunities are counted from 1.
    #[error("`faults.rules[{0}]`: the 0th opportunity never comes: count from 1")]
    FaultZeroth(usize),
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

/// The longest doorbell, interrupt or coalescing latency accepted, a minute. Longer delays are
/// modelled as faults.
pub const LONGEST_LATENCY: Duration = Duration::from_secs(60);

/// The longest fault accepted, a day; a removal for good has no duration.
pub const LONGEST_FAULT: Duration = Duration::from_secs(24 * 60 * 60);
