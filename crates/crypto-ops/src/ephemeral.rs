//! The private half of a key exchange under way, in the device that made it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine_core::Level;

use crate::group::Group;

/// The private half of a key exchange that was started and not completed. It stays in the device; this is the handle.
///
/// What the device keeps behind the handle is its own: key material, or an object number with a destructor. It is
/// dropped with the last clone of the handle, wherever that happens, so a device frees the object in that destructor.
/// [`device_handles`] counts the handles that exist.
#[derive(Clone)]
pub struct EphemeralKey(Arc<Held>);

struct Held {
    group: Group,
    private: Box<dyn Any + Send + Sync>,
}

impl EphemeralKey {
    /// A handle for what a device keeps of an exchange in `group`.
    pub fn new(group: Group, private: impl Any + Send + Sync) -> Self {
        let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
        PEAK.fetch_max(now, Ordering::Relaxed);
        Self(Arc::new(Held { group, private: Box::new(private) }))
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.0.group
    }

    /// What the device keeps, if it is of this type: a device must expect handles of another one.
    pub fn private<T: Any>(&self) -> Option<&T> {
        self.0.private.downcast_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        NOW.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Two handles are equal when they are of the same exchange.
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

/// How many ephemeral keys devices hold in this process, now and at most so far. Zero when no session is alive (law
/// L8).
pub fn device_handles() -> Level {
    let (now, peak) = (NOW.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed));
    Level { now: now as u64, peak: peak as u64 }
}

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
