//! The warnings of an engine about a failing device, each with a remedy.
//!
//! Each failure is an event at `debug`. One line a second and cause is at `warn`, so that a device that fails a thousand
//! times a second is seen and does not fill the log.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::error::{DeviceError, EngineError};
use crate::event::event;
use crate::work::Kind;

/// Admits one log line a second, and counts those that it held back. For lines of one cause.
#[derive(Debug, Default)]
pub struct LogLimit {
    /// When the next line may come, in nanoseconds; zero before the first.
    next: AtomicU64,
    held_back: AtomicU64,
}

/// How long after a line the next one of the same cause may come.
const PERIOD: u64 = 1_000_000_000;

impl LogLimit {
    /// One that lets the first line through.
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// Whether a line may be logged `now`, by a clock that never runs backwards. If so, returns how many were held back since
    /// the last one.
    pub fn admit(&self, now: Duration) -> Option<u64> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let next = now.saturating_add(PERIOD);
        let may = |due: u64| (due == 0 || due <= now).then_some(next);
        if self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, may).is_err() {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

/// One limit for each cause.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    limits: [LogLimit; N_CAUSES],
}

const N_CAUSES: usize = 10;

/// The number of a cause, its name in the log, and the remedy. `None` if the device has not failed.
fn cause(error: &EngineError) -> Option<(usize, &'static str, &'static str)> {
    Some(match error {
        EngineError::Deadline => (
            0,
            "deadline",
            "the device is away, or slower than the deadline: look at it, or set a longer one",
        ),
        EngineError::Invalid(_) => (
            1,
            "invalid result",
            "the device answers wrongly or uses another key: compare its key with the certificate's, and its encoding \
             with what the operation asks for (ECDSA: DER)",
        ),
        EngineError::Device(DeviceError::Unsupported(_)) => (
            2,
            "unsupported",
            "give the device what it was built for: it lacks this kind of work, or this key",
        ),
        EngineError::Device(DeviceError::Failed(_)) => {
            (3, "failed", "look at what the device or its closure logged before this line")
        }
        EngineError::Device(DeviceError::Reported(_)) => {
            (4, "reported", "the text is the device's own: its manual says what to do")
        }
        EngineError::Device(DeviceError::Reset) => (5, "reset", "find out who resets the device"),
        EngineError::Device(DeviceError::Unavailable(_)) => {
            (6, "unavailable", "bring the device back, or give the engine a standby")
        }
        EngineError::Device(DeviceError::Lost) => {
            (7, "lost", "the device drops requests: it was removed, or it ended before they did")
        }
        EngineError::Device(DeviceError::Permanent(_)) => (
            8,
            "refused",
            "the device is well and says no: look at the key's name and the right to use it",
        ),
        EngineError::Device(DeviceError::Busy { .. }) => {
            (9, "busy", "ask its owner for a higher rate, or give the engine a standby")
        }
        EngineError::Refused(_) | EngineError::Cancelled | EngineError::Gone => return None,
    })
}

impl Complaints {
    /// Warns that a device has failed an operation. `Refused`, `Cancelled` and `Gone` are not its failures, and log nothing.
    pub(crate) fn complain(&self, now: Duration, kind: Kind, error: &EngineError) {
        let Some((number, cause, remedy)) = cause(error) else { return };
        if let Some(held_back) = self.limits[number].admit(now) {
            event!(WARN, kind = kind.name(), cause, %error, remedy, held_back, "engine.failing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_limit_of_its_own() {
        let errors = [
            EngineError::Deadline,
            EngineError::Invalid(crate::CheckFailed("wrong")),
            EngineError::Device(DeviceError::Unsupported("")),
            EngineError::Device(DeviceError::Failed("")),
            EngineError::Device(DeviceError::reported(&"HSM\nlocked")),
            EngineError::Device(DeviceError::Reset),
            EngineError::Device(DeviceError::Unavailable("")),
            EngineError::Device(DeviceError::Lost),
            EngineError::Device(DeviceError::permanent(&"")),
            EngineError::Device(DeviceError::busy(Duration::ZERO, &"")),
        ];
        let mut numbers: Vec<_> = errors.iter().map(|error| cause(error).unwrap().0).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), errors.len());
        assert!(numbers.iter().all(|number| *number < N_CAUSES));
        assert_eq!(errors[4].to_string(), "the device failed: it said: HSM locked");
    }
}
