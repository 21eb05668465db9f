//! Real handshakes through the whole stack.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod scenario;

pub mod certs;
pub mod keys;
pub mod load;
pub mod server;

pub mod run;
pub mod serve;
pub mod stepped;

pub mod report;

pub mod plant;

pub mod cli;

mod cpu;
