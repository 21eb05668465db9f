//! A breaker's leave to give its device one request.

use core::time::Duration;
use std::sync::Mutex;

use crate::breaker::Breaker;
use crate::sync::lock;
use crate::work::RequestId;

/// Leave for one request. Half-open, it makes that request the probe; if it is dropped without being
/// [spent](Self::spend), the next request may be the probe.
#[must_use = "a dropped admission gives the probe back"]
pub(crate) struct Admission<'a> {
    /// The breaker that waits for a probe, and since when.
    probe: Option<(&'a Mutex<Breaker>, Duration)>,
}

impl<'a> Admission<'a> {
    /// Asks a device's breaker, if it has one. `None` if the device is not to have a request.
    pub(crate) fn ask(breaker: Option<&'a Mutex<Breaker>>, now: Duration) -> Option<Self> {
        let Some(breaker) = breaker else { return Some(Self { probe: None }) };
        let mut asked = lock(breaker);
        let admitted = asked.admit(now);
        admitted.then(|| Self { probe: asked.probe().map(|since| (breaker, since)) })
    }

    /// The device or the queue before it has the request, which is this one.
    pub(crate) fn spend(mut self, request: RequestId) {
        if let Some((breaker, since)) = self.probe.take() {
            lock(breaker).name_probe(since, request);
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if let Some((breaker, since)) = self.probe {
            lock(breaker).release_probe(since);
        }
    }
}
