//! Handshakes in memory, by replay and by plain rustls.

mod fixed;
mod handshakes;
mod invisible;
mod law;
mod postponed;
mod refused;
mod world;
