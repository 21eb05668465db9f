//! The deadline of a handshake.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::future::Future;

use tokio::runtime::Handle;
use tokio::time::Sleep;

/// The default deadline of a handshake. A client that loses a few packets is done in ten seconds; a minute is customary in
/// servers.
pub(crate) const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// A deadline that begins with its first poll, because its timer needs a runtime.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready with `limit` when it has passed. Never ready without a limit, or outside a tokio runtime, where there is no timer.
    pub(crate) fn poll(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = limit else { return Poll::Pending };
        if self.0.is_none() && Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(cx).map(|()| limit)
    }
}
