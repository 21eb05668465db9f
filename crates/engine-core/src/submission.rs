//! A request as a future.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use wait_ctx::Route;

use crate::error::EngineError;
use crate::pending::Pending;
use crate::work::Work;

/// A request in flight, to be awaited. Made by [`Engine::submit`](crate::Engine::submit); dropping it gives the
/// request up.
///
/// # Panics
///
/// Polling it again after it has yielded its result panics.
#[derive(Debug)]
pub struct Submission<W: Work> {
    pending: Pending<W>,
}

impl<W: Work> Submission<W> {
    pub(crate) fn new(pending: Pending<W>) -> Self {
        Self { pending }
    }
}

impl<W: Work> Future for Submission<W> {
    type Output = Result<W::Output, EngineError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The waker first: once armed, a completion on another thread uses it.
        let notifier = self.pending.cell().in_flight.notifier();
        notifier.set_route(Route::Waker(cx.waker().clone()));
        self.pending.poll_result()
    }
}

/// Nothing in it is ever pinned.
impl<W: Work> Unpin for Submission<W> {}

impl<W: Work> Drop for Submission<W> {
    /// Lets go of the task at once; the device may hold the request for long.
    fn drop(&mut self) {
        self.pending.clear_route();
    }
}
