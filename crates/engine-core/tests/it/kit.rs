//! The conformance kit of wait-ctx on this engine.

use std::sync::Arc;
use std::task::Poll;

use engine_core::{Engine, OnFull, Pending};
use wait_ctx::Notifier;
use wait_ctx::testing::{self, DeviceEvent, Failed, Tag, conformance};

use crate::support::{Answer, Manual, Mode, Negate, Outputs, end};

struct Kit {
    engine: Arc<Engine<Negate>>,
    device: Arc<Manual>,
    on_full: OnFull,
    outputs: Arc<Outputs>,
}

impl Kit {
    fn new(on_full: OnFull) -> Self {
        let device = Manual::new(usize::MAX);
        // Without it permits are granted one by one; here the device has room for all, and the kit expects all to be woken.
        device.tell_credits();
        let engine = Engine::builder(device.clone()).on_full(on_full).build();
        Self { engine, device, on_full, outputs: Arc::default() }
    }
}

impl testing::TestedEngine for Kit {
    type Request = Pending<Negate>;

    fn on_full(&self) -> testing::FullPolicy {
        match self.on_full {
            OnFull::Notify => testing::FullPolicy::Notify,
            _ => testing::FullPolicy::Queue,
        }
    }

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: testing::Answer) -> Self::Request {
        self.device.set_mode(match answer {
            testing::Answer::Accept => Mode::Take,
            testing::Answer::Early => Mode::Early(Answer::Right),
            testing::Answer::Full => Mode::Stuck,
            testing::Answer::Fatal => Mode::Unsupported,
        });
        let pending = self.engine.submit_on(notifier, Negate::new(tag.0, &self.outputs)).unwrap();
        if answer != testing::Answer::Full {
            self.device.set_mode(Mode::Take);
        }
        pending
    }

    fn poll(&mut self, request: &mut Self::Request) -> Poll<Result<Tag, Failed>> {
        request.poll_result().map(|result| result.map(|out| Tag(!out.value)).map_err(|_| Failed))
    }

    fn cancel(&mut self, request: Self::Request) {
        drop(request);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        let (tag, answer) = match event {
            DeviceEvent::Complete(tag) | DeviceEvent::Duplicate(tag) => (tag, Answer::Right),
            DeviceEvent::Fail(tag) => (tag, Answer::Fail),
            DeviceEvent::Room => {
                self.device.set_mode(Mode::Take);
                self.engine.poll();
                return true;
            }
        };
        self.device.find(tag.0).map(|request| end(request, answer)).is_some()
    }

    fn taken(&self) -> u64 {
        self.device.taken().len() as u64
    }
}

fn passes(on_full: OnFull) {
    let report = conformance(|| Kit::new(on_full)).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(report.wakes > 1_000 && report.results > 1_000, "{report:?}");
}

#[test]
fn an_engine_that_queues_passes_the_conformance_run() {
    passes(OnFull::Queue);
}

#[test]
fn an_engine_that_notifies_passes_the_conformance_run() {
    passes(OnFull::Notify);
}
