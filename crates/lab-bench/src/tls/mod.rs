//! What a parked handshake costs, and one that nothing parks: CPU time, instructions and memory, each beside plain rustls with a signature for free.
//!
//! Both sides run in this process over a wire in memory. The clients' share is measured and taken off, or they are not
//! there at all; what is left is the server's. Ours is a session on a fiber, or one that is parked by replay (`.replay` in
//! the name). Unless a name says otherwise: TLS 1.3, P-256, X25519, default checks, no
//! resumption.

mod cpu;
mod instructions;
mod memory;
mod million;
mod party;
mod unparked;

pub(crate) use cpu::cpu_vs_free_sign;
pub(crate) use instructions::{added_instructions, child as instructions_child};
pub(crate) use memory::{child as memory_child, paused_bytes};
pub(crate) use million::{child as million_child, million_parked};
pub(crate) use party::{Client, Plain, Server, Stood, Wire};
pub(crate) use unparked::unparked;
