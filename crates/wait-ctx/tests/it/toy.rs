//! The smallest engine that keeps the laws. Its device is a map of requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use wait_ctx::testing::{Answer, DeviceEvent, Failed, FullPolicy, Tag, TestedEngine};
use wait_ctx::{Arm, Ending, InFlight, Notifier};

/// A request, shared by session and device.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    tag: Tag,
    in_flight: InFlight,
    result: Arc<Mutex<Option<Result<Tag, Failed>>>>,
}

impl Request {
    /// A completion: claim, store, wake.
    fn complete(&self, outcome: Ending) {
        if let Some(claim) = self.in_flight.claim(outcome) {
            let result = if outcome == Ending::Done { Ok(self.tag) } else { Err(Failed) };
            *self.result.lock().unwrap() = Some(result);
            claim.wake();
        }
    }

    /// A completion with its last two steps exchanged, which is wrong.
    pub(crate) fn wake_then_store(&self) {
        if let Some(claim) = self.in_flight.claim(Ending::Done) {
            claim.wake();
            *self.result.lock().unwrap() = Some(Ok(self.tag));
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Toy {
    notify_on_full: bool,
    full: bool,
    refused: Vec<Request>,
    held: BTreeMap<Tag, Request>,
    taken: u64,
}

impl Toy {
    pub(crate) fn that_notifies() -> Self {
        Self { notify_on_full: true, ..Self::default() }
    }

    /// The request of this tag, if the device has taken it.
    pub(crate) fn held(&self, tag: Tag) -> Option<&Request> {
        self.held.get(&tag)
    }

    fn take(&mut self, request: Request) {
        self.taken += 1;
        self.held.insert(request.tag, request.clone());
        request.in_flight.accept();
    }
}

impl TestedEngine for Toy {
    type Request = Request;

    fn on_full(&self) -> FullPolicy {
        if self.notify_on_full { FullPolicy::Notify } else { FullPolicy::Queue }
    }

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Request {
        let in_flight = notifier.begin().expect("one request at a time");
        let request = Request { tag, in_flight, result: Arc::default() };
        match answer {
            Answer::Accept => self.take(request.clone()),
            Answer::Early => {
                self.taken += 1;
                self.held.insert(tag, request.clone());
                request.complete(Ending::Done);
            }
            Answer::Full => {
                self.full = true;
                self.refused.push(request.clone());
            }
            Answer::Fatal => request.complete(Ending::Failed),
        }
        request
    }

    fn poll(&mut self, request: &mut Request) -> Poll<Result<Tag, Failed>> {
        loop {
            let refused = self.refused.iter().position(|other| other.tag == request.tag);
            if let Some(at) = refused.filter(|_| !self.full) {
                let again = self.refused.swap_remove(at);
                self.take(again);
            }
            match request.in_flight.arm() {
                Arm::Armed => return Poll::Pending,
                Arm::Retry => {}
                Arm::Settled(_) => break,
            }
        }
        Poll::Ready(request.result.lock().unwrap().take().expect("stored before it was settled"))
    }

    fn cancel(&mut self, request: Request) {
        request.in_flight.cancel();
        self.refused.retain(|other| other.tag != request.tag);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        let (tag, outcome) = match event {
            DeviceEvent::Complete(tag) | DeviceEvent::Duplicate(tag) => (tag, Ending::Done),
            DeviceEvent::Fail(tag) => (tag, Ending::Failed),
            DeviceEvent::Room if self.notify_on_full => {
                self.full = false;
                for request in &self.refused {
                    request.in_flight.notify_retry();
                }
                return true;
            }
            DeviceEvent::Room => {
                self.full = false;
                for request in std::mem::take(&mut self.refused) {
                    self.take(request);
                }
                return true;
            }
        };
        self.held.get(&tag).map(|request| request.complete(outcome)).is_some()
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}
