//! The runtime of the servers on tokio.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Tasks that are polled before the runtime looks for events and timers. Its default is 61, with which a heartbeat on a full
/// runtime is some 10 ms late; 4 costs nothing that can be measured.
pub(crate) const EVENT_INTERVAL: u32 = 4;

/// A runtime of one thread.
///
/// # Errors
///
/// The system's.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()
}
