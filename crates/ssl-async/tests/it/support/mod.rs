//! What the tests share.

mod device;
mod peer;
mod pipe;

pub(crate) use device::ManualDevice;
pub(crate) use peer::{Fixture, KeyType, PlainClient, fixture};
pub(crate) use pipe::{Pipe, pipe};
