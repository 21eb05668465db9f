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
use crate::admission::Admission;
use crate::breaker::{self, SHUT_OFF};
use crate::device_queue::DeviceQueue;
use crate::error::{DeviceError, EngineError, RefusedReason};
use crate::event::event;
use crate::foreign::Foreign;
use crate::inner::EngineInner;
use crate::options::RequestOptions;
#[cfg(feature = "plant")]
use crate::plant::{self, Bug};
use crate::request::{Request, Settle};
use crate::state::{Answer, RequestState};
use crate::sync::lock;
use crate::work::{RequestId, Role, Work};

/// Whether the standby has the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FellBack {
    /// It has it from now on.
    Now,
    /// It had it already.
    Before,
    /// The options do not allow it, there is no standby, or its breaker is open.
    Never,
}

impl<W: Work> Settle<W> for EngineInner<W> {
    fn settle(&self, state: &Arc<RequestState<W>>, answer: Answer<W>) {
        let role = answer.role;
        let held = self.queue(role).let_go();
        if let Some(Answer { work, result, .. }) = state.judge(answer) {
            self.handle_answer(role, state, work, self.planted(result), held);
        } else {
            self.queue(role).handle_late_answer(state.id);
        }
        self.handle_room(role);
    }
}

impl<W: Work> EngineInner<W> {
    /// Settles with a device's answer, unless it is asked again or the standby takes over. It held `held` with this one.
    #[inline]
    fn handle_answer(
        &self,
        role: Role,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        result: Result<W::Output, EngineError>,
        held: usize,
    ) {
        self.note_outcome(self.queue(role), state, &result, held);
        let work = match &result {
            Ok(_) => Some(work),
            Err(error) => {
                if let Some(at) = self.next_attempt(role, state, error) {
                    return self.attempt_at(role, state, work, at, error);
                }
                match role {
                    Role::Standby => None,
                    Role::Device => match self.fall_back(state, work, error) {
                        FellBack::Now => return,
                        // The standby already took over at the deadline; drop the late error.
                        FellBack::Before => return state.discard_late(None),
                        FellBack::Never => None,
                    },
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
        let failed = self.publish(state, None, Err(error));
        self.withdraw_everywhere(state.id);
        failed
    }

    /// Removes a request whose caller has cancelled it. If a device has it and it is the breaker's probe, it stays that: a
    /// device that hangs would get one request for each caller that gives up.
    pub(crate) fn unlink(&self, state: &RequestState<W>) {
        self.deregister(state);
        self.withdraw_everywhere(state.id);
    }

    /// When to give a device a request that it failed with `error` once more. `None` if that is not to be done, or if the
    /// deadline would have passed by then.
    fn next_attempt(
        &self,
        role: Role,
        state: &RequestState<W>,
        error: &EngineError,
    ) -> Option<Duration> {
        let queue = self.queue(role);
        if state.options.attempts <= 1 || queue.is_over(state) {
            return None;
        }
        let n = state.count_attempt(role);
        let pause = self.pauses.after(state.id, n, error)?;
        if n >= state.options.attempts || queue.is_shut_off() {
            return None;
        }
        let at = self.meter.after(pause);
        let deadline = state.registry_key().and_then(|key| self.registry().deadline(key));
        deadline.is_none_or(|deadline| at < deadline).then_some(at)
    }

    /// Keeps a request for its next attempt.
    fn attempt_at(
        &self,
        role: Role,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        at: Duration,
        error: &EngineError,
    ) {
        event!(DEBUG, request = state.id.0, kind = state.kind.name(), %error, "request.again");
        self.meter.count(|c| &c.attempts_again);
        self.meter.complain(state.kind, error);
        state.begin_attempt(role);
        self.queue(role).postpone(at, self.request(work, state, role));
    }

    /// Gives an operation that the device failed to the standby.
    fn fall_back(
        &self,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        error: &EngineError,
    ) -> FellBack {
        if state.is_on_standby() {
            return FellBack::Before;
        }
        let Some(admission) = self.standby_admits(state.id, state.options) else {
            return FellBack::Never;
        };
        self.hand_over(state, work, error, admission)
    }

    /// Gives the standby an operation that its breaker has let through.
    fn hand_over(
        &self,
        state: &Arc<RequestState<W>>,
        work: Foreign<W>,
        error: &EngineError,
        admission: Admission<'_>,
    ) -> FellBack {
        if !self.assign_to_standby(state) {
            return FellBack::Before;
        }
        event!(DEBUG, request = state.id.0, kind = state.kind.name(), %error, "request.fall_back");
        if *error != EngineError::Device(SHUT_OFF) {
            self.meter.complain(state.kind, error);
        }
        let request = self.request(work, state, Role::Standby);
        // The leave is given back before the caller wakes: its next request may be the probe.
        if let Err(request) = self.enter_admitted(Role::Standby, state, request, admission) {
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
        let (state, role) = (Arc::clone(request.state()), request.role);
        let Some(work) = request.into_work() else { return };
        if state.is_settled() {
            return;
        }
        if role == Role::Standby || self.fall_back(&state, work, &error) == FellBack::Never {
            self.publish(&state, None, Err(error));
        }
    }

    /// Sends an operation to the standby although the device has not given it back. False if that cannot be done.
    pub(crate) fn rescue(&self, state: &Arc<RequestState<W>>, error: &EngineError) -> bool {
        if state.is_on_standby() {
            return false;
        }
        let Some(admission) = self.standby_admits(state.id, state.options) else { return false };
        let in_queue = || self.device.take_work(state.id);
        let Some(work) = state.take_spare().or_else(in_queue) else { return false };
        self.hand_over(state, work, error, admission);
        // Withdrawn only after the standby owns the work: a thread that is submitting it sees that.
        self.withdraw(&self.device, state.id);
        true
    }

    /// Leave for a request with these options to go to the standby, as far as its breaker knows.
    pub(crate) fn standby_admits(
        &self,
        id: RequestId,
        options: RequestOptions,
    ) -> Option<Admission<'_>> {
        if self.may_fall_back(options) { self.queue(Role::Standby).admit(id) } else { None }
    }

    /// Reports a device's result of a request to its breaker. The device held `held` requests with this one.
    pub(crate) fn note_outcome(
        &self,
        queue: &DeviceQueue<W>,
        state: &RequestState<W>,
        result: &Result<W::Output, EngineError>,
        held: usize,
    ) {
        let Some(breaker) = &queue.breaker else { return };
        let tripped = match result {
            Ok(_) => {
                lock(breaker).handle_success(held);
                false
            }
            // The deadline or an answer has counted before.
            Err(error) if breaker::counts(error) && !state.claim_failure(queue.role()) => false,
            Err(EngineError::Device(DeviceError::Busy { .. })) => {
                lock(breaker).handle_busy(self.meter.now(), held)
            }
            Err(error) if breaker::counts(error) => {
                lock(breaker).handle_failure(self.meter.now(), held)
            }
            Err(EngineError::Device(_)) => {
                lock(breaker).handle_refusal();
                false
            }
            Err(_) => false,
        };
        if tripped {
            self.handle_trip(queue);
        }
    }

    /// A breaker has opened: moves to the standby what the device holds and the standby may do. What the standby holds
    /// stays there: its device has failed it, or its time there was over.
    pub(crate) fn handle_trip(&self, queue: &DeviceQueue<W>) {
        self.meter.count(|c| &c.trips);
        event!(WARN, device = ?queue.device, "breaker.open");
        if queue.role() == Role::Standby {
            return;
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::options::Fallback;
    use crate::{Accelerator, CheckFailed, DeviceRefused, Engine, Kind};

    struct Unit;

    impl Work for Unit {
        type Output = ();

        fn kind(&self) -> Kind {
            Kind::new("unit")
        }

        fn check(&self, (): &()) -> Result<(), CheckFailed> {
            Ok(())
        }
    }

    /// Keeps its requests.
    #[derive(Debug, Default)]
    struct Keeper(Mutex<Vec<Request<Unit>>>);

    impl Accelerator<Unit> for Keeper {
        fn submit(&self, request: Request<Unit>) -> Result<(), DeviceRefused<Unit>> {
            lock(&self.0).push(request);
            Ok(())
        }
    }

    /// Another thread may settle a request between the decision to divert it and the standby.
    #[test]
    fn a_request_that_is_settled_meanwhile_is_not_diverted_to_the_standby() {
        for gives_up in [true, false] {
            let (device, standby) = (Arc::<Keeper>::default(), Arc::<Keeper>::default());
            let engine = Engine::builder(Arc::clone(&device) as _)
                .standby(Arc::clone(&standby) as _)
                .options(RequestOptions::new().fallback(Fallback::Standby))
                .build();
            let pending = engine.submit(Unit).expect("a request that is taken");
            let request = lock(&device.0).pop().expect("the device has it");
            let kept = (!gives_up).then_some(pending);
            engine.inner.divert(request, EngineError::Device(SHUT_OFF));
            let diverted = lock(&standby.0).len();
            assert_eq!(diverted, usize::from(!gives_up));
            assert_eq!(engine.stats().fallbacks, u64::from(!gives_up));
            lock(&standby.0).drain(..).for_each(|request| request.complete(Ok(())));
            assert!(kept.is_none_or(|pending| pending.wait().is_ok()));
            assert_eq!(engine.stats().requests.now, 0);
        }
    }
}
