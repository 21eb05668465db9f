//! One request: the half that travels to the device. What it shares with the half that waits is in
//! [`cell`](crate::cell).

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::cell::Cell;
use crate::error::{DeviceError, EngineError};
use crate::foreign::Foreign;
use crate::lane::Role;
use crate::work::{Kind, Work};

/// The number of a request, unique within its engine. The field `request` of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

impl RequestId {
    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request on its way to a device and back. Owns the [`Work`].
///
/// Dropping it without [`complete`](Self::complete) completes it with [`DeviceError::Lost`], or with
/// [`EngineError::Gone`] if the engine was dropped.
pub struct Request<W: Work> {
    /// `None` only once completed.
    work: Option<Foreign<W>>,
    cell: Arc<Cell<W>>,
    /// For which of the engine's devices it was made. An operation that falls back has a second request.
    role: Role,
    /// Whether the answer is checked.
    check: bool,
}

impl<W: Work> Request<W> {
    pub(crate) fn new(work: Foreign<W>, cell: Arc<Cell<W>>, role: Role, check: bool) -> Self {
        Self { work: Some(work), cell, role, check }
    }

    /// What the device is to do.
    pub fn work(&self) -> &W {
        self.work.as_ref().expect("a request owns its work until it is completed")
    }

    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.cell.id
    }

    /// The request's kind.
    pub fn kind(&self) -> Kind {
        self.cell.kind
    }

    /// Says that work on it begins now: until here it waited, in the device too. Tells
    /// [`queue_wait`](crate::EngineStats::queue_wait) from [`device_time`](crate::EngineStats::device_time); a device
    /// that does not call it counts as working from the submission on.
    pub fn begin(&self) {
        self.begun_before(Duration::ZERO);
    }

    /// As [`begin`](Self::begin), for a device that learns only later that work began so long ago.
    pub fn begun_before(&self, now: Duration) {
        self.cell.stamp_begun(now);
    }

    /// Whether nobody waits for the result any more. A device may drop such a request instead of computing it.
    pub fn is_abandoned(&self) -> bool {
        self.cell.is_settled()
    }

    /// Ends the request with the device's answer: checks it, hands it over, wakes whoever waits, and lets the engine
    /// submit the next waiting request.
    ///
    /// Call it without holding a lock that [`Accelerator::submit`](crate::Accelerator::submit) takes.
    pub fn complete(mut self, answer: Result<W::Output, DeviceError>) {
        if let Some(work) = self.work.take() {
            self.cell.settle(self.role, self.check, work, answer.map_err(EngineError::Device));
        }
    }

    /// Takes back a request that never reached a device.
    pub(crate) fn into_work(mut self) -> Option<Foreign<W>> {
        self.work.take()
    }

    pub(crate) fn cell(&self) -> &Cell<W> {
        &self.cell
    }

    pub(crate) fn shared_cell(&self) -> &Arc<Cell<W>> {
        &self.cell
    }
}

impl<W: Work> Drop for Request<W> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let gone = self.cell.core.strong_count() == 0;
            let error =
                if gone { EngineError::Gone } else { EngineError::Device(DeviceError::Lost) };
            self.cell.settle(self.role, self.check, work, Err(error));
        }
    }
}

impl<W: Work> fmt::Debug for Request<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.cell.id)
            .field("kind", &self.cell.kind)
            .finish_non_exhaustive()
    }
}
