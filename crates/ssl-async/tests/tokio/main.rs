//! The futures and streams for tokio, on both of its runtimes, over an in-memory transport and a device that answers on
//! command.

mod bounds;
mod closing;
mod endings;
mod extremes;
mod faults;
mod handshake;
mod hyper;
mod last_words;
mod runtimes;
mod signers;
mod stacks;
mod stock;
mod stream;

#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests of sessions, which use all of it"
)]
#[path = "../it/support/mod.rs"]
mod support;
mod tonic;
mod world;

/// The model of a peer that closes, shared with the tests of sessions.
#[allow(dead_code, reason = "shared with the tests of sessions, which use all of it")]
#[path = "../it/peer_bytes"]
mod peer_bytes {
    pub(crate) mod clear;
    pub(crate) mod closing;
    pub(crate) mod gates;
    pub(crate) mod program;
    pub(crate) mod world;
}
