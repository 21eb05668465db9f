//! Everything that depends on the version of rustls: 0.23. Knows no session, transport or context.
//!
//! ```text
//!   process ---> failure_alert ---> connection       processing of packets
//!   hello -----> failure_alert                       a hello before there is a configuration
//!   replay ----> failure_alert, postponed            handshakes parked without a fiber
//!   key_exchange, sign, signing_key, key_pool, slow_key, ticketer, resolve ---> postponed, on_thread
//!   verify ----> on_thread
//!   sign, signing_key, ticketer, awaiting ---> at_once
//! ```
//!
//! What rustls 0.24 changes, as far as its development versions show: `Signer::sign` consumes the signer;
//! `SigningKey::algorithm` goes and `public_key` becomes mandatory; records are processed as
//! `process_new_packets(&mut input, &mut plaintext)`; providers are crates of their own. Each of these touches this
//! module only.

pub(crate) mod at_once;
mod awaiting;
mod cert_store;
mod connection;
mod engine_error;
mod failure_alert;
mod gather;
mod hello;
pub(crate) mod key_exchange;
mod key_pool;
mod key_pool_builder;
mod no_certificate;
pub(crate) mod on_thread;
pub(crate) mod openings;
mod postponed;
mod process;
pub(crate) mod public_key;
mod replay;
pub(crate) mod resolve;
mod rsa_power;
mod self_test;
pub(crate) mod sign;
mod sign_error;
mod signature_fault;
pub(crate) mod signing_key;
mod slow_key;
pub(crate) mod ticketer;
pub(crate) mod verify;

pub use cert_store::{CertSet, CertSetError, CertStore};
pub(crate) use connection::{Broken, FinalOutput, Processed, Returned, Tls};
pub(crate) use engine_error::unwrap;
pub(crate) use hello::{Hello, HelloReader};
pub(crate) use key_exchange::KeyExchange;
pub use key_pool::{KeyPool, SlowKey};
pub use key_pool_builder::KeyPoolBuilder;
pub use replay::replayable;
pub(crate) use replay::{Established, Replay, Replayed};
pub use rustls::Error as TlsError;
pub(crate) use rustls::pki_types::ServerName;
pub(crate) use rustls::server::ClientHello;
pub(crate) use rustls::{ClientConfig, Connection, ServerConfig};
pub use self_test::{SchemeFault, SelfTest};
pub use sign_error::SignError;
pub use signature_fault::SignatureFault;
pub use slow_key::{SlowKeyBuilder, SlowKeyError};
pub(crate) use tls_replay::ReplayConfig;
