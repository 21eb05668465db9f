//! Real handshakes through the whole stack.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod certs;
pub mod report;
pub mod scenario;
