//! A simulated crypto accelerator: rings, service units, faults and interrupts, stepped in virtual
//! time.
//!
//! It knows rings and time, not crypto: a request is an owned payload of any type, which travels
//! into the device and back, and whoever owns it works out its result when it is back. There is no
//! thread and no clock in here, and no randomness but a seeded generator, so that equal calls have
//! equal effects in every run.
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
//!   heartbeat <---------- a count that goes up while the device is alive
//! ```
//!
//! # Example
//!
//! Three requests for two units, and a response that gets lost:
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
//! // Virtual time: go from deadline to deadline until nothing is under way.
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
//! An [`Instance`] is fed by `submit`, `advance` and `inject`, drained by `poll_responses`,
//! `take_interrupt`, `reclaim` and `drain_trace`, and asked by everything else. In virtual time its
//! owner sets the clock to [`next_deadline`](Instance::next_deadline) again and again; in real time
//! a thread sleeps until then. At one instant things happen in a fixed order: changes from outside
//! (faults with a set time, recoveries), then finished work in the order in which it was started,
//! then doorbells, then batches whose timeout is over, then interrupts.
//!
//! # Determinism
//!
//! The state is a function of configuration, seed and calls. Every group of units and the fault
//! rules draw from streams of their own, so that a fault rule more or less changes no service time.
//! Logarithms and exponentials come from the platform's mathematics library: the same build gives
//! the same trace in every process, while another platform may round a random service time
//! differently. Fixed, uniform and empirical times are the same everywhere.
//!
//! # Ownership
//!
//! The device owns a payload from `submit` until the completion, the refusal or `reclaim` gives it
//! back: exactly once, whatever goes wrong. A duplicate completion has no payload. Dropping the
//! device drops what is inside. Payloads are neither read nor copied, and never shown by `Debug`.
//!
//! # Cost
//!
//! A request costs one entry in a calendar and no allocation once the rings have been full for the
//! first time. The example `throughput` reports virtual requests a second.
//!
//! # What is modelled
//!
//! - Request rings of finite depth, one a class or one for all; an entry is taken until its response
//!   has been drained.
//! - A response ring of finite depth; when it is full, units keep what they have finished.
//! - Parallel service units for each class, first come first served, or a pool for all classes.
//! - Batches: a unit that serves up to so many requests at once, and begins when so many wait or
//!   the oldest has waited for a timeout; see [`Batch`].
//! - Service times: fixed, exponential, log-normal, uniform, empirical.
//! - Doorbell latency; interrupts with coalescing by count and delay, and their latency; polling.
//! - Faults by rule and budget: see [`Fault`]. Reset by the driver, surprise removal and return,
//!   heartbeat.
//! - Several instances on one [`InstanceSet`], and four device [`Profile`]s.
//!
//! # What is refused
//!
//! - Cancelling an accepted request: hardware cannot. The software forgets it, and drops the
//!   payload when it comes back.
//! - A request larger than an entry, or chained over several: every request takes one.
//! - Batches whose service time grows with what is in them, that mix classes, or that take on more
//!   after they have begun: the hardware that is worth batching for takes as long for one as for
//!   all.
//! - Priorities within a class, and rate limits: use a class, or a pool.
//! - Requests that wait for a free entry: a full ring refuses, queueing is for the software.
//!
//! # Divergences from real hardware
//!
//! - *Results* are not computed by the device; [`CompletionStatus::Corrupt`] asks the owner to spoil one.
//! - *Reset and removal* return payloads at once and in order. Real drivers wait until the bus is
//!   quiet, and make up error responses likewise.
//! - *[`Instance::reclaim`]* knows that a response is lost. Real software can only assume it.
//! - *Instances* share no units, bus or memory bandwidth: only a fault for all couples them.
//! - *The doorbell* has a constant latency, and each submission rings it; there is no gain in
//!   ringing once for several entries.
//! - *A hang* stops units in mid-work and lets them go on; the service time already drawn stands.
//! - *A batch* is finished as one: its responses are written at the same instant, one after the
//!   other, and a full response ring keeps the unit until the last is on it.
//! - *The heartbeat* never goes back, not even over a reset.
//! - *One response ring* serves all classes. It cannot reorder them, only stall them together.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod batch;
mod config;
mod fault;
mod profile;
mod service;

mod completion;
mod instance;
mod instance_set;
mod stats;
mod trace;

mod calendar;
mod entries;
mod heartbeat;
mod interrupt;
mod units;

pub use batch::Batch;
pub use completion::{Completion, CompletionStatus, EntryId, ServiceClass, SubmitError};
pub use config::{
    ConfigError, DEEPEST_RING, InstanceConfig, InterruptMode, LONGEST_FAULT, LONGEST_LATENCY,
    RingLayout, UnitConfig,
};
pub use fault::{Fault, FaultPlan, FaultRule, Trigger};
pub use instance::{Instance, Presence};
pub use instance_set::{InstanceId, InstanceSet};
pub use profile::{Profile, UnknownProfile};
pub use service::{LONGEST_SERVICE, ServiceTime, ServiceTimeError};
pub use stats::{ClassStats, InstanceStats};
pub use trace::{Event, TraceRecord};
