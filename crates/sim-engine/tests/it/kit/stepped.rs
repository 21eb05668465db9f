//! The card in virtual time, driven by its faults and its clock: a stuck ring is full, a hang lets time pass without
//! work, a device error fails a request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use engine_core::{
    Accelerator, Capabilities, Clock, DeviceError, DeviceRefused, Engine, OnFull, Request,
    RoomNotice,
};
use sim_engine::{Fault, Polling, SteppedCard};
use wait_ctx::Notifier;
use wait_ctx::testing::{self, Answer, DeviceEvent, Failed, Order, Tag};

use super::{Echo, Held, KNOWN, Kind, Session, Ticket, card, found, passes};
use crate::rig::HandClock;

const MS: Duration = Duration::from_millis(1);
/// A ring stays stuck for so long; much longer than all the requests of a script take.
const STUCK: Duration = Duration::from_secs(60 * 60);

/// Returns the number, also for cancelled requests.
#[derive(Debug)]
struct Mirror;

impl sim_engine::Compute for Mirror {
    type Work = Echo;

    fn compute(&self, work: &Echo) -> Result<u64, DeviceError> {
        Ok(work.n)
    }

    fn computes_cancelled(&self) -> bool {
        true
    }

    fn spoil(&self, output: u64) -> u64 {
        !output
    }
}

/// The card, and a list of what it has taken.
#[derive(Debug)]
struct Listed {
    card: Arc<SteppedCard<Echo>>,
    held: Mutex<Held>,
    taken: AtomicUsize,
}

impl Accelerator<Echo> for Listed {
    fn submit(&self, request: Request<Echo>) -> Result<(), DeviceRefused<Echo>> {
        let n = request.work().n;
        self.card.submit(request)?;
        self.held.lock().unwrap().push_back(n);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        self.card.poll(now)
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        self.card.credits(kind)
    }

    fn attach(&self, room: RoomNotice) {
        self.card.attach(room);
    }

    fn capabilities(&self) -> Capabilities {
        self.card.capabilities()
    }
}

struct Stepped {
    session: Session,
    device: Arc<Listed>,
    clock: Arc<HandClock>,
    /// When the ring opens again.
    stuck_until: Duration,
    /// Instead of what they should do, completions meet this.
    planted: Option<Fault>,
}

impl Stepped {
    fn new(on_full: OnFull, polling: Polling) -> Self {
        let mut config = card(MS);
        config.polling = polling;
        let clock = Arc::<HandClock>::default();
        let card = SteppedCard::new(config, Arc::new(Mirror), clock.clone()).unwrap();
        let (held, taken) = (Mutex::default(), AtomicUsize::new(0));
        let device = Arc::new(Listed { card, held, taken });
        let session = Session::new(Engine::builder(device.clone()).clock(clock.clone()), on_full);
        Self { session, device, clock, stuck_until: Duration::ZERO, planted: None }
    }

    /// Lets time pass until the oldest request has ended. False if it never does.
    fn end_oldest(&self) -> bool {
        let before = self.device.card.stats().drained;
        // A look of the heuristic may find nothing; that is far from a thousand times.
        for _ in 0..1_000 {
            let Some(next) = self.session.engine.poll() else { break };
            self.clock.set(next);
            self.session.engine.poll();
            if self.device.card.stats().drained > before {
                break;
            }
        }
        self.device.held.lock().unwrap().pop_front();
        self.device.card.stats().drained > before
    }

    /// Lets the time pass for which the ring is stuck, and nothing else happen.
    fn unstick(&self) {
        let now = self.clock.now();
        let left = self.stuck_until.saturating_sub(now);
        // A moment longer: what was due meanwhile comes right after the hang.
        self.device.card.inject(Fault::Hang { lasts: left + Duration::from_nanos(1) });
        self.clock.set(now + left);
        self.session.engine.poll();
    }
}

impl testing::TestedEngine for Stepped {
    type Request = Ticket;

    fn on_full(&self) -> testing::FullPolicy {
        self.session.on_full()
    }

    fn order(&self) -> Order {
        Order::Submission
    }

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Self::Request {
        if answer == Answer::Full && self.device.credits(KNOWN) != Some(0) {
            self.device.card.inject(Fault::RingStuck { lasts: STUCK });
            self.stuck_until = self.clock.now() + STUCK;
        }
        let ticket = self.session.submit(notifier, tag, answer);
        if answer == Answer::Early {
            self.end_oldest();
        }
        ticket
    }

    fn poll(&mut self, request: &mut Self::Request) -> Poll<Result<Tag, Failed>> {
        request.poll()
    }

    fn cancel(&mut self, request: Self::Request) {
        drop(request);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        let (tag, fault) = match event {
            // Every other response comes twice.
            DeviceEvent::Complete(tag) => (tag, (tag.0 % 2 == 0).then_some(Fault::Duplicate)),
            DeviceEvent::Fail(tag) => (tag, Some(Fault::DeviceError)),
            // The duplicate came with the response itself.
            DeviceEvent::Duplicate(_) => return false,
            DeviceEvent::Room => {
                self.unstick();
                return true;
            }
        };
        assert_eq!(self.device.held.lock().unwrap().front(), Some(&tag.0), "the oldest");
        if let Some(fault) = self.planted.or(fault) {
            self.device.card.inject(fault);
        }
        self.end_oldest() || self.planted.is_some()
    }

    fn taken(&self) -> u64 {
        self.device.taken.load(Ordering::Relaxed) as u64
    }
}

const POLICIES: [Polling; 4] = [
    Polling::Interrupt { watchdog: Duration::from_millis(10) },
    Polling::Interval(Duration::from_micros(300)),
    Polling::Heuristic { threshold: 2, at_latest: Duration::from_millis(5) },
    Polling::Inline(Duration::from_micros(300)),
];

#[test]
fn a_stepped_card_passes_the_conformance_run_whatever_its_polling() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        for polling in POLICIES {
            let report = passes(150, || Stepped::new(on_full, polling));
            assert!(report.steps.iter().filter(|n| **n >= 5).count() >= 10, "{report:?}");
        }
    }
}

fn planted(fault: Fault) -> String {
    found(|| {
        let good = Stepped::new(OnFull::Queue, Polling::default());
        Stepped { planted: Some(fault), ..good }
    })
}

#[test]
fn l3_a_response_that_is_lost_is_found() {
    let text = planted(Fault::Lost);
    assert!(text.starts_with("L3: "), "{text}");
}

#[test]
fn l3_a_result_that_is_not_the_right_one_is_found() {
    let text = planted(Fault::Corrupt);
    assert!(text.starts_with("L3: a completion was lost"), "{text}");
}
