//! Handshakes in memory, by replay and by plain rustls.

mod case;
#[cfg(feature = "engine")]
mod engine;
mod fixed;
mod handshakes;
mod hello_bytes;
mod hellos;
mod invisible;
mod keys;
mod law;
mod pinned;
mod postponed;
mod recording;
mod refused;
mod servers;
mod world;
