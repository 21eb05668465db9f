//! The kit on an engine with a real device thread, behind a gate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread::JoinHandle;

use wait_ctx::testing::{Answer, Conformance, DeviceEvent, Failed, Tag, TestedEngine};
use wait_ctx::{Arm, Ending, InFlight, Notifier};

type Slot = Arc<Mutex<Option<Result<Tag, Failed>>>>;

#[derive(Clone)]
struct Request {
    tag: Tag,
    in_flight: InFlight,
    result: Slot,
}

/// A command to the device thread, with a channel for the answer.
enum Command {
    Submit(Request, Answer, mpsc::SyncSender<bool>),
    Event(DeviceEvent, mpsc::SyncSender<bool>),
}

struct Gated {
    gate: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    taken: Arc<AtomicU64>,
}

impl Gated {
    fn new() -> Self {
        let (gate, commands) = mpsc::channel();
        let taken = Arc::new(AtomicU64::new(0));
        let mut device =
            Device { held: BTreeMap::new(), refused: Vec::new(), taken: Arc::clone(&taken) };
        let thread = std::thread::spawn(move || {
            for command in commands {
                device.obey(command);
            }
        });
        Self { gate: Some(gate), thread: Some(thread), taken }
    }

    fn send(&self, command: impl FnOnce(mpsc::SyncSender<bool>) -> Command) -> bool {
        let (answer, answered) = mpsc::sync_channel(1);
        let gate = self.gate.as_ref().expect("open until it is dropped");
        gate.send(command(answer)).expect("the device runs");
        answered.recv().expect("the device answers")
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.gate = None;
        self.thread.take().expect("joined once").join().expect("the device did not panic");
    }
}

struct Device {
    held: BTreeMap<Tag, Request>,
    refused: Vec<Request>,
    taken: Arc<AtomicU64>,
}

impl Device {
    fn obey(&mut self, command: Command) {
        let (answer, done) = match command {
            Command::Submit(request, Answer::Full, answer) => {
                self.refused.push(request);
                (answer, true)
            }
            Command::Submit(request, Answer::Fatal, answer) => {
                complete(&request, Ending::Failed);
                (answer, true)
            }
            Command::Submit(request, how, answer) => {
                // A device can finish before the engine has seen that it took the request.
                if how == Answer::Early {
                    complete(&request, Ending::Done);
                }
                self.take(request);
                (answer, true)
            }
            Command::Event(event, answer) => (answer, self.event(event)),
        };
        answer.send(done).expect("the engine waits");
    }

    fn take(&mut self, request: Request) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        request.in_flight.accept();
        self.held.insert(request.tag, request);
    }

    fn event(&mut self, event: DeviceEvent) -> bool {
        let (tag, outcome) = match event {
            DeviceEvent::Complete(tag) | DeviceEvent::Duplicate(tag) => (tag, Ending::Done),
            DeviceEvent::Fail(tag) => (tag, Ending::Failed),
            DeviceEvent::Room => {
                for request in std::mem::take(&mut self.refused) {
                    if request.in_flight.phase().is_live() {
                        self.take(request);
                    }
                }
                return true;
            }
        };
        self.held.get(&tag).map(|request| complete(request, outcome)).is_some()
    }
}

fn complete(request: &Request, outcome: Ending) {
    if let Some(claim) = request.in_flight.claim(outcome) {
        let result = if outcome == Ending::Done { Ok(request.tag) } else { Err(Failed) };
        *request.result.lock().expect("no holder of the lock panics") = Some(result);
        claim.wake();
    }
}

impl TestedEngine for Gated {
    type Request = Request;

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Request {
        let in_flight = notifier.begin().expect("one request at a time");
        let request = Request { tag, in_flight, result: Slot::default() };
        self.send(|done| Command::Submit(request.clone(), answer, done));
        request
    }

    fn poll(&mut self, request: &mut Request) -> Poll<Result<Tag, Failed>> {
        match request.in_flight.arm() {
            Arm::Armed | Arm::Retry => Poll::Pending,
            Arm::Settled(_) => {
                let result = request.result.lock().expect("no holder of the lock panics").take();
                Poll::Ready(result.expect("stored before it was settled"))
            }
        }
    }

    fn cancel(&mut self, request: Request) {
        request.in_flight.cancel();
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        self.send(|done| Command::Event(event, done))
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

#[test]
fn an_engine_with_a_device_thread_keeps_the_laws() {
    let mut conformance = Conformance::default();
    conformance.scripts = 300;
    let report = conformance.run(Gated::new).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.wakes >= 100 && report.results >= 300, "{report:?}");
}
