//! Tests of `ssl_async::task` on both runtimes of tokio, mostly over in-memory transports and with a device that answers
//! on command.

mod blocked_writer;
mod bounds;
mod closing;
mod closing_model;
mod endings;
mod extremes;
mod faults;
mod handshake;
mod hooks;
mod hyper;
mod last_words;
mod never;
mod replay;
mod runtimes;
mod signers;
mod stacks;
mod stock;
mod stream;
mod task_device;

#[allow(dead_code, unused_imports, reason = "shared with `tests/it`, which uses all of it")]
#[path = "../it/support/mod.rs"]
mod support;
mod tonic;
mod world;

/// The model of a peer that closes, shared with `tests/it`.
#[allow(dead_code, reason = "shared with `tests/it`, which uses all of it")]
#[path = "../it/peer_bytes"]
mod peer_bytes {
    pub(crate) mod clear;
    pub(crate) mod closing;
    pub(crate) mod gates;
    pub(crate) mod program;
    pub(crate) mod world;
}
