//! The thread that polls where no other thread does.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Wake};
use std::time::Duration;

use engine_core::{
    Accelerator, Capabilities, DeviceRefused, Driver, Engine, EngineError, Request, RequestOptions,
    Shutdown,
};
use wait_ctx::{Notifier, Route};

use crate::support::{Answer, HandClock, Manual, Negate, Outputs, PATIENCE, end};

/// A device that moves when it is polled, and never asks for it.
#[derive(Debug)]
struct Lazy {
    ring: Mutex<Vec<Request<Negate>>>,
    polled: mpsc::Sender<()>,
}

impl Accelerator<Negate> for Lazy {
    fn submit(&self, request: Request<Negate>) -> Result<(), DeviceRefused<Negate>> {
        self.ring.lock().unwrap().push(request);
        Ok(())
    }

    fn poll(&self, _: Duration) -> Option<Duration> {
        let ring = std::mem::take(&mut *self.ring.lock().unwrap());
        ring.into_iter().for_each(|request| end(request, Answer::Right));
        // The test may be over.
        let _ = self.polled.send(());
        None
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { needs_poll: true, ..Capabilities::default() }
    }
}

/// The driver has polled, and has no reason to do it again but the submission.
#[test]
fn l3_a_driver_that_sleeps_hears_of_a_submission() {
    let outputs = Arc::<Outputs>::default();
    let (polled, polls) = mpsc::channel();
    let device = Arc::new(Lazy { ring: Mutex::default(), polled });
    let engine = Engine::builder(device).build();
    let driver = engine.spawn_driver().unwrap();
    for n in 0..20 {
        let mut pending = engine.submit(Negate::new(n, &outputs)).unwrap();
        let result = loop {
            if let Poll::Ready(result) = pending.poll_result() {
                break result;
            }
            polls.recv_timeout(PATIENCE).expect("the driver polls");
        };
        assert_eq!(result.unwrap().value, !n);
        // All that has been counted until now is old.
        while polls.try_recv().is_ok() {}
    }
    drop(driver);
}

/// A device that panics whenever it is polled, and never answers.
#[derive(Debug, Default)]
struct Bomb(Mutex<Vec<Request<Negate>>>);

impl Accelerator<Negate> for Bomb {
    fn submit(&self, request: Request<Negate>) -> Result<(), DeviceRefused<Negate>> {
        self.0.lock().unwrap().push(request);
        Ok(())
    }

    fn poll(&self, _: Duration) -> Option<Duration> {
        std::panic::panic_any(Spiteful)
    }
}

/// Panics once more when it is dropped, as the payload of a panic may.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        std::panic::panic_any("the payload's drop");
    }
}

#[test]
fn l14_a_driver_keeps_deadlines_over_a_device_that_panics_when_polled() {
    let outputs = Arc::<Outputs>::default();
    let options = RequestOptions::new().deadline(Duration::from_millis(1));
    let engine = Engine::builder(Arc::new(Bomb::default())).options(options).build();
    let driver = engine.spawn_driver().unwrap();
    let notifier = Notifier::new();
    let (wake, woken) = mpsc::channel();
    notifier.set_route(Route::Waker(Arc::new(Tell(Mutex::new(wake))).into()));
    for n in 0..3 {
        let mut pending = engine.submit_on(&notifier, Negate::new(n, &outputs)).unwrap();
        let error = loop {
            match pending.poll_result() {
                Poll::Ready(result) => break result.unwrap_err(),
                Poll::Pending => woken.recv_timeout(PATIENCE).expect("the driver has died"),
            }
        };
        assert_eq!(error, EngineError::Deadline);
    }
    drop(driver);
    let next = engine.spawn_driver();
    assert!(next.is_ok(), "another may follow");
    assert_eq!(engine.shutdown_blocking(Duration::MAX), Shutdown::Drained);
}

struct Tell(Mutex<mpsc::Sender<()>>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

/// A device whose first poll holds at a gate.
#[derive(Debug)]
struct Gated {
    begun: mpsc::Sender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Accelerator<Negate> for Gated {
    fn submit(&self, request: Request<Negate>) -> Result<(), DeviceRefused<Negate>> {
        Err(DeviceRefused::Unavailable(request, "only polled"))
    }

    fn poll(&self, _: Duration) -> Option<Duration> {
        let _ = self.begun.send(());
        let _ = self.gate.lock().unwrap().recv();
        None
    }
}

#[test]
fn l5_a_driver_is_dropped_and_replaced_while_its_poll_does_not_return() {
    let (begun, begins) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let device = Gated { begun, gate: Mutex::new(gate) };
    let engine = Engine::<Negate>::builder(Arc::new(device)).build();
    let driver = engine.spawn_driver().unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    // Were its thread joined, this would hang.
    drop(driver);
    let second = engine.spawn_driver().unwrap();
    drop(open);
    assert_eq!(engine.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    drop(second);
}

/// A wake that owns a driver and its engine, and drops both where it runs.
struct DropsAll(Mutex<Option<Owned>>);

type Owned = (Driver, Arc<Engine<Negate>>, mpsc::Sender<()>);

impl Wake for DropsAll {
    fn wake(self: Arc<Self>) {
        if let Some((driver, engine, told)) = self.0.lock().unwrap().take() {
            drop((driver, engine));
            told.send(()).unwrap();
        }
    }
}

#[test]
fn l5_a_callback_on_the_drivers_thread_may_drop_the_driver_and_the_engine() {
    let outputs = Arc::<Outputs>::default();
    let options = RequestOptions::new().deadline(Duration::from_millis(1));
    let engine = Engine::builder(Manual::new(1)).options(options).build();
    let driver = engine.spawn_driver().unwrap();
    let notifier = Notifier::new();
    let (told, hears) = mpsc::channel();
    let wake = DropsAll(Mutex::new(Some((driver, Arc::clone(&engine), told))));
    notifier.set_route(Route::Waker(Arc::new(wake).into()));
    let mut pending = engine.submit_on(&notifier, Negate::new(1, &outputs)).unwrap();
    drop(engine);
    if pending.poll_result().is_pending() {
        hears.recv_timeout(PATIENCE).expect("the driver joins itself");
    }
}

/// Waits until the driver's `Debug`, which shows its alarm and how many threads it has, says this.
fn says(driver: &Driver, wanted: &str) {
    let mut looks = 0..10_000_000;
    assert!(
        looks.any(|_| {
            std::thread::yield_now();
            format!("{driver:?}").contains(wanted)
        }),
        "{driver:?}"
    );
}

#[test]
fn l14_a_driver_sleeps_until_the_next_deadline_and_no_longer_than_its_engine_lives() {
    let outputs = Arc::<Outputs>::default();
    let engine = Engine::builder(Manual::new(2)).clock(Arc::<HandClock>::default()).build();
    let driver = engine.spawn_driver().unwrap();
    says(&driver, "until: None");
    let submit = |hours: u64| {
        let options = RequestOptions::new().deadline(Duration::from_secs(3600 * hours));
        engine.with_options(options).submit(Negate::new(hours, &outputs)).unwrap()
    };
    let late = submit(9);
    says(&driver, "until: Some(32400s)");
    let early = submit(1);
    says(&driver, "until: Some(3600s)");

    // It sleeps; only the end of the engine wakes it.
    drop(engine);
    says(&driver, "alive: 0");
    drop((late, early));
}

#[test]
#[cfg(feature = "jobs")]
fn l3_a_driver_that_sleeps_hears_of_a_request_that_waits_for_an_unused_permit() {
    let (device, outputs) = (Manual::new(1), Arc::<Outputs>::default());
    device.tell_credits();
    let engine = Engine::builder(device.clone()).on_full(engine_core::OnFull::Notify).build();
    let driver = engine.spawn_driver().unwrap();
    let _first = engine.submit(Negate::new(1, &outputs)).unwrap();
    // In a job, which looks for its permit before it pauses.
    let (pool, ctx) = (job_core::JobPool::new(), wait_ctx::WaitCtx::new());
    let (inside, work) = (Arc::clone(&engine), Negate::new(2, &outputs));
    let paused = pool
        .start_with(&ctx, move || inside.run(work).map(|output| output.value))
        .ok()
        .and_then(job_core::Step::paused);
    device.answer_first(Answer::Right);
    // The second has its permit now. No request waits for that, so the driver needs no timer.
    says(&driver, "until: None");
    assert!(paused.is_some());
    std::mem::forget(paused);
    let _last = engine.submit(Negate::new(3, &outputs)).unwrap();
    let mut looks = 0..10_000_000;
    assert!(looks.any(|_| {
        std::thread::yield_now();
        engine.stats().permits_expired == 1
    }));
}
