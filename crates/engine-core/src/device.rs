//! The user's device, as the engine calls it: each call is contained.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use wait_ctx::{Panicked, contain};

use crate::accelerator::{Accelerator, DeviceRefused, Health};
use crate::error::DeviceError;
use crate::foreign::{self, Foreign};
use crate::meter::Meter;
use crate::request::Request;
use crate::threads::{BlockingScope, Shutdown};
use crate::work::{Kind, Work};

/// An accelerator, each call of which is contained.
pub(crate) struct Device<W: Work> {
    foreign: Foreign<Arc<dyn Accelerator<W>>>,
    meter: Arc<Meter>,
}

/// The time after which a device whose poll has panicked is polled again: it does not fill the log.
pub(crate) const AFTER_A_PANIC: Duration = Duration::from_millis(100);

impl<W: Work> Device<W> {
    pub(crate) fn new(device: Arc<dyn Accelerator<W>>, meter: &Arc<Meter>) -> Self {
        Self { foreign: Foreign::new(device), meter: Arc::clone(meter) }
    }

    /// The device itself, for calls that are made while the engine is built.
    pub(crate) fn get(&self) -> &dyn Accelerator<W> {
        &**self.foreign
    }

    /// Submits a request. If the device panics, it counts as accepted: a request that the panic drops ends as lost.
    pub(crate) fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        self.call("Accelerator::submit", |device| device.submit(request)).unwrap_or(Ok(()))
    }

    pub(crate) fn poll(&self, now: Duration) -> Option<Duration> {
        let next = self.call("Accelerator::poll", |device| device.poll(now));
        next.unwrap_or_else(|_panicked| Some(now.saturating_add(AFTER_A_PANIC)))
    }

    pub(crate) fn credits(&self, kind: Kind) -> Option<usize> {
        self.call("Accelerator::credits", |device| device.credits(kind)).unwrap_or_default()
    }

    pub(crate) fn health(&self, now: Duration) -> Health {
        self.call("Accelerator::health", |device| device.health(now)).unwrap_or_default()
    }

    pub(crate) fn blocking(&self) -> Result<Option<BlockingScope>, DeviceError> {
        self.call("Accelerator::blocking", |device| device.blocking()).unwrap_or(Ok(None))
    }

    /// Ends the device's own threads. A panic in it counts as one stuck thread.
    pub(crate) fn end(&self, deadline: Duration) -> Option<Shutdown> {
        let end = self.call("Accelerator::end", |device| device.end(deadline));
        end.unwrap_or(Some(Shutdown::Stuck { n: 1 }))
    }

    fn call<R>(
        &self,
        what: &'static str,
        foreign: impl FnOnce(&dyn Accelerator<W>) -> R,
    ) -> Result<R, Panicked> {
        foreign::call(&self.meter, what, || foreign(self.get()))
    }
}

impl<W: Work> fmt::Debug for Device<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        contain("the Debug of a device", || self.get().fmt(f)).unwrap_or(Err(fmt::Error))
    }
}
