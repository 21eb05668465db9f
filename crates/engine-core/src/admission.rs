//! A breaker's leave to give its device one request.

use core::time::Duration;
use std::sync::Mutex;

use crate::breaker::Breaker;
use crate::sync::lock;
use crate::work::RequestId;

/// Leave for one request. Half-open, it makes that request the probe, before any queue or device has it: so the code
/// that ends the request there finds the probe. If the leave is dropped without being [spent](Self::spend), the next request may be the probe.
#[must_use = "a dropped admission gives the probe back"]
pub(crate) struct Admission<'a> {
    /// The breaker whose probe it is.
    probe: Option<(&'a Mutex<Breaker>, RequestId)>,
}

impl<'a> Admission<'a> {
    /// Asks a device's breaker, if it has one. `None` if the device is not to have the request.
    pub(crate) fn ask(
        breaker: Option<&'a Mutex<Breaker>>,
        now: Duration,
        request: RequestId,
    ) -> Option<Self> {
        let Some(breaker) = breaker else { return Some(Self { probe: None }) };
        let mut asked = lock(breaker);
        let admitted = asked.admit(now, request);
        admitted.then(|| Self { probe: asked.is_probe(request).then_some((breaker, request)) })
    }

    /// The device or the queue before it has the request.
    pub(crate) fn spend(mut self) {
        self.probe = None;
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if let Some((breaker, request)) = self.probe {
            lock(breaker).forget_probe(request);
        }
    }
}
