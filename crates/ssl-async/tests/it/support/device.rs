//! A device that answers when the test says so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceError, Rejected, Request};

/// Holds up to `ring` requests until the test tells it what to do with the oldest.
pub(crate) struct ManualDevice {
    keys: Arc<SoftwareKeys>,
    ring: usize,
    requests: Mutex<VecDeque<Request<CryptoOp>>>,
}

impl ManualDevice {
    pub(crate) fn new(keys: Arc<SoftwareKeys>, ring: usize) -> Arc<Self> {
        Arc::new(Self { keys, ring, requests: Mutex::default() })
    }

    pub(crate) fn held(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn take(&self) -> Request<CryptoOp> {
        self.requests.lock().unwrap().pop_front().expect("the device holds a request")
    }

    /// Signs the oldest request.
    pub(crate) fn answer(&self) {
        let request = self.take();
        let output = self.keys.execute(request.work()).expect("the key is in the store");
        request.complete(Ok(output));
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
        let mut requests = self.requests.lock().unwrap();
        if requests.len() == self.ring {
            return Err(Rejected::Full(request));
        }
        requests.push_back(request);
        Ok(())
    }
}

impl core::fmt::Debug for ManualDevice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ManualDevice").field("held", &self.held()).finish_non_exhaustive()
    }
}
