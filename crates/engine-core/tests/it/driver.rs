//! The thread that polls for those who do not.

use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use engine_core::{Accelerator, Capabilities, Engine, Rejected, Request};

use crate::support::{Answer, Negate, Outputs, end};

const PATIENCE: Duration = Duration::from_secs(30);

/// A device that moves when it is polled, and never asks for it.
#[derive(Debug)]
struct Lazy {
    ring: Mutex<Vec<Request<Negate>>>,
    polled: mpsc::Sender<()>,
}

impl Accelerator<Negate> for Lazy {
    fn submit(&self, request: Request<Negate>) -> Result<(), Rejected<Negate>> {
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
        let mut pending = engine.offer(Negate::new(n, &outputs)).unwrap();
        let result = loop {
            if let Poll::Ready(result) = pending.poll_result() {
                break result;
            }
            polls.recv_timeout(PATIENCE).expect("nobody polls");
        };
        assert_eq!(result.unwrap().value, !n);
        // All that has been counted until now is old.
        while polls.try_recv().is_ok() {}
    }
    drop(driver);
}
