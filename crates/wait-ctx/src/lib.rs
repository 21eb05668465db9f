//! The wait context of an asynchronous TLS session: wait descriptors, completion callback, engine status.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod sync;

mod request;

mod word;

mod ledger;

mod signal;

mod ready;

mod callback;

mod notifier;

mod inflight;

mod fds;

mod ctx;

mod openssl_view;

#[cfg(feature = "proptest")]
pub mod testing;

#[cfg(all(test, loom))]
mod loom_models;

pub use callback::{Callback, CallbackArg, InsideCallback, Notification, Reason};
pub use ctx::{Lease, Teardown, WaitCtx, WaitCtxBusy};
pub use fds::{Cleanup, FdDiff, FdHandle, Key, KeyInUse, Seen, WaitFd};
pub use inflight::{Arm, Claim, InFlight};
pub use ledger::{Gauge, fds_gauge};
pub use notifier::{Notifier, NotifierCounters, RequestLive, Route};
pub use openssl_view::{OpenSslChanges, OpenSslView};
pub use ready::{ReadyQueue, ReadySender, Token};
pub use request::{
    IllegalTransition, Outcome, RequestEvent, RequestState, Status, UnknownStatus, transition,
};
