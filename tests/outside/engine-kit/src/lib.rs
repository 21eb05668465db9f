//! An engine that keeps the laws: the worked example of `docs/test-your-engine.md`.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Poll;

use wait_ctx::testing::{Answer, DeviceEvent, TestedEngine, Failed, Tag};
use wait_ctx::{Arm, InFlight, Notifier, Ending};

/// A request, as the session and the device both hold it.
#[derive(Clone)]
pub struct Request {
    /// Its place in the session.
    pub in_flight: InFlight,
    result: Rc<Cell<Option<Result<Tag, Failed>>>>,
}

impl Request {
    /// A completion: claim the request, store the result, wake the session.
    fn complete(&self, result: Result<Tag, Failed>) {
        let outcome = if result.is_ok() { Ending::Done } else { Ending::Failed };
        if let Some(claim) = self.in_flight.claim(outcome) {
            self.result.set(Some(result));
            claim.wake();
        }
    }
}

/// The engine, and a device that gives tags back.
#[derive(Default)]
pub struct Echo {
    device: HashMap<Tag, Request>,
    waiting: Vec<(Tag, Request)>,
    taken: u64,
}

impl Echo {
    /// Submits what waits, in order, except what was cancelled meanwhile.
    fn drain(&mut self) {
        for (tag, request) in self.waiting.drain(..).filter(|(_, r)| r.in_flight.phase().is_live())
        {
            request.in_flight.accept();
            self.device.insert(tag, request);
            self.taken += 1;
        }
    }
}

impl TestedEngine for Echo {
    type Request = Request;

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Request {
        let in_flight = notifier.begin().expect("the kit makes one request at a time");
        let request = Request { in_flight, result: Rc::default() };
        self.waiting.push((tag, request.clone()));
        match answer {
            Answer::Full => {}
            Answer::Fatal => request.complete(Err(Failed)),
            Answer::Accept => self.drain(),
            Answer::Early => {
                self.drain();
                request.complete(Ok(tag));
            }
        }
        request
    }

    fn poll(&mut self, request: &mut Request) -> Poll<Result<Tag, Failed>> {
        match request.in_flight.arm() {
            Arm::Settled(_) => Poll::Ready(request.result.take().expect("stored before the wake")),
            // `Retry` is for engines that notify when the device was full. This one queues.
            Arm::Armed | Arm::Retry => Poll::Pending,
        }
    }

    fn cancel(&mut self, request: Request) {
        request.in_flight.cancel();
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        let (tag, result) = match event {
            DeviceEvent::Complete(tag) | DeviceEvent::Duplicate(tag) => (tag, Ok(tag)),
            DeviceEvent::Fail(tag) => (tag, Err(Failed)),
            DeviceEvent::Room => {
                self.drain();
                return true;
            }
        };
        self.device.get(&tag).map(|request| request.complete(result)).is_some()
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}
