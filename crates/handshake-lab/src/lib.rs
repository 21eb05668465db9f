//! Real handshakes through the whole stack.

// Not `forbid`: with the feature `bench`, one module calls the C library that it measures.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod scenario;

pub mod certs;
pub mod keys;
pub mod load;
pub mod server;

pub mod run;
pub mod serve;

pub mod report;

pub mod plant;

#[cfg(feature = "bench")]
mod bench;

pub mod cli;

mod cpu;
