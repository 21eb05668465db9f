//! A device that answers when the test says so.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceError, Rejected, Request};

/// Holds up to `ring` requests until the test tells it what to do with the oldest.
pub(crate) struct ManualDevice {
    keys: Arc<SoftwareKeys>,
    ring: usize,
    requests: Mutex<VecDeque<Request<CryptoOp>>>,
    arrived: Condvar,
    at_once: AtomicBool,
}

impl ManualDevice {
    pub(crate) fn new(keys: Arc<SoftwareKeys>, ring: usize) -> Arc<Self> {
        Arc::new(Self {
            keys,
            ring,
            requests: Mutex::default(),
            arrived: Condvar::new(),
            at_once: AtomicBool::new(false),
        })
    }

    pub(crate) fn held(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(crate) fn answers_at_once(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }

    /// From now on requests are answered within `submit`, or only when the test says so.
    pub(crate) fn set_answers_at_once(&self, at_once: bool) {
        self.at_once.store(at_once, Ordering::Relaxed);
    }

    fn take(&self) -> Request<CryptoOp> {
        self.requests.lock().unwrap().pop_front().expect("the device holds a request")
    }

    /// Signs the oldest request.
    pub(crate) fn answer(&self) {
        self.complete(self.take());
    }

    fn complete(&self, request: Request<CryptoOp>) {
        let output = self.keys.execute(request.work()).expect("the key is in the store");
        request.complete(Ok(output));
    }

    /// Answers one request from another thread, when there is one: for a session that blocks its own.
    pub(crate) fn answer_in_background(self: &Arc<Self>) -> JoinHandle<()> {
        let device = Arc::clone(self);
        std::thread::spawn(move || {
            let requests = device.requests.lock().unwrap();
            let held = |requests: &mut VecDeque<_>| requests.is_empty();
            drop(device.arrived.wait_while(requests, held).unwrap());
            device.answer();
        })
    }

    /// Signs the oldest request wrongly.
    pub(crate) fn answer_wrongly(&self) {
        let request = self.take();
        let output = self.keys.execute(request.work()).expect("the key is in the store");
        request.complete(Ok(output.spoiled()));
    }

    /// Fails the oldest request.
    pub(crate) fn fail(&self) {
        self.take().complete(Err(DeviceError::Failed("told to")));
    }
}

impl Accelerator<CryptoOp> for ManualDevice {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), Rejected<CryptoOp>> {
        if self.answers_at_once() {
            self.complete(request);
            return Ok(());
        }
        let mut requests = self.requests.lock().unwrap();
        if requests.len() == self.ring {
            return Err(Rejected::Full(request));
        }
        requests.push_back(request);
        self.arrived.notify_all();
        Ok(())
    }
}

impl core::fmt::Debug for ManualDevice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ManualDevice").field("held", &self.held()).finish_non_exhaustive()
    }
}
