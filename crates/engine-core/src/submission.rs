//! A request as a future.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use wait_ctx::{Arm, Route};

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
        let cell = self.pending.cell();
        // The waker first: from `arm` on, a completion on another thread uses it.
        cell.in_flight.notifier().set_route(Route::Waker(cx.waker().clone()));
        if let Arm::Armed = cell.in_flight.arm() {
            return Poll::Pending;
        }
        let result = cell.collect();
        self.pending.finish();
        Poll::Ready(result.unwrap_or(Err(EngineError::Cancelled)))
    }
}
