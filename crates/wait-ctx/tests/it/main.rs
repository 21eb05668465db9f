//! Tests of the public interface, a file per behaviour.

mod callbacks;
mod contain;
mod differential;
mod fds;
#[cfg(feature = "proptest")]
mod gated;
#[cfg(feature = "proptest")]
mod kit;
mod libcrypto;
#[cfg(feature = "proptest")]
mod machine;
#[cfg(feature = "mio")]
mod mio_registry;
#[cfg(feature = "proptest")]
mod toy;
mod wakes;
