//! The wait context of an asynchronous TLS session: how a session that waits for an engine learns that it may go on.
//!
//! It is what OpenSSL calls `ASYNC_WAIT_CTX`: wait descriptors, a completion callback and a status. It knows nothing of
//! fibers, jobs or TLS, and it computes nothing. Whoever runs the operation is called the *engine*, whatever computes it
//! the *device*.
//!
//! ```text
//!        the session's thread                                     any thread
//!  +--------------------------------+              +-------------------------------------+
//!  | WaitCtx   (owner half, !Send)  |              |  the device completes               |
//!  |   descriptors, callback, lease |              |    claim(outcome)   one of all wins |
//!  |      |                         |   InFlight   |    store the result                 |
//!  |   Notifier --- begin() --------+------------->|    wake()                           |
//!  |   (waker half, Send + Sync)    |              +------------------+------------------+
//!  +------^-------------------------+                                 |
//!         |                        one route per wake                 |
//!         +--- callback, else own descriptor, else ready queue <------+
//! ```
//!
//! A session's job begins a request, hands it to the device, [arms](InFlight::arm) it and pauses. The device completes it
//! and wakes the session. Everything that can go wrong in between (the completion comes first, twice, late, on another
//! thread, after the session is gone) is decided by one atomic word.
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
//! // The event loop sleeps on `queue` in the meantime. Were the device faster, there would be no wake and no need.
//! let mut ready = Vec::new();
//! if request.arm() == Arm::Armed {
//!     while ready.is_empty() {
//!         if queue.prepare_sleep() {
//!             // Here poll(2), with `queue` among the descriptors. The example waits for the device instead.
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
//! A wake is a hint; the request is the truth. Resuming without one changes nothing. A completion wakes its session exactly
//! once if the job had armed the request, and not at all otherwise: then [`arm`](InFlight::arm) says so. A device that was
//! full gives no wake when it takes the request from the engine's queue; an engine that wants the session to submit again
//! calls [`notify_retry`](InFlight::notify_retry).
//!
//! Two of OpenSSL's manual pages contradict each other there: one says that with the status `EAGAIN` no callback is to be
//! expected, the other that a retry sets that status *and* calls back. Here both are right, each for its policy. The callback
//! is called for a retry only by an engine that chose to, and it sees [`Status::Again`] while it runs.
//!
//! # Where a wake goes
//! To exactly one place: the [callback](WaitCtx::set_callback) if there is one, else the session's own descriptor if
//! [`notify_fd`](WaitCtx::notify_fd) was ever called, else the [`Route`]. With none of them the application polls by calling
//! again. The wake is then kept for a route that is added later, so that setting a callback while paused is never too late.
//!
//! # Threads, panics, drop
//! [`WaitCtx`] belongs to one thread. [`Notifier`], [`InFlight`] and [`ReadySender`] go anywhere. A callback runs on the
//! thread that completes the request, with no lock held, and not on the stack of a job; a panic in it is
//! [contained](contain) and counted, as are panics of wakers, and in the drop of either. After
//! [`unset_callback`](WaitCtx::unset_callback), [`cancel`](InFlight::cancel) or the drop of the session no call *begins*;
//! one that had begun may still be running, and [`unset_and_wait`](WaitCtx::unset_and_wait) waits for it. A call has begun
//! once its wake has taken the armed bit, and the callback from its place. Dropping the last [`WaitCtx`] cancels the request
//! and runs the cleanups of the registered descriptors, newest first.
//!
//! # Descriptors
//! Engines register theirs under a [`Key`] of their own. Each consumer keeps what it has [`Seen`] and is told the net
//! difference. An owned descriptor stays open until every consumer that was told of it has been told that it is gone, and
//! has dropped that news; so a reused number is never taken for the old descriptor.
//!
//! # Features
//! - `mio`: `MioFds`, which keeps a mio registry in step with a context.
//! - `proptest`: the module `testing`, which property-tests anybody's engine.
//! - `plant`: bugs planted on purpose, to show that the laws are checked. For tests of this system only.
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

mod notifier;

mod fd_handle;
mod fds;
mod few;
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
pub use fd_handle::{FdHandle, OpenFds, open_fds};
pub use fds::{Key, KeyInUse, Teardown, WaitFd};
#[cfg(feature = "mio")]
pub use mio_fds::MioFds;
pub use notifier::{Arm, Claim, InFlight, Notifier, RequestLive};
pub use openssl_view::{OpenSslChanges, OpenSslView};
pub use ready::{ReadyQueue, ReadySender, Token};
pub use request::{Ending, RequestPhase, Status};
pub use routes::{NotifierCounters, Route};
pub use seen::{FdDiff, FdList, Seen};
