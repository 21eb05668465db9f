//! Peers, devices and transports shared by the tests.

mod clock;
mod device;
mod peer;
mod pipe;

pub(crate) use clock::{TestClock, turn};
pub(crate) use device::ManualDevice;
pub(crate) use peer::{
    Fixture, Identity, KeyType, PlainPeer, Version, client_config, exchange_data, fixture,
    localhost, provider, server_config, shake,
};
pub(crate) use pipe::{Pipe, pipe};
