//! The TLS session shim against plain rustls peers, over an in-memory transport and a device that answers on command.

mod accept;
mod faults;
mod handshake;
mod manual_page;
mod model;
mod parked;
mod support;
