//! The engine between synchronous code and a slow device: it submits work, parks the calling fiber job until the device
//! answers, checks the answer and returns it.
//!
//! It knows neither cryptography nor TLS, and no particular device. *Work* is anything with an output and a check;
//! an *accelerator* is anything that takes a request and completes it later, on any thread.
//!
//! ```text
//!   job -- run(work) --> Engine -- Request<W> --> Accelerator (a ring, a pool, a service)
//!    |                     |  ring full?              |
//!    | pause               v                          | complete(result)
//!    |                  backlog    <-- pump ----------+   on the device's side:
//!    |                 one queue per kind             v   check, store, one compare-and-swap
//!    += resume <---- ready queue, callback or fd <-- wake
//! ```
//!
//! # Examples
//!
//! A blocking function as the device: a [`ThreadPool`] runs it on threads of its own.
//!
//! ```
//! use std::sync::Arc;
//! use engine_core::{CheckFailed, Engine, Kind, ThreadPoolBuilder, Work};
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
//! let pool = ThreadPoolBuilder::new().threads(4).build(|work: &Double| Ok(2 * work.0));
//! let engine = Engine::builder(Arc::new(pool)).build();
//! // Outside a job `run` blocks its thread. In a job the job pauses, and in async code: `engine.submit(work)?.await`.
//! assert_eq!(engine.run(Double(21)), Ok(42));
//! ```
//!
//! A device of one's own, and a job that uses it:
//!
#![cfg_attr(feature = "jobs", doc = "```")]
#![cfg_attr(not(feature = "jobs"), doc = "```text")]
//! use std::sync::{Arc, mpsc};
//! use core::time::Duration;
//! use engine_core::{Accelerator, DeviceRefused, Engine, Request};
//! # use engine_core::{CheckFailed, Kind, Work};
//! use job_core::{JobPool, Step};
//!
//! # struct Double(u32);
//! # impl Work for Double {
//! #     type Output = u32;
//! #     fn kind(&self) -> Kind { Kind::new("double") }
//! #     fn check(&self, output: &u32) -> Result<(), CheckFailed> {
//! #         if *output == 2 * self.0 { Ok(()) } else { Err(CheckFailed("not the double")) }
//! #     }
//! # }
//! #[derive(Debug)]
//! struct Device(mpsc::Sender<Request<Double>>);
//! impl Accelerator<Double> for Device {
//!     fn submit(&self, request: Request<Double>) -> Result<(), DeviceRefused<Double>> {
//!         // If its thread has ended, the request is dropped, and the engine reports it lost.
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
//! let inside = Arc::clone(&engine);
//! // To the job this is an ordinary function call.
//! let Ok(step) = pool.start(move || inside.run(Double(21))) else { panic!("no fiber") };
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
//! // The result is there before the device returns from `complete`: until then the request counts.
//! assert!(engine.quiesce(Duration::MAX));
//! # drop(engine);
//! # device.join().unwrap();
//! ```
//!
//! # Wakeups
//!
//! A wake is a hint; the request holds the truth. A completion wakes exactly once, and only a caller that was about to
//! pause or had paused; an earlier completion is seen without a wake. A full ring causes no wake: the request waits in the
//! engine and is submitted from the completion side. With [`OnFull::Notify`] the job keeps its request instead, and is
//! woken once when there is room for it.
//!
//! # Deadlines, fallback and the breaker
//!
//! [`RequestOptions`] set how long an operation may take, and whether a *standby* takes over when the device fails,
//! answers wrongly, is overloaded or too slow: a second device, a [`ThreadPool`], or software called [`Inline`]. The first
//! good result wins; the other is erased. A [breaker](EngineBuilder::breaker) leaves a failing device alone for a while,
//! and sends to the standby what the device still holds.
//!
//! ```
//! use core::time::Duration;
//! use std::sync::Arc;
//! use engine_core::{
//!     Accelerator, CheckFailed, DeviceRefused, Engine, Fallback, Inline, Kind, Request, RequestOptions, Work,
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
//! Deadlines are kept only while a thread calls [`Engine::poll`]: an event loop, a thread that blocks in [`Engine::run`],
//! or a [`Driver`].
//!
//! # Cancellation, drop and shutdown
//!
//! A cancelled job gets [`EngineError::Cancelled`] at once and from then on. Dropping a [`Pending`] cancels its request.
//! Either way the device keeps the request that it owns; its late answer is counted, erased by [`Work::erase`] and
//! dropped.
//!
//! [`Engine::shutdown`] stops the intake, waits for what is under way, fails the rest, and joins every thread of the
//! engine and its devices. [`Engine::quiesce`] only waits. Dropping an engine, a [`ThreadPool`] or a [`Driver`] waits for
//! nothing, on any thread: threads that are still running end by themselves and count in [`threads_ending`] until then.
//!
//! # Fork
//!
//! Threads do not survive a `fork`. In the child, an engine whose device or driver is a thread refuses its work with
//! [`RefusedReason::MadeElsewhere`], and dropping it waits for nothing. Make engines after the fork.
//!
//! # Threads
//!
//! An [`Engine`] is `Send + Sync`. A completion runs on the thread that calls [`Request::complete`], its check included;
//! the wake goes to the session that submitted. [`Engine::run`] outside a job blocks its thread.
//!
//! # Panics
//!
//! Users' code may panic; no thread of the engine, of a device or of another user ends by it. Each panic is logged once,
//! with its message, as the event `foreign.panic`, and leaves every counter correct.
//!
//! | a panic in | means |
//! | --- | --- |
//! | [`Work::check`] | the check has failed |
//! | the closure of a [`ThreadPool`] or of an [`Inline`] device | the computation has failed |
//! | [`Accelerator::submit`] | the device has taken the request: lost, unless the device still has it |
//! | [`Accelerator::poll`] | the device is polled again after a tenth of a second |
//! | [`Accelerator::credits`], [`Accelerator::health`] | unknown |
//! | [`Work::erase`] | erased |
//! | [`Work::duplicate`] | there is no copy |
//! | a callback, or the waker of a task | the session counts as woken |
//! | a subscriber of the log | the event is lost |
//! | the `Drop` of work, of a result, a device, a waker, a callback, or of the payload of a panic | nothing |
//! | [`Work::kind`], [`Work::must_check`] | it reaches the caller, before the engine has changed anything |
//!
//! A value whose fields panic *twice* while it is dropped ends the process, as anywhere in Rust. A [`Clock`] must not
//! panic.
//!
//! # Stacks
//!
//! An engine may be called from inside a job: to submit, to poll, to cancel. Users' code that runs in such a call does not
//! run on the job's small stack but on the thread's: callbacks, wakers, devices, checks, erasure, and the computation of an
//! [`Inline`] device, also for the job itself. There is no current job in it, and a pause is refused. It costs a job some
//! fifteen nanoseconds for each submission.
//!
//! # Features
//!
//! - `jobs` (default): [`Engine::run`] and [`Pending::wait`] pause the fiber job of `job-core` that calls them. Without it
//!   this crate does not depend on `job-core`, and they block the thread.
//! - `metrics`: `EngineStats::publish`, for the facade of that name.
//! - `plant`: bugs planted on purpose, to show that the laws are checked. For tests of this system only.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accelerator;
mod admission;
mod attempts;
mod backlog;
mod breaker;
mod builder;
mod clock;
mod complaints;
mod device;
mod device_queue;
mod driver;
mod engine;
mod error;
mod event;
mod fifo;
mod foreign;
mod histogram;
mod inline;
mod inner;
mod jobs;
mod meter;
mod options;
mod pending;
mod permits;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod registry;
mod request;
mod settle;
mod shares;
mod shutdown;
mod state;
mod stuck;
mod submit;
mod sync;
mod thread_pool;
mod thread_pool_builder;
mod threads;
mod timekeeping;
mod waker;
mod work;

pub use accelerator::{Accelerator, Capabilities, DeviceRefused, Health, RoomNotice};
pub use breaker::{BreakerOpens, BreakerPolicy, BreakerState, FailedShare};
pub use builder::{CheckPolicy, EngineBuilder};
pub use clock::{Clock, MonotonicClock};
pub use complaints::LogLimit;
pub use driver::{Driver, DriverError};
pub use engine::Engine;
pub use error::{DeviceError, EngineError, Refused, RefusedReason};
pub use histogram::HistogramSnapshot;
pub use inline::Inline;
pub use meter::EngineStats;
pub use options::{Fallback, Offload, OnFull, RequestOptions};
pub use pending::Pending;
pub use request::Request;
pub use thread_pool::ThreadPool;
pub use thread_pool_builder::ThreadPoolBuilder;
pub use threads::{
    BlockingScope, HomeProcess, MADE_ELSEWHERE, OwnedThreads, Shutdown, ShuttingDown,
    threads_ending,
};
pub use wait_ctx::Gauge;
#[doc(hidden)]
pub use wait_ctx::LiveGauge;
/// For devices: run their users' code as the engine does.
pub use wait_ctx::{Panicked, contain, contain_drop};
pub use work::{CheckFailed, Kind, RequestId, Work};
