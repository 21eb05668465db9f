//! A device that answers on command.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceError, DeviceRefused, Request, Work};

type Execute<W> = dyn Fn(&W) -> Result<<W as Work>::Output, DeviceError> + Send + Sync;

/// Holds up to `ring` requests until the test answers, fails or reorders them.
pub(crate) struct ManualDevice<W: Work = CryptoOp> {
    execute: Box<Execute<W>>,
    ring: usize,
    requests: Mutex<VecDeque<Request<W>>>,
    arrived: Condvar,
    at_once: AtomicBool,
}

impl ManualDevice {
    /// A device with these keys.
    pub(crate) fn new(keys: Arc<SoftwareKeys>, ring: usize) -> Arc<Self> {
        let failed = |_| DeviceError::Failed("the software implementation failed");
        Self::doing(ring, move |op| keys.execute(op).map_err(failed))
    }

    /// Answers the oldest request with a wrong result.
    pub(crate) fn answer_wrongly(&self) {
        let request = self.take();
        let answer = (self.execute)(request.work());
        request.complete(answer.map(crypto_ops::testing::flip_bit));
    }
}

impl<W: Work> ManualDevice<W> {
    pub(crate) fn doing(
        ring: usize,
        execute: impl Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            execute: Box::new(execute),
            ring,
            requests: Mutex::default(),
            arrived: Condvar::new(),
            at_once: AtomicBool::new(false),
        })
    }

    pub(crate) fn held(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The kinds of the requests held, oldest first.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.requests.lock().unwrap().iter().map(|request| request.kind().name()).collect()
    }

    pub(crate) fn answers_at_once(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }

    /// Sets whether requests are answered within `submit` or on command.
    pub(crate) fn set_answers_at_once(&self, at_once: bool) {
        self.at_once.store(at_once, Ordering::Relaxed);
    }

    fn take(&self) -> Request<W> {
        self.requests.lock().unwrap().pop_front().expect("the device holds a request")
    }

    /// Answers the oldest request.
    pub(crate) fn answer(&self) {
        self.complete(self.take());
    }

    /// Moves the oldest request behind the others.
    pub(crate) fn put_last(&self) {
        let mut requests = self.requests.lock().unwrap();
        if let Some(oldest) = requests.pop_front() {
            requests.push_back(oldest);
        }
    }

    fn complete(&self, request: Request<W>) {
        let answer = (self.execute)(request.work());
        request.complete(answer);
    }

    /// Answers the next request from another thread, for a session that blocks its own.
    pub(crate) fn answer_in_background(self: &Arc<Self>) -> JoinHandle<()> {
        let device = Arc::clone(self);
        std::thread::spawn(move || {
            let requests = device.requests.lock().unwrap();
            let held = |requests: &mut VecDeque<_>| requests.is_empty();
            drop(device.arrived.wait_while(requests, held).unwrap());
            device.answer();
        })
    }

    /// Fails the oldest request.
    pub(crate) fn fail(&self) {
        self.take().complete(Err(DeviceError::Failed("told to")));
    }
}

impl<W: Work> Accelerator<W> for ManualDevice<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        if self.answers_at_once() {
            self.complete(request);
            return Ok(());
        }
        let mut requests = self.requests.lock().unwrap();
        if requests.len() == self.ring {
            return Err(DeviceRefused::Full(request));
        }
        requests.push_back(request);
        self.arrived.notify_all();
        Ok(())
    }
}

impl<W: Work> core::fmt::Debug for ManualDevice<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ManualDevice").field("held", &self.held()).finish_non_exhaustive()
    }
}
