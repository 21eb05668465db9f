//! The end of a request: the device's answer, the standby where the device fails, and the caller's wake.
//!
//! ```text
//!   device --> answer --> check --> store --> wake
//!                 |  error, no answer in time, breaker opens
//!                 v
//!              standby -> answer --> check --> store --> wake; the other answer is late, and is erased
//! ```

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use crate::accelerator::Attached as _;
use crate::breaker::{self, SHUT_OFF};
#[cfg(feature = "plant")]
use crate::error::DeviceError;
use crate::error::{EngineError, RefusedReason};
use crate::event::event;
use crate::foreign::Foreign;
use crate::inner::EngineInner;
#[cfg(feature = "plant")]
use crate::plant::{self, Bug};
use crate::request::{Request, Settle};
use crate::state::{Answer, RequestState};
use crate::sync::lock;
use crate::work::{Role, Work};

/// Whether the standby has the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FellBack {
    /// It has it from now on.
    Now,
    /// It had it already.
    Before,
    /// The options do not allow it, or there is no standby.
    Never,
}

impl<W: Work> Settle<W> for EngineInner<W> {
    fn settle(&self, state: &Arc<RequestState<W>>, answer: Answer<W>) {
        let role = answer.role;
        if let Some(Answer { work, result, .. }) = state.judge(answer) {
            let result = self.planted(result);
            match role {
                Role::Device => self.settle_device(state, work, result),
                Role::Standby => drop(self.publish(state, Some(work), result)),
            }
        }
        self.handle_room(role);
    }
}

impl<W: Work> EngineInner<W> {
    /// Settles with the device's answer, unless the standby takes over.
    #[inline]
    fn settle_device(
        &self,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        result: Result<W::Output, EngineError>,
    ) {
        self.note_outcome(&result);
        let work = match &result {
            Ok(_) => Some(work),
            Err(error) => {
                if let Some(at) = self.next_attempt(state, error) {
                    return self.attempt_at(state, work, at, error);
                }
                match self.fall_back(state, work, error) {
                    FellBack::Now => return,
                    // The standby already took over at the deadline; drop the late error.
                    FellBack::Before => return state.discard_late(None),
                    FellBack::Never => None,
                }
            }
        };
        self.publish(state, work, result);
        if state.is_on_standby() {
            // Its second request may still be queued there.
            self.withdraw_everywhere(state.id);
        }
    }

    /// Stores the outcome with the work done, deregisters the request and wakes its caller. False if it was settled
    /// before: then the result is erased.
    #[inline]
    fn publish(
        &self,
        state: &RequestState<W>,
        work: Option<Foreign<W>>,
        result: Result<W::Output, EngineError>,
    ) -> bool {
        state.settle(work, result, || self.deregister(state))
    }

    /// Ends a request with an error that is not its device's. False if it was settled before.
    pub(crate) fn fail(&self, state: &RequestState<W>, error: EngineError) -> bool {
        if state.is_settled() {
            return false;
        }
        let queued = state.may_be_queued();
        let failed = self.publish(state, None, Err(error));
        if queued {
            self.withdraw_everywhere(state.id);
        }
        failed
    }

    /// Removes a request whose caller has cancelled it.
    pub(crate) fn unlink(&self, state: &RequestState<W>, queued: bool) {
        self.deregister(state);
        if queued {
            self.withdraw_everywhere(state.id);
        }
    }

    /// When to give the device a request that it failed with `error` once more. `None` if that is not to be done, or if
    /// the deadline would have passed by then.
    fn next_attempt(&self, state: &RequestState<W>, error: &EngineError) -> Option<Duration> {
        if !state.may_repeat() || state.is_settled() || state.is_on_standby() {
            return None;
        }
        let n = state.count_attempt();
        let pause = self.attempts.pause(state.id, n, error)?;
        if n >= state.options.attempts || self.is_shut_off() {
            return None;
        }
        let at = self.meter.after(pause);
        state.deadline().is_none_or(|deadline| at < deadline).then_some(at)
    }

    /// Keeps a request for its next attempt.
    fn attempt_at(
        &self,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        at: Duration,
        error: &EngineError,
    ) {
        event!(DEBUG, request = state.id.0, kind = state.kind.name(), %error, "request.again");
        self.meter.count(|c| &c.attempts_again);
        self.meter.complain(state.kind, error);
        self.attempts.insert(at, self.request(work, state, Role::Device));
        if state.is_settled() || state.is_on_standby() {
            // Another thread has ended or moved it, perhaps before it was kept.
            return self.withdraw_from_device(state.id);
        }
        self.waker.wake_at(at);
    }

    /// Gives an operation that the device failed to the standby.
    fn fall_back(
        &self,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        error: &EngineError,
    ) -> FellBack {
        if !self.may_fall_back(state.options) {
            return FellBack::Never;
        }
        if !self.assign_to_standby(state) {
            return FellBack::Before;
        }
        event!(DEBUG, request = state.id.0, kind = state.kind.name(), %error, "request.fall_back");
        if *error != EngineError::Device(SHUT_OFF) {
            self.meter.complain(state.kind, error);
        }
        let request = self.request(work, state, Role::Standby);
        if let Err(request) = self.enter(Role::Standby, state, request) {
            drop(request.into_work());
            let bound = self.queue(Role::Standby).bound();
            let full = EngineError::Refused(RefusedReason::QueueFull { bound });
            self.publish(state, None, Err(full));
        }
        FellBack::Now
    }

    /// Makes the standby responsible for a request, with its whole time again. False if it was before.
    pub(crate) fn assign_to_standby(&self, state: &RequestState<W>) -> bool {
        let deadline = state.options.deadline.map(|deadline| self.meter.after(deadline));
        {
            let mut registry = self.registry();
            // Under the lock: no thread takes the device's deadline for the standby's, and the key stays valid.
            if state.on_standby.swap(true, Ordering::AcqRel) {
                return false;
            }
            if let (Some(deadline), Some(key)) = (deadline, state.registry_key()) {
                registry.extend(key, deadline);
            }
        }
        self.meter.count(|c| &c.fallbacks);
        if let Some(deadline) = deadline {
            self.waker.wake_at(deadline);
        }
        true
    }

    /// Moves a waiting request away from a device that is not to have it because of `error`.
    pub(crate) fn divert(&self, request: Request<W>, error: EngineError) {
        let state = Arc::clone(request.state());
        let Some(work) = request.into_work() else { return };
        if state.is_settled() {
            return;
        }
        if self.fall_back(&state, work, &error) == FellBack::Never {
            self.publish(&state, None, Err(error));
        }
    }

    /// Sends an operation to the standby although the device has not given it back. False if that cannot be done.
    pub(crate) fn rescue(&self, state: &Arc<RequestState<W>>, error: &EngineError) -> bool {
        if !self.may_fall_back(state.options) || state.is_on_standby() {
            return false;
        }
        let queued = state.may_be_queued();
        let in_queue = || self.device.take_work(state.id);
        let kept = || self.attempts.take(state.id)?.into_work();
        let Some(work) = state.take_spare().or_else(in_queue).or_else(kept) else { return false };
        let rescued = self.fall_back(state, work, error) != FellBack::Never;
        if queued {
            // Withdrawn only after the standby owns the work: a thread that is submitting it sees that.
            self.withdraw_from_device(state.id);
        }
        rescued
    }

    /// Reports the device's result to the breaker.
    pub(crate) fn note_outcome(&self, result: &Result<W::Output, EngineError>) {
        let Some(breaker) = &self.breaker else { return };
        let tripped = match result {
            Ok(_) => {
                lock(breaker).handle_success();
                false
            }
            Err(error) if breaker::counts(error) => lock(breaker).handle_failure(self.meter.now()),
            Err(EngineError::Device(_)) => {
                lock(breaker).handle_refusal();
                false
            }
            Err(_) => false,
        };
        if tripped {
            self.handle_trip();
        }
    }

    /// The breaker has opened: moves to the standby what the device holds and the standby may do.
    pub(crate) fn handle_trip(&self) {
        self.meter.count(|c| &c.trips);
        event!(WARN, device = ?self.device.device, "breaker.open");
        for state in self.under_way() {
            if !state.is_settled() && !state.is_on_standby() {
                self.rescue(&state, &EngineError::Device(SHUT_OFF));
            }
        }
    }

    /// The result of a request; with a bug planted, that of the request before it.
    #[cfg(feature = "plant")]
    fn planted(&self, result: Result<W::Output, EngineError>) -> Result<W::Output, EngineError> {
        if !plant::armed(Bug::ForeignResult) {
            return result;
        }
        let first = DeviceError::Failed("the first result was held back");
        result.and_then(|output| {
            lock(&self.held_back).replace(output).ok_or(EngineError::Device(first))
        })
    }

    #[cfg(not(feature = "plant"))]
    #[expect(clippy::unused_self, reason = "the planted bug keeps a result")]
    fn planted(&self, result: Result<W::Output, EngineError>) -> Result<W::Output, EngineError> {
        result
    }
}
