//! A simulated crypto accelerator: rings, service units, faults and interrupts, stepped in virtual
//! time.
//!
//! It knows rings and time, not crypto: the request is an owned payload of any type, which travels
//! into the device and back. There is no thread and no clock in it, and no randomness but a seeded
//! generator, so equal calls give equal results, on every run.
//!
//! ```text
//!   software                               device
//!
//!   submit ------> request ring --doorbell--> queue --> unit   one queue and n units
//!                  (64 entries)               queue --> unit   for each service class
//!                                                        |
//!   poll_responses <-------- response ring <-------------+
//!   take_interrupt <-------- interrupt line (coalesced, or none: polling)
//! ```
//!
//! # Example
//!
//! ```
//! use core::time::Duration;
//! use sim_device::{Instance, InstanceConfig, InterruptMode, ServiceClass, ServiceTime, UnitConfig};
//!
//! const SIGN: ServiceClass = ServiceClass(0);
//! let config = InstanceConfig {
//!     units: vec![UnitConfig {
//!         class: SIGN,
//!         count: 2,
//!         service: ServiceTime::fixed(Duration::from_micros(100))?,
//!     }],
//!     doorbell: Duration::from_micros(1),
//!     interrupts: InterruptMode::Polling,
//!     ..InstanceConfig::default()
//! };
//! let mut device = Instance::new(config, 42)?;
//!
//! // Three requests at once for two units: the third has to wait.
//! for name in ["a", "b", "c"] {
//!     device.submit(Duration::ZERO, SIGN, name)?;
//! }
//! while let Some(next) = device.next_deadline() {
//!     device.advance(next);
//! }
//! let mut done = Vec::new();
//! device.poll_responses(16, &mut done);
//!
//! let finished: Vec<_> =
//!     done.iter().map(|c| (c.payload.unwrap(), c.finished.as_micros())).collect();
//! assert_eq!(finished, [("a", 101), ("b", 101), ("c", 201)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod config;
mod fault;
mod profile;
mod service;

mod card;
mod completion;
mod instance;
mod stats;
mod trace;

mod calendar;
mod entries;
mod heartbeat;
mod interrupt;
mod units;

pub use card::{Card, InstanceId};
pub use completion::{Completion, EntryId, Outcome, Refused, ServiceClass};
pub use config::{
    ConfigError, DEEPEST_RING, InstanceConfig, InterruptMode, LONGEST_FAULT, LONGEST_LATENCY,
    RingLayout, UnitConfig,
};
pub use fault::{Fault, FaultPlan, FaultRule, Trigger};
pub use instance::{Instance, Presence};
pub use profile::{Profile, UnknownProfile};
pub use service::{LONGEST_SERVICE, ServiceTime, ServiceTimeError};
pub use stats::{ClassStats, InstanceStats};
pub use trace::{Event, TraceRecord};
