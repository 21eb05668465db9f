//! A simulated crypto accelerator: rings, service units, faults and interrupts, stepped in virtual
//! time.
//!
//! It models rings and time, not cryptography. A request is an owned payload of any type that moves
//! into the device and back; its owner computes the result when it comes back. The crate has no
//! thread and no clock, and its only randomness is a seeded generator, so equal calls have equal
//! effects in every run.
//!
//! ```text
//!   software                                 device
//!
//!   submit ------> request ring --doorbell--> queue --+--> unit     a queue and n units
//!     ^ refused    (64 entries,                       +--> unit     for each service class
//!     | if full     one ring a class)                 +--> unit
//!     |                                                  |
//!     +-- entry free again --+                           v
//!   poll_responses <---------+------- response ring <----+          a full one stalls units
//!   take_interrupt <----- interrupt line (each response, coalesced, or none: polling)
//!   heartbeat <---------- a counter that rises while the device is alive
//! ```
//!
//! # Example
//!
//! Three requests for two units, and a response that is lost:
//!
//! ```
//! use core::time::Duration;
//! use sim_device::{
//!     Fault, FaultPlan, FaultRule, Instance, InstanceConfig, InterruptMode, ServiceClass,
//!     ServiceTime, Trigger, UnitConfig,
//! };
//!
//! const SIGN: ServiceClass = ServiceClass(0);
//! let service = ServiceTime::fixed(Duration::from_micros(100))?;
//! let config = InstanceConfig {
//!     units: vec![UnitConfig::new(SIGN, 2, service)],
//!     interrupts: InterruptMode::Polling,
//!     faults: FaultPlan {
//!         rules: vec![FaultRule::new(Fault::Lost, Trigger::Nth(2))],
//!         ..FaultPlan::default()
//!     },
//!     ..InstanceConfig::default()
//! };
//! let mut device = Instance::new(config, 42)?;
//! let mut entries = Vec::new();
//! for name in ["a", "b", "c"] {
//!     entries.push(device.submit(Duration::ZERO, SIGN, name)?);
//! }
//!
//! // Virtual time: step from deadline to deadline until nothing is in progress.
//! while let Some(next) = device.next_deadline() {
//!     device.advance(next);
//! }
//! let mut done = Vec::new();
//! device.poll_responses(16, &mut done);
//!
//! let finished: Vec<_> =
//!     done.iter().map(|c| (c.payload.unwrap(), c.finished.as_micros())).collect();
//! assert_eq!(finished, [("a", 101), ("c", 201)]);
//! assert_eq!(device.occupancy(), 1);
//! assert_eq!(device.reclaim(entries[1]), Some("b"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Driving it
//!
//! An [`Instance`] is stepped by its owner. [`submit`](Instance::submit) and
//! [`advance`](Instance::advance) take the present time; in virtual time the owner sets its clock to
//! [`next_deadline`](Instance::next_deadline) again and again, in real time a thread sleeps until
//! then. [`Instance::several`] builds those of one card.
//!
//! At one instant, events happen in a fixed order: timed faults and recoveries, then finished work in
//! the order in which it was started, then doorbells, then batches whose timeout is over, then
//! interrupts.
//!
//! The device owns a payload from `submit` until the completion, the refusal or `reclaim` returns it:
//! exactly once, under every fault. A duplicate completion has no payload. Dropping the device drops
//! the payloads inside. `Debug` never shows them.
//!
//! # Determinism
//!
//! The state is a function of configuration, seed and calls. Each group of units and the fault rules
//! draw from streams of their own, so adding a fault rule changes no service time. Logarithms and
//! exponentials come from the platform's mathematics library: another platform may round an
//! exponential or log-normal service time differently. Fixed, uniform and empirical times are the
//! same everywhere.
//!
//! # What is modelled
//!
//! - Request rings of finite depth, one per class or one for all; an entry is held until its response
//!   has been drained.
//! - A response ring of finite depth; while it is full, units hold their finished requests.
//! - Parallel service units per class, first come first served, or one pool for all classes.
//! - Batches: a unit that serves several requests at once; see [`Batch`].
//! - Service times: fixed, exponential, log-normal, uniform, empirical; see [`ServiceTime`].
//! - Doorbell latency; interrupts with coalescing by count and delay, and their latency; polling.
//! - Faults by rule and budget: see [`Fault`]. Reset by the driver, surprise removal and return,
//!   heartbeat.
//! - Four device [`Profile`]s.
//!
//! # What is refused
//!
//! - Cancelling an accepted request: hardware cannot. The software marks it as abandoned, and drops
//!   the payload when it comes back.
//! - A request larger than an entry, or chained over several: each request takes one.
//! - Batches whose service time grows with their size, that mix classes, or that take more requests
//!   after they have begun.
//! - Priorities within a class, and rate limits: use a class, or a pool.
//! - Requests that wait for a free entry: a full ring refuses, and the software queues.
//!
//! # Differences from real hardware
//!
//! - *Results* are not computed by the device; for [`CompletionStatus::Corrupt`] the owner falsifies
//!   the result.
//! - *Reset and removal* return payloads at once and in order. Real drivers wait until the bus is
//!   quiet, and then make up error responses in the same way.
//! - *[`Instance::reclaim`]* knows that a response is lost. Real software can only assume it.
//! - *Instances* share no units, bus or memory bandwidth: only a fault for all couples them.
//! - *The doorbell* has a constant latency, and each submission rings it; ringing once for several
//!   entries saves nothing.
//! - *A hang* stops units in the middle of their work and lets them continue; the service time
//!   already drawn stands.
//! - *A batch* finishes as one: its responses are written at the same instant, one after the other,
//!   and a full response ring keeps the unit until the last is written.
//! - *The heartbeat* never goes back, not even over a reset.
//! - *One response ring* serves all classes. It stalls them together, and does not reorder them.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod completion;
mod config;
mod error;
mod fault;
mod profile;
mod service;

mod instance;
mod stats;
mod trace;

mod calendar;
mod entries;
mod heartbeat;
mod interrupt;
mod units;

pub use calendar::Calendar;
pub use completion::{Completion, CompletionStatus, EntryId, ServiceClass, SubmitError};
pub use config::{Batch, InstanceConfig, InterruptMode, RingLayout, UnitConfig};
pub use error::{ConfigError, DEEPEST_RING, LONGEST_FAULT, LONGEST_LATENCY};
pub use fault::{Fault, FaultPlan, FaultRule, Trigger};
pub use instance::{Instance, Presence};
pub use profile::Profile;
pub use service::{LONGEST_SERVICE, ServiceTime, ServiceTimeError};
pub use stats::{ClassStats, InstanceStats};
pub use trace::{Event, TraceRecord};
