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
//! use engine_core::{Accelerator, CheckFailed, Engine, Kind, DeviceRefused, Request, Work};
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
//!     fn submit(&self, request: Request<Double>) -> Result<(), DeviceRefused<Double>> {
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
//! assert_eq!(engine.stats().requests.now, 0);
//! # drop(engine);
//! # device.join().unwrap();
//! ```
//!
//! # Wakeups
//!
//! A wake is a hint, the request is the truth. A completion wakes exactly once, and only if the job was about to pause
//! or had paused; one that comes before is seen without a wake. A full ring wakes nobody: the request waits in the
//! engine and is submitted from the completion side. With [`OnFull::Notify`] the job keeps its request instead, and is
//! woken once when there is room for it.
//!
//! # Deadlines, fallback and the breaker
//!
//! [`RequestOptions`] say how long an operation may take, and whether a *standby* takes over when the device fails, answers
//! wrongly, is swamped or too slow: a second device, a [`ThreadPool`], or software called [`Inline`]. The first good
//! result wins; the other is wiped. A [breaker](EngineBuilder::breaker) leaves a failing device alone for a while, and
//! sends to the standby what the device still holds.
//!
//! ```
//! use core::time::Duration;
//! use std::sync::Arc;
//! use engine_core::{
//!     Accelerator, CheckFailed, Engine, Fallback, Inline, Kind, DeviceRefused, Request, RequestOptions, Work,
//! };
//! # #[derive(Clone)]
//! # struct Double(u32);
//! # impl Work for Double {
//! #     type Output = u32;
//! #     fn kind(&self) -> Kind { Kind::new("double") }
//! #     fn check(&self, _: &u32) -> Result<(), CheckFailed> { Ok(()) }
//! #     fn duplicate(&self) -> Option<Self> { Some(self.clone()) }
//! # }
//!
//! /// A device that never answers.
//! #[derive(Debug, Default)]
//! struct Silent(std::sync::Mutex<Vec<Request<Double>>>);
//! impl Accelerator<Double> for Silent {
//!     fn submit(&self, request: Request<Double>) -> Result<(), DeviceRefused<Double>> {
//!         self.0.lock().unwrap().push(request);
//!         Ok(())
//!     }
//! }
//!
//! let engine = Engine::builder(Arc::new(Silent::default()))
//!     .standby(Arc::new(Inline::new(|work: &Double| Ok(2 * work.0))))
//!     .options(RequestOptions::new().deadline(Duration::from_millis(1)).fallback(Fallback::Standby))
//!     .build();
//! assert_eq!(engine.run(Double(21)), Ok(42));
//! assert_eq!(engine.stats().fallbacks, 1);
//! ```
//!
//! Time passes for an engine only when somebody calls [`Engine::poll`]: an event loop, a thread that blocks in
//! [`Engine::run`], or a [`Driver`].
//!
//! # Cancellation, drop and shutdown
//!
//! A cancelled job gets [`EngineError::Cancelled`] at once and from then on. Dropping a [`Pending`]
//! cancels the request. Either way the device keeps what it owns, and its late answer is counted,
//! wiped by [`Work::erase`] and dropped. [`Engine::shutdown`] takes on nothing more, lets what is under way finish for
//! a while, ends the rest, and joins every thread of the engine and its devices. Dropping an engine, a [`ThreadPool`] or a
//! [`Driver`] waits for nothing, on any thread: what is left ends by itself and counts in [`threads_ending`] until then.
//!
//! # Fork
//!
//! Threads do not survive a `fork`. In the child an engine whose device or driver is a thread refuses its work with
//! [`RefusedReason::MadeElsewhere`], and dropping it waits for nothing. Make engines after the fork.
//!
//! # Threads
//!
//! An [`Engine`] is `Send + Sync`. Completions run on whatever thread calls [`Request::complete`], checks included; the
//! wake goes to the session that asked. [`Engine::run`] outside a job blocks its thread.
//!
//! # Panics
//!
//! What a user brings may panic, and no thread of the engine's, of a device's or of another user's ends by it. Each panic
//! is logged once, with its message, as the event `foreign.panic`; no counter is wrong after it.
//!
//! | a panic in | means |
//! | --- | --- |
//! | [`Work::check`] | the check has failed |
//! | the closure of a [`ThreadPool`] or of an [`Inline`] device | the computation has failed |
//! | [`Accelerator::submit`] | the device has taken the request: lost, unless the device still has it |
//! | [`Accelerator::poll`] | the device is to be polled again after a tenth of a second |
//! | [`Accelerator::credits`], [`Accelerator::health`] | it cannot tell |
//! | [`Work::erase`], [`Work::duplicate`] | it is done; there is no copy |
//! | a callback, or the waker of a task | the session counts as woken |
//! | the `Drop` of work, of a result, a device, a waker, a callback, or of the payload of a panic | nothing |
//! | [`Work::kind`], [`Work::must_check`] | it is the caller's, who has asked for nothing yet |
//!
//! A value whose fields panic *twice* while it is dropped ends the process, as anywhere in Rust. A [`Clock`] must not
//! panic.
//!
//! # Stacks
//!
//! An engine may be called from inside a job: to submit, to poll, to give up. What comes along then belongs to others, and
//! never runs on the job's stack but on that of the thread: callbacks, wakers, devices, checks, wipes, and what an
//! [`Inline`] device computes, also for the job itself. There is no current job in it, and a pause answers
//! [`Blocked`](job_core::Pause::Blocked) (law L4). A job pays some fifteen nanoseconds for it with each submission.
//!
//! # Features
//!
//! - `metrics`: `EngineStats::publish`, for the facade of that name.
//! - `plant`: bugs planted on purpose, to show that the laws are checked. For tests of this system only.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accelerator;
mod breaker;
mod builder;
mod cell;
mod clock;
mod complaints;
mod dispatch;
mod driver;
mod engine;
mod error;
mod fifo;
mod foreign;
mod gauge;
mod histogram;
mod home;
mod inline;
mod lane;
mod meter;
mod options;
mod pending;
mod permits;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
#[cfg(feature = "metrics")]
mod publish;
mod request;
mod roster;
mod shares;
mod shutdown;
mod signals;
mod stuck;
mod thread_pool;
mod threads;
mod timekeeping;
mod waiting_room;
mod work;

pub use accelerator::{
    Accelerator, BlockingScope, Capabilities, DeviceRefused, Health, RoomNotice,
};
pub use breaker::{BreakerPolicy, BreakerState};
pub use builder::{CheckPolicy, EngineBuilder};
pub use clock::{Clock, MonotonicClock};
pub use complaints::LogLimit;
pub use driver::{Driver, DriverError};
pub use engine::Engine;
pub use error::{DeviceError, EngineError, Refused, RefusedReason};
pub use histogram::HistogramSnapshot;
pub use home::{HomeProcess, MADE_ELSEWHERE};
pub use inline::Inline;
pub use meter::{EngineStats, Level};
pub use options::{Fallback, Offload, OnFull, RequestOptions};
pub use pending::Pending;
pub use request::{Request, RequestId};
pub use thread_pool::{ThreadPool, ThreadPoolBuilder};
pub use threads::{OwnedThreads, Shutdown, ShuttingDown, threads_ending};
/// For devices: runs code of their users' as the engine does.
pub use wait_ctx::{Panicked, contain, contain_drop};
pub use work::{CheckFailed, Kind, Work};
