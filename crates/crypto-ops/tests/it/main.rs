//! The operations as an engine sees them.

mod keys;
mod signatures;
