//! The TLS session shim against plain rustls peers, over an in-memory transport and a device that answers on command.

mod faults;
mod handshake;
mod support;
