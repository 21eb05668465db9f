//! A device that computes on the calling thread.

use core::fmt;
use core::time::Duration;

use wait_ctx::contain;

use crate::accelerator::{Accelerator, DeviceRefused};
use crate::error::DeviceError;
use crate::request::Request;
use crate::threads::Shutdown;
use crate::work::Work;

/// A closure as an [`Accelerator`]: each request is computed before `submit` returns, on the thread that submits; if a
/// job submits, on the stack of that thread. For a software key as the standby, and for an engine where there is no
/// device.
///
/// A panic in the closure is logged, and reported as [`DeviceError::Failed`]. The crate's page has an
/// [example](crate#deadlines-fallback-and-the-breaker).
pub struct Inline<F> {
    compute: F,
}

impl<F> Inline<F> {
    /// A device that carries out work by calling `compute`.
    pub const fn new(compute: F) -> Self {
        Self { compute }
    }
}

impl<W, F> Accelerator<W> for Inline<F>
where
    W: Work,
    F: Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync,
{
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        carry_out(&mut |work| (self.compute)(work), request);
        Ok(())
    }

    /// It has no threads of its own.
    fn end(&self, _: Duration) -> Option<Shutdown> {
        Some(Shutdown::Drained)
    }
}

impl<F> fmt::Debug for Inline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inline")
    }
}

/// Computes and completes a request, unless it was cancelled or settled before.
pub(crate) fn carry_out<W: Work>(
    compute: &mut dyn FnMut(&W) -> Result<W::Output, DeviceError>,
    request: Request<W>,
) {
    if request.is_abandoned() {
        return;
    }
    request.begin();
    let answer = contain("the computation", || compute(request.work()));
    request.complete(answer.unwrap_or(Err(DeviceError::Failed("the computation panicked"))));
}
