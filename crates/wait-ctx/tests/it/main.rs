//! Tests of the public interface, a file per behaviour.

mod differential;
mod libcrypto;
mod wakes;
