//! Sessions against any bytes of the peer, interleaved with pauses and other events: one function, [`drive`], for property
//! tests here and for libFuzzer in `tests/fuzz`.
//!
//! ```text
//!   bytes --> Program: setup, then pieces of what the peer sends and events --> drive --> Seen, or a panic
//!               ^
//!   seeds/: recorded handshakes of a real peer
//! ```
//!
//! Records are in the clear and keys are constants ([`clear`]), so that a recording can be replayed, and a modified one is
//! processed instead of being refused by a cipher.

mod clear;
mod drive;
mod gates;
mod line;
mod program;
mod world;

#[cfg(test)]
#[allow(dead_code, reason = "the tests of tasks use the rest")]
mod closing;
#[cfg(test)]
mod closing_sessions;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod tests;

pub(crate) use drive::drive;
