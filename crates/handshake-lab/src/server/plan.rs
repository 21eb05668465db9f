//! What a server is started with.

use std::sync::Arc;

use ssl_async::SslContext;

use super::{
    limits::Limits,
    service::{Collect, Service},
};
use crate::scenario::Wake;

#[derive(Debug)]
pub struct ServerPlan {
    /// Event loops.
    pub workers: usize,
    /// How a completion reaches the event loop.
    pub wake: Wake,
    /// The configuration and mode of its sessions.
    pub context: SslContext,
    pub service: Service,
    /// Every n-th session that parks is resumed once more without a wake, to show that it does no harm (law L2).
    pub unprompted_every: Option<u64>,
    /// Collects the answers of a device that does not interrupt.
    pub collector: Option<Arc<dyn Collect>>,
    /// How long sessions may wait for their peers.
    pub limits: Limits,
}
