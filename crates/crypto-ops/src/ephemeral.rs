//! Handles of ephemeral private keys, which stay in the device that made them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use engine_core::{Gauge, LiveGauge};

use crate::group::Group;

/// Handle of the private key of a key exchange that was started. The key stays in the device.
///
/// The device stores a value of its own behind the handle: key material, or an object number. The value is dropped with
/// the last clone of the handle, on the thread that drops it, so a device frees the object in that value's `Drop`.
/// [`device_handles`] counts the handles that exist.
#[derive(Clone)]
pub struct EphemeralKey(Arc<EphemeralInner>);

struct EphemeralInner {
    group: Group,
    device_value: Box<dyn Any + Send + Sync>,
}

impl EphemeralKey {
    /// Makes a handle for the private key of an exchange in `group`; `device_value` is the device's own.
    pub fn new(group: Group, device_value: impl Any + Send + Sync) -> Self {
        ALIVE.add(1);
        Self(Arc::new(EphemeralInner { group, device_value: Box::new(device_value) }))
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.0.group
    }

    /// The device's value, or `None` when it is of another type: the handle may be another device's.
    pub fn private<T: Any>(&self) -> Option<&T> {
        self.0.device_value.downcast_ref()
    }
}

impl Drop for EphemeralInner {
    fn drop(&mut self) {
        ALIVE.sub(1);
    }
}

/// Handles are equal when they are clones of one another.
impl PartialEq for EphemeralKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for EphemeralKey {}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralKey").field("group", &self.0.group).finish_non_exhaustive()
    }
}

/// The number of ephemeral keys that devices hold in this process, now and at its highest. Zero when no session is alive
/// ([law L8](https://github.com/layby-rs/layby/blob/main/docs/laws.md): nothing in flight, nothing held).
pub fn device_handles() -> Gauge {
    ALIVE.read()
}

static ALIVE: LiveGauge = LiveGauge::new();
