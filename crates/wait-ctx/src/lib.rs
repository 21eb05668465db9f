//! The wait context of an asynchronous TLS session: how a session that waits for an engine is woken.
//!
//! It is what OpenSSL calls `ASYNC_WAIT_CTX`: wait descriptors, a completion callback and a status. It contains no
//! fibers, jobs or TLS, and computes nothing. The *engine* is the code that submits an operation and returns its result,
//! the *device* the hardware or thread that computes it.
//!
//! ```text
//!        the session's thread                                     any thread
//!  +--------------------------------+              +-------------------------------------+
//!  | WaitCtx   (owner half, !Send)  |              |  the device completes               |
//!  |   descriptors, callback, lease |              |    claim(outcome)   one claim wins  |
//!  |      |                         |   InFlight   |    store the result                 |
//!  |   Notifier --- begin() --------+------------->|    wake()                           |
//!  |   (waker half, Send + Sync)    |              +------------------+------------------+
//!  +------^-------------------------+                                 |
//!         |                        one route per wake                 |
//!         +--- callback, else own descriptor, else ready queue <------+
//! ```
//!
//! A session's job begins a request, submits it to the device, [arms](InFlight::arm) it and pauses. The device completes
//! the request and wakes the session. One atomic word decides every race in between: a completion that comes first, twice,
//! late, on another thread, or after the session was dropped.
//!
//! # Example
//! ```
//! use std::sync::{Arc, Mutex};
//! use wait_ctx::{Arm, Ending, ReadyQueue, RequestPhase, Route, Status, Token, WaitCtx};
//!
//! # fn main() -> std::io::Result<()> {
//! // Once per serving thread; once per session.
//! let mut queue = ReadyQueue::new()?;
//! let ctx = WaitCtx::new();
//! ctx.notifier().set_route(Route::Ready(queue.sender(), Token(42)));
//!
//! // The job: begin, submit, arm, pause.
//! let result = Arc::new(Mutex::new(None));
//! let request = ctx.notifier().begin().expect("one request at a time");
//! let device = std::thread::spawn({
//!     let (request, result) = (request.clone(), Arc::clone(&result));
//!     move || {
//!         if let Some(claim) = request.claim(Ending::Done) {
//!             *result.lock().unwrap() = Some("signature");
//!             claim.wake();
//!         }
//!     }
//! });
//! request.accept();
//! assert_eq!(ctx.status(), Status::Ok);
//!
//! // Meanwhile the event loop sleeps on `queue`. If the device was faster, `arm` says so and no wake comes.
//! let mut ready = Vec::new();
//! if request.arm() == Arm::Armed {
//!     while ready.is_empty() {
//!         if queue.prepare_sleep() {
//!             // Call poll(2) here, with `queue` among the descriptors.
//! #           while !device.is_finished() { std::thread::yield_now() }
//!         }
//!         queue.awake();
//!         queue.drain(&mut ready);
//!     }
//!     assert_eq!(ready, [Token(42)]);
//! }
//! assert_eq!(request.phase(), RequestPhase::Done);
//! assert_eq!(result.lock().unwrap().take(), Some("signature"));
//! # device.join().unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # Wakes
//! A wake is a hint: a session that is resumed looks at its request, and resuming without a wake changes nothing. A
//! completion wakes its session exactly once if the job had armed the request, and not at all otherwise: then
//! [`arm`](InFlight::arm) returns the outcome. An engine that queues requests for a full device wakes nothing when the
//! device takes one; an engine that lets the session submit again calls [`notify_retry`](InFlight::notify_retry).
//!
//! OpenSSL's manual pages contradict each other here: one says that no callback follows the status `EAGAIN`, the other
//! that a retry sets that status *and* calls back. Here the engine chooses: the callback is called for a retry only by
//! `notify_retry`, and it sees [`Status::Again`] while it runs.
//!
//! # Where a wake goes
//! A wake takes exactly one route: the [callback](WaitCtx::set_callback) if there is one, else the session's own descriptor
//! if [`notify_fd`](WaitCtx::notify_fd) was ever called, else the [`Route`]. With none of them the application polls by
//! calling again, and the wake is kept for the next route that is added: a callback may be set while the session is paused.
//!
//! # Threads, panics, drop
//! [`WaitCtx`] belongs to one thread. [`Notifier`], [`InFlight`] and [`ReadySender`] are `Send` and `Sync`. A callback runs
//! on the thread that completes the request, with no lock held, and not on the stack of a job; panics in a callback or a
//! waker, or in the drop of either, are [contained](contain) and counted. After
//! [`unset_callback`](WaitCtx::unset_callback), [`cancel`](InFlight::cancel) or the drop of the session no call *begins*; a
//! call that has begun may still run, and [`unset_and_wait`](WaitCtx::unset_and_wait) waits for it. Dropping the last
//! [`WaitCtx`] cancels the request and runs the cleanups of the registered descriptors, newest first.
//!
//! # Descriptors
//! An engine registers descriptors under a [`Key`] of its own. Each consumer (an event loop, say) keeps what it has
//! [`Seen`] and gets the net difference. An owned descriptor stays open until every consumer that got it has also got and
//! dropped its removal, so a reused number is never taken for the old descriptor.
//!
//! # Features
//! - `mio`: `MioFds`, which keeps a mio registry in step with a context.
//! - `proptest`: the module `testing`, property tests for any engine.
//! - `plant`: deliberate bugs, to test the checks of this workspace. Not for production.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(not(unix))]
compile_error!(
    "wait-ctx needs descriptors that can be polled: Linux, macOS and other Unix systems only"
);

mod sync;

mod contain;
mod signal;

mod callback;
mod ready;
mod request;
mod routes;
mod word;

#[cfg(feature = "proptest")]
mod interrupt;
mod notifier;

mod fd_handle;
mod fds;
mod few;
mod gauge;
mod openssl_view;
mod seen;

mod ctx;

#[cfg(feature = "mio")]
mod mio_fds;

#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;

#[cfg(feature = "proptest")]
pub mod testing;

#[cfg(all(test, loom))]
mod loom_models;

pub use callback::{Callback, CallbackArg, InsideCallback, Notification, Reason};
pub use contain::{Panicked, contain, contain_drop, set_stack_switch};
pub use ctx::{Lease, WaitCtx, WaitCtxBusy};
pub use fd_handle::{FdHandle, open_fds};
pub use fds::{Key, KeyInUse, Teardown, WaitFd};
pub use gauge::Gauge;
#[doc(hidden)]
pub use gauge::LiveGauge;
#[cfg(feature = "mio")]
pub use mio_fds::MioFds;
pub use notifier::{Arm, Claim, InFlight, Notifier, RequestLive};
pub use openssl_view::{OpenSslChanges, OpenSslView};
pub use ready::{ReadyQueue, ReadySender, Token};
pub use request::{Ending, RequestPhase, Status};
pub use routes::{NotifierCounters, Route};
pub use seen::{FdDiff, FdList, Seen};
