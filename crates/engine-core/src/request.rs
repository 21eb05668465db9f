//! The device's half of a request: it owns the work, and gives it back to the engine with an answer.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Weak};

use crate::error::{DeviceError, EngineError};
use crate::foreign::Foreign;
use crate::state::{Answer, RequestState};
use crate::work::{Kind, RequestId, Role, Work};

/// A request on its way to a device and back. Owns the [`Work`].
///
/// Dropping it without [`complete`](Self::complete) completes it with [`DeviceError::Lost`], or with
/// [`EngineError::Gone`] if the engine was dropped.
pub struct Request<W: Work> {
    /// `None` only once completed.
    pub(crate) work: Option<Foreign<W>>,
    pub(crate) state: Arc<RequestState<W>>,
    /// Weak: a device that the engine owns holds requests.
    pub(crate) engine: Weak<dyn Settle<W>>,
    /// The device it was made for. An operation that falls back has a second request.
    pub(crate) role: Role,
    /// Whether the answer is checked.
    pub(crate) check: bool,
}

/// The engine of a request, which settles it when its device answers.
pub(crate) trait Settle<W: Work>: Send + Sync {
    fn settle(&self, state: &Arc<RequestState<W>>, answer: Answer<W>);
}

impl<W: Work> Request<W> {
    /// What the device is to do.
    pub fn work(&self) -> &W {
        self.work.as_ref().expect("a request owns its work until it is completed")
    }

    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.state.id
    }

    /// The request's kind.
    pub fn kind(&self) -> Kind {
        self.state.kind
    }

    /// Records that the device begins to work on it now: until here it waited, in the device too. Tells
    /// [`queue_wait`](crate::EngineStats::queue_wait) from [`device_time`](crate::EngineStats::device_time); without this
    /// call the device counts as working from the submission on.
    pub fn begin(&self) {
        self.begun_before(Duration::ZERO);
    }

    /// As [`begin`](Self::begin), for a device that learns only after `elapsed` that work has begun.
    pub fn begun_before(&self, elapsed: Duration) {
        self.state.stamp_begun(elapsed);
    }

    /// Whether the request is settled or cancelled, so that its answer would be dropped. A device may drop such a
    /// request instead of computing it.
    pub fn is_abandoned(&self) -> bool {
        self.state.is_settled()
    }

    /// Ends the request with the device's answer: checks it, stores it, wakes the caller, and lets the engine submit the
    /// next waiting request.
    ///
    /// Call it without holding a lock that [`Accelerator::submit`](crate::Accelerator::submit) takes.
    pub fn complete(mut self, answer: Result<W::Output, DeviceError>) {
        if let Some(work) = self.work.take() {
            self.give_back(work, answer.map_err(EngineError::Device));
        }
    }

    #[inline]
    fn give_back(&self, work: Foreign<W>, result: Result<W::Output, EngineError>) {
        let answer = Answer { work, role: self.role, check: self.check, result };
        match self.engine.upgrade() {
            Some(engine) => engine.settle(&self.state, answer),
            None => {
                if let Some(answer) = self.state.judge(answer) {
                    self.state.settle(None, answer.result, || ());
                }
            }
        }
    }

    /// Takes back the work of a request that never reached a device.
    pub(crate) fn into_work(mut self) -> Option<Foreign<W>> {
        self.work.take()
    }

    pub(crate) fn state(&self) -> &Arc<RequestState<W>> {
        &self.state
    }
}

impl<W: Work> Drop for Request<W> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let gone = self.engine.strong_count() == 0;
            let error =
                if gone { EngineError::Gone } else { EngineError::Device(DeviceError::Lost) };
            self.give_back(work, Err(error));
        }
    }
}

impl<W: Work> fmt::Debug for Request<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.state.id)
            .field("kind", &self.state.kind)
            .finish_non_exhaustive()
    }
}
