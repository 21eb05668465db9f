//! Further attempts of requests that the device failed: when the next one is due, and those that wait for theirs.
//!
//! A request that waits for its next attempt is kept in the [backlog](crate::backlog) of its device. It can still be
//! cancelled, sent to the standby or ended by its deadline, and then is taken out.

use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::BTreeSet;
use std::hash::RandomState;

use rustc_hash::FxHashMap;

use crate::error::{DeviceError, EngineError};
use crate::work::RequestId;

/// Requests that wait for their next attempt. Pure bookkeeping, generic over what waits.
pub(crate) struct Later<R> {
    by_time: BTreeSet<(Duration, RequestId)>,
    /// The request of each, and its time. No peer chooses the numbers, so a fast hash is safe.
    requests: FxHashMap<RequestId, (Duration, R)>,
}

impl<R> Later<R> {
    pub(crate) fn new() -> Self {
        Self { by_time: BTreeSet::new(), requests: FxHashMap::default() }
    }

    /// When the next attempt is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(due, _)| *due)
    }

    pub(crate) fn insert(&mut self, at: Duration, id: RequestId, request: R) {
        self.by_time.insert((at, id));
        self.requests.insert(id, (at, request));
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.requests.contains_key(&id)
    }

    /// Takes a request out before its time.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<R> {
        let (at, request) = self.requests.remove(&id)?;
        self.by_time.remove(&(at, id));
        Some(request)
    }

    pub(crate) fn take_due(&mut self, now: Duration) -> Option<R> {
        let (_, id) = *self.by_time.first().filter(|(due, _)| *due <= now)?;
        self.take(id)
    }

    pub(crate) fn take_all(&mut self) -> Vec<R> {
        self.by_time.clear();
        self.requests.drain().map(|(_, (_, request))| request).collect()
    }
}

/// The pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause that the engine chooses by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The pause before attempt `n + 1`, if another attempt may end otherwise. `jitter` is in `0..1_000`.
fn pause_after(error: &EngineError, n: u32, jitter: u32) -> Option<Duration> {
    let EngineError::Device(error) = error else { return None };
    match error {
        DeviceError::Unsupported(_) | DeviceError::Permanent(_) => None,
        // As long as the device says, and up to a quarter longer.
        DeviceError::Busy { after, .. } => {
            Some(after.saturating_add((*after / 4_000).saturating_mul(jitter)))
        }
        // Between half of the pause and all of it.
        _ => {
            let pause = FIRST_PAUSE.saturating_mul(1 << n.saturating_sub(1).min(16));
            let pause = pause.min(LONGEST_PAUSE);
            Some(pause / 2 + (pause / 2_000).saturating_mul(jitter))
        }
    }
}

/// Chooses the pauses. Each engine has a seed of its own, so that two processes do not call the device in step.
#[derive(Default)]
pub(crate) struct Pauses(RandomState);

impl Pauses {
    /// The pause before the next attempt of a request that a device has failed `n` times, if another may end otherwise.
    pub(crate) fn after(&self, id: RequestId, n: u32, error: &EngineError) -> Option<Duration> {
        pause_after(error, n, (self.0.hash_one((id.0, n)) % 1_000) as u32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_fail_again_is_not_attempted_again() {
        let never = [
            EngineError::Device(DeviceError::Unsupported("no such key")),
            EngineError::Device(DeviceError::permanent(&"access denied")),
            EngineError::Invalid(crate::CheckFailed("wrong")),
            EngineError::Deadline,
            EngineError::Cancelled,
        ];
        assert!(never.iter().all(|error| pause_after(error, 1, 0).is_none()));
    }

    proptest! {
        #[test]
        fn a_pause_is_as_long_as_the_device_asks_and_at_most_a_quarter_longer(
            millis in 0u64..100_000, n in 0u32..40, jitter in 0u32..1_000,
        ) {
            let after = Duration::from_millis(millis);
            let busy = EngineError::Device(DeviceError::busy(after, &"throttled"));
            let pause = pause_after(&busy, n, jitter).unwrap();
            prop_assert!(after <= pause && pause <= after + after / 4);
            let lost = EngineError::Device(DeviceError::Lost);
            let pause = pause_after(&lost, n, jitter).unwrap();
            prop_assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE);
        }
    }
}
