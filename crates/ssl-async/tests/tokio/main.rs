//! The futures and streams for tokio, on both of its runtimes, over an in-memory transport and a device that answers on
//! command.

mod bounds;
mod extremes;
mod faults;
mod handshake;
mod hyper;
mod last_words;
mod signers;
mod stacks;
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
