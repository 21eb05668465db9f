//! Tests with real modules: SoftHSM, p11-kit between it and us, and others where they are. Each runs in a process of its own.

mod crowd;
mod example;
mod faults;
mod handshakes;
mod log;
mod modules;
mod owners;
mod proxy;
mod shim;
mod tpm;
mod world;
