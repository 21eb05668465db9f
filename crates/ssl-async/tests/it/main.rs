//! The TLS session shim against plain rustls peers, over an in-memory transport and a device that answers on command.

mod accept;
mod any_key;
mod callback_matrix;
mod closing;
mod early_data;
mod exchange;
mod failure_alert;
mod faults;
mod full_duplex;
mod gather;
mod handshake;
mod hooks;
mod key_pool;
mod manual_page;
mod model;
mod openings;
mod own_descriptor;
mod parked;
mod pause_points;
mod peer_bytes;
mod protocol;
mod replay;
mod self_test;
mod support;
mod tickets;
mod transport;
