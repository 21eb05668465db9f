//! The waiting half of a request.

use core::fmt;
use std::sync::Arc;

use job_core::Pause;
use wait_ctx::Arm;

use crate::error::{DeviceError, EngineError};
use crate::plant::{self, Bug};
use crate::request::{Cell, RequestId};
use crate::work::{Kind, Work};

/// A request in flight, seen by whoever waits for it. Dropping it gives the request up.
#[must_use = "dropping a pending request cancels it"]
pub struct Pending<W: Work> {
    /// `None` once the result is taken.
    cell: Option<Arc<Cell<W>>>,
}

impl<W: Work> Pending<W> {
    pub(crate) fn new(cell: Arc<Cell<W>>) -> Self {
        Self { cell: Some(cell) }
    }

    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.cell().id
    }

    /// The request's kind.
    pub fn kind(&self) -> Kind {
        self.cell().kind
    }

    /// Waits for the result: pauses the current job, or blocks the thread where pausing is refused (law L11).
    ///
    /// Extra resumes of the job change nothing (law L2).
    ///
    /// # Errors
    ///
    /// Any [`EngineError`]; [`EngineError::Cancelled`] if the job was cancelled while it waited.
    pub fn wait(mut self) -> Result<W::Output, EngineError> {
        let cell = Arc::clone(self.cell());
        let waited = if may_pause() { self.park(&cell) } else { block(&cell) };
        waited?;
        let result = cell.collect();
        self.cell = None;
        result.unwrap_or(Err(EngineError::Cancelled))
    }

    fn park(&self, cell: &Cell<W>) -> Result<(), EngineError> {
        // From `arm` on, a completion wakes; one that came before is seen here and wakes nobody (laws L3, L4).
        while let Arm::Armed = cell.in_flight.arm() {
            tracing::trace!(request = cell.id.as_u64(), kind = cell.kind.name(), "request.park");
            match job_core::pause() {
                Pause::Resumed => {
                    drain_own_fd();
                    cell.meter().count(|c| &c.resumes);
                    if !cell.is_settled() {
                        cell.meter().count(|c| &c.spurious_resumes);
                        if plant::armed(Bug::TrustWake) {
                            return Err(EngineError::Device(DeviceError::Failed("trusted a wake")));
                        }
                    }
                }
                Pause::Cancelled => return Err(EngineError::Cancelled),
                // Pausing is refused after all; the thread has to wait itself (law L11).
                _ => return block(cell),
            }
        }
        Ok(())
    }

    pub(crate) fn cell(&self) -> &Arc<Cell<W>> {
        self.cell.as_ref().expect("a pending request has its cell until its result is taken")
    }

    pub(crate) fn finish(&mut self) {
        self.cell = None;
    }
}

impl<W: Work> Drop for Pending<W> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            cell.abandon();
        }
    }
}

impl<W: Work> fmt::Debug for Pending<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id()).field("kind", &self.kind()).finish()
    }
}

/// Whether [`job_core::pause`] would pause. Asked first, so that a request whose thread blocks is never armed and
/// wakes nobody else.
fn may_pause() -> bool {
    !std::thread::panicking() && job_core::current().is_some_and(|job| !job.is_blocked())
}

fn block<W: Work>(cell: &Cell<W>) -> Result<(), EngineError> {
    cell.meter().count(|c| &c.blocking_waits);
    while !cell.is_settled() {
        match cell.core.upgrade() {
            Some(core) if core.needs_poll() => {
                // Nobody else may be polling: the waiting thread does.
                let next = core.poll();
                let timeout = next.map(|at| at.saturating_sub(cell.meter().now()));
                drop(core);
                if !cell.is_settled() {
                    cell.block(timeout);
                }
            }
            _ => cell.block(None),
        }
    }
    Ok(())
}

/// A wake by the session's own descriptor leaves it readable; after the resume it must not be.
fn drain_own_fd() {
    if let Some(ctx) = job_core::current().and_then(|job| job.wait_ctx()) {
        ctx.drain_notify();
    }
}
