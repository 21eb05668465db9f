//! Tests with real modules: SoftHSM, and p11-kit between it and us. Each runs in a process of its own.

mod crowd;
mod example;
mod faults;
mod handshakes;
mod log;
mod proxy;
mod shim;
mod world;
