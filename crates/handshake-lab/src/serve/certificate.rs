//! The certificate and key that a server uses now, and the keys that they have replaced while it runs.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crypto_ops::KeyHandle;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// What handshakes that begin now get. A handshake keeps what it got, so a replacement disturbs none under way.
#[derive(Debug)]
pub(super) struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    pub(super) fn new(certified: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(certified)))
    }

    pub(super) fn replace(&self, certified: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Keys that were replaced, and when: handshakes that began before may still ask for them.
#[derive(Debug, Default)]
pub(super) struct ReplacedKeys(Vec<(Duration, KeyHandle)>);

impl ReplacedKeys {
    pub(super) fn add(&mut self, now: Duration, key: KeyHandle) {
        self.0.push((now, key));
    }

    /// Takes those out that nothing can ask for any more at `now`, as a handshake takes at most `longest` and `current` is
    /// another key.
    pub(super) fn take_unused(
        &mut self,
        now: Duration,
        longest: Duration,
        current: &KeyHandle,
    ) -> Vec<KeyHandle> {
        let is_old = |(since, _): &mut (Duration, KeyHandle)| now.saturating_sub(*since) > longest;
        let mut old: Vec<KeyHandle> = self.0.extract_if(.., is_old).map(|(_, key)| key).collect();
        // A key that was replaced and came back is in use, or is replaced once more.
        old.retain(|key| key != current && self.0.iter().all(|(_, later)| later != key));
        old
    }
}

#[cfg(test)]
mod tests {
    use crypto_ops::SoftwareKeys;

    use super::*;
    use crate::{certs::TestPki, scenario::KeyType};

    #[test]
    fn a_replaced_key_goes_when_no_handshake_can_ask_for_it() {
        let store = SoftwareKeys::new();
        let load = || {
            let pki = TestPki::generate(KeyType::P256).expect("made");
            store.load_pem(&pki.key_pem).expect("loaded")
        };
        let (first, second, longest) = (load(), load(), Duration::from_secs(60));
        let at = Duration::from_secs;
        let mut replaced = ReplacedKeys::default();
        replaced.add(at(0), first.clone());
        assert_eq!(replaced.take_unused(at(60), longest, &second), []);
        assert_eq!(replaced.take_unused(at(61), longest, &second), std::slice::from_ref(&first));
        assert_eq!(replaced.take_unused(at(200), longest, &second), []);
        // There and back again, twice.
        replaced.add(at(300), first.clone());
        replaced.add(at(301), second.clone());
        replaced.add(at(302), first.clone());
        assert_eq!(replaced.take_unused(at(361), longest, &second), []);
        assert_eq!(replaced.take_unused(at(400), longest, &second), [first]);
    }
}
