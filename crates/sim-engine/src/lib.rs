//! The engine of the simulated accelerator card: real signatures, simulated rings and service times.
//!
//! ```text
//!   Engine -- submit --> SimCard / SteppedCard
//!                          |  Mutex: sim-device instance        the rings that driver and hardware share
//!                          |  crossbeam channel of one slot     the doorbell
//!                          v
//!                        hardware queue thread (or Engine::poll): advance, drain responses,
//!                          |                                      compute with the card's keys
//!                          v
//!                        Request::complete --> check, wake, submit what waits
//! ```
//!
//! The same card runs under two clocks: [`SimCard`] has a hardware queue thread and the machine's time; [`SteppedCard`]
//! has no thread and moves when it is polled. The same submissions at the same times give the same events, which
//! [`SteppedCard::drain_trace`] shows.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use core::time::Duration;
//! use crypto_ops::{CryptoOp, SignOp, SoftwareKeys};
//! use engine_core::Engine;
//! use sim_engine::{SimCard, SimConfig};
//!
//! # let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
//! let keys = Arc::new(SoftwareKeys::new());
//! let key = keys.load_pem(&pem)?; // a P-256 key, PKCS #8
//!
//! // A card with 8 units that take 2 ms a signature, behind a ring of 64 entries.
//! let config = SimConfig::signer(Duration::from_millis(2), 8, 64)?;
//! let card = SimCard::start(config, keys)?;
//! let engine = Engine::builder(card.clone()).build();
//!
//! let op = SignOp::new(key.clone(), key.schemes()[0], b"to be signed".to_vec())?;
//! // Outside a job `run` blocks; inside one it pauses.
//! let signature = engine.run(CryptoOp::Sign(op))?.into_signature().expect("a signature");
//! assert_eq!(key.check(key.schemes()[0], b"to be signed", &signature), Ok(()));
//! assert_eq!(card.stats().finished, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Collecting
//!
//! [`Polling`] says when finished work is taken off the card: by interrupt on the card's own thread, or in a poll of the
//! engine, at intervals, by a heuristic or every time.
//!
//! # Faults
//!
//! [`InstanceConfig::faults`](sim_device::InstanceConfig::faults) holds the rules. The driver half of the card survives all
//! of them: it never trusts the tag of a response, ignores duplicates, takes back overdue requests that the device has
//! lost, polls for responses whose interrupt was lost, tells the engine when a ring that was stuck opens again, and reports
//! a heartbeat that has stopped. The engine's check finds wrong results.
//!
//! # Threads
//!
//! [`SimCard`] has one thread, named after the instance. It computes, checks and wakes. Dropping the last owner of the card
//! ends it.
//!
//! # What is real
//!
//! Signatures are real, made with aws-lc-rs when the simulated unit has finished; their CPU time adds to the simulated
//! service time, on the hardware thread. Rings, units, latencies and interrupts are
//! [`sim_device`]'s; its page lists what is modelled and what is not.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod card;
mod compute;
mod config;
mod hardware;
mod polling;
mod stepped;
mod threaded;

pub use compute::Compute;
pub use config::{SimConfig, SimError};
pub use crypto_ops::{CryptoOp, SoftwareKeys};
pub use engine_core::Kind;
pub use polling::Polling;
pub use sim_device::{Fault, InstanceConfig, InstanceStats, Profile, ServiceClass, TraceRecord};
pub use stepped::SteppedCard;
pub use threaded::SimCard;
