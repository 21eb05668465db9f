//! The engine between synchronous code and a slow device: it submits work, parks the caller's fiber job until the
//! device answers, checks the answer and hands it over.
//!
//! It knows neither cryptography nor TLS, and no particular device. *Work* is anything with an output and a check;
//! an *accelerator* is anything that takes a request and completes it later, on whatever thread.
//!
//! ```text
//!   job -- run(work) --> Engine -- Request<W> --> Accelerator (a ring, a pool, a service)
//!    |                     |  ring full?              |
//!    | pause               v                          | complete(result)
//!    |                 bounded FIFO <-- pump ---------+   on the device's side:
//!    |                 one per kind                   v   check, one compare-and-swap, store
//!    += resume <---- ready queue, callback or fd <-- wake
//! ```
//!
//! # Example
//!
//! A device that doubles numbers on a thread of its own, and a job that asks it:
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use engine_core::{Accelerator, CheckFailed, Engine, Kind, Rejected, Request, Work};
//! use job_core::{JobPool, Step};
//!
//! struct Double(u32);
//! impl Work for Double {
//!     type Output = u32;
//!     fn kind(&self) -> Kind { Kind::new("double") }
//!     fn check(&self, output: &u32) -> Result<(), CheckFailed> {
//!         if *output == 2 * self.0 { Ok(()) } else { Err(CheckFailed("not the double")) }
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Device(mpsc::Sender<Request<Double>>);
//! impl Accelerator<Double> for Device {
//!     fn submit(&self, request: Request<Double>) -> Result<(), Rejected<Double>> {
//!         // A device that has gone away drops the request, and the engine reports it lost.
//!         let _ = self.0.send(request);
//!         Ok(())
//!     }
//! }
//!
//! let (ring, requests) = mpsc::channel::<Request<Double>>();
//! let (start, started) = mpsc::channel::<()>();
//! let device = std::thread::spawn(move || {
//!     started.recv().unwrap();
//!     for request in requests {
//!         let answer = 2 * request.work().0;
//!         request.complete(Ok(answer));
//!     }
//! });
//!
//! let engine = Engine::builder(Arc::new(Device(ring))).build();
//! let pool = JobPool::new();
//! let asked = Arc::clone(&engine);
//! // To the job this is an ordinary function call.
//! let Ok(step) = pool.start(move || asked.run(Double(21))) else { panic!("no fiber") };
//! let Step::Paused(mut job) = step else { panic!("the device has not even started") };
//!
//! start.send(()).unwrap();            // the thread was free all the while
//! let answer = loop {
//!     match job.resume() {            // resuming too early does no harm
//!         Step::Paused(again) => job = again,
//!         Step::Finished(answer) => break answer,
//!     }
//! };
//! assert_eq!(answer, Ok(42));
//! assert_eq!(engine.snapshot().requests.now, 0);
//! # drop(engine);
//! # device.join().unwrap();
//! ```
//!
//! # Wakeups
//!
//! A wake is a hint, the request is the truth. A completion wakes exactly once, and only if the job was about to pause
//! or had paused; one that comes before is seen without a wake. A full ring wakes nobody: the request waits in the
//! engine and is submitted from the completion side.
//!
//! # Cancellation and drop
//!
//! A cancelled job gets [`EngineError::Cancelled`] at once and from then on. Dropping a [`Pending`] or a
//! [`Submission`] gives the request up. Either way the device keeps what it owns, and its late answer is counted,
//! wiped by [`Work::erase`] and dropped.
//!
//! # Threads
//!
//! An [`Engine`] is `Send + Sync`. Completions run on whatever thread calls [`Request::complete`], checks included; the
//! wake goes to the session that asked. [`Engine::run`] outside a job blocks its thread.
//!
//! # Panics
//!
//! A panic in [`Work::check`] counts as a failed check.
//!
//! # Features
//!
//! - `plant`: bugs planted on purpose, to show that the laws are checked. For tests of this system only.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accelerator;
mod breaker;
mod builder;
mod cell;
mod clock;
mod dispatch;
mod driver;
mod engine;
mod error;
mod fifo;
mod histogram;
mod inline;
mod lane;
mod meter;
mod pending;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod request;
mod roster;
mod submission;
mod terms;
mod thread_pool;
mod timekeeping;
mod work;

pub use accelerator::{Accelerator, Capabilities, Health, Rejected, RoomNotice};
pub use breaker::{BreakerPolicy, BreakerState};
pub use builder::{CheckPolicy, EngineBuilder};
pub use clock::{Clock, MonotonicClock};
pub use driver::{Driver, DriverError};
pub use engine::Engine;
pub use error::{DeviceError, EngineError, Refused, RefusedReason};
pub use histogram::HistogramSnapshot;
pub use inline::Inline;
pub use meter::{EngineSnapshot, Level};
pub use pending::Pending;
pub use request::{Request, RequestId};
pub use submission::Submission;
pub use terms::{Fallback, Offload, OnFull, Terms};
pub use thread_pool::{ThreadPool, ThreadPoolBuilder};
pub use work::{CheckFailed, Kind, Work};
