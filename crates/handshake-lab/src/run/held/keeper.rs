//! A device that begins nothing until it is told to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    thread::{self, ThreadId},
};

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceError, DeviceRefused, Request};

/// Keeps the requests of each thread in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Keeper(Mutex<HashMap<ThreadId, Vec<Option<Request<CryptoOp>>>>>);

impl Accelerator<CryptoOp> for Keeper {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), DeviceRefused<CryptoOp>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(thread::current().id()).or_default().push(Some(request));
        Ok(())
    }
}

impl Keeper {
    /// Signs what the calling thread has submitted as its `place`th request, counted from 0. False if there is no such
    /// request any more.
    pub(super) fn sign(&self, place: usize, keys: &SoftwareKeys) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = kept.get_mut(&thread::current().id());
        let request = own.and_then(|own| own.get_mut(place)?.take());
        drop(kept);
        let Some(request) = request else { return false };
        let signature = keys.execute(request.work());
        request.complete(signature.map_err(|error| DeviceError::reported(&error)));
        true
    }

    /// Drops every request that is left.
    pub(super) fn clear(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }
}
