//! Tests of the public interface, a file per behaviour.

mod differential;
#[cfg(feature = "proptest")]
mod kit;
mod libcrypto;
#[cfg(feature = "proptest")]
mod toy;
mod wakes;
