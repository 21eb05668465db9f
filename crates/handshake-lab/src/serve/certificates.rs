//! The certificates and keys that a server uses now, and the keys that they have replaced while it runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crypto_ops::KeyHandle;
use rustls::{
    pki_types::CertificateDer,
    sign::{CertifiedKey, SigningKey},
};
use ssl_async::{CertSet, CertStore};

use super::identity::{Identity, IdentityError};

/// What handshakes that begin now get. A handshake keeps what it got, so a replacement disturbs none under way.
#[derive(Debug)]
pub(super) struct Current {
    store: Arc<CertStore>,
    keys: Vec<KeyHandle>,
    staples: Vec<Staple>,
}

/// A file with the OCSP response of a certificate, which may be there or not.
#[derive(Debug)]
struct Staple {
    file: PathBuf,
    certificate: CertificateDer<'static>,
    /// What was in the file when it was last read.
    seen: Option<Vec<u8>>,
}

impl Staple {
    /// That of a certificate in this file.
    fn beside(file: &Path, certificate: &CertificateDer<'static>) -> Self {
        let file = file.with_extension("ocsp");
        let mut staple = Self { file, certificate: certificate.clone(), seen: None };
        staple.seen = staple.read();
        staple
    }

    /// The response in the file, if there is one.
    fn read(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.file).ok().filter(|response| !response.is_empty())
    }
}

impl Current {
    /// Begins with these, of which the first is the default; `sign` makes the key that signs where it is to be used.
    pub(super) fn new(
        identities: Vec<Identity>,
        sign: impl Fn(&KeyHandle) -> Arc<dyn SigningKey>,
    ) -> Result<Self, IdentityError> {
        let (set, keys, staples) = read(identities, sign)?;
        Ok(Self { store: Arc::new(CertStore::new(set)), keys, staples })
    }

    /// Begins with a key that is used elsewhere, whose certificate may be in a file.
    pub(super) fn of_key(key: &Arc<CertifiedKey>, file: Option<&Path>) -> Self {
        let (set, staples) = read_key(key, file);
        Self { store: Arc::new(CertStore::new(set)), keys: Vec::new(), staples }
    }

    /// Replaces all by a key that is used elsewhere.
    pub(super) fn replace_by_key(&mut self, key: &Arc<CertifiedKey>, file: Option<&Path>) {
        let (set, staples) = read_key(key, file);
        self.store.replace(set);
        self.staples = staples;
    }

    pub(super) fn store(&self) -> &Arc<CertStore> {
        &self.store
    }

    pub(super) fn keys(&self) -> &[KeyHandle] {
        &self.keys
    }

    /// Replaces all by these, and returns the keys that are not among the new ones.
    pub(super) fn replace(
        &mut self,
        identities: Vec<Identity>,
        sign: impl Fn(&KeyHandle) -> Arc<dyn SigningKey>,
    ) -> Result<Vec<KeyHandle>, IdentityError> {
        let (set, keys, staples) = read(identities, sign)?;
        self.store.replace(set);
        self.staples = staples;
        let mut before = std::mem::replace(&mut self.keys, keys);
        before.retain(|key| !self.keys.contains(key));
        Ok(before)
    }

    /// Reads the OCSP responses whose files have changed, and returns which. A file that is gone or empty leaves the
    /// response that it had.
    pub(super) fn refresh_staples(&mut self) -> Vec<PathBuf> {
        let mut refreshed = Vec::new();
        for staple in &mut self.staples {
            let Some(response) = staple.read().filter(|now| Some(now) != staple.seen.as_ref())
            else {
                continue;
            };
            if self.store.staple_certificate(&staple.certificate, response.clone()) {
                refreshed.push(staple.file.clone());
            }
            staple.seen = Some(response);
        }
        refreshed
    }
}

fn read_key(key: &Arc<CertifiedKey>, file: Option<&Path>) -> (CertSet, Vec<Staple>) {
    let staple = file.zip(key.cert.first());
    let staple = staple.map(|(file, certificate)| Staple::beside(file, certificate));
    let ocsp = staple.as_ref().and_then(|staple| staple.seen.clone());
    let key = Arc::new(CertifiedKey { ocsp, ..CertifiedKey::clone(key) });
    (CertSet::new().default_certificate(&key), staple.into_iter().collect())
}

fn read(
    identities: Vec<Identity>,
    sign: impl Fn(&KeyHandle) -> Arc<dyn SigningKey>,
) -> Result<(CertSet, Vec<KeyHandle>, Vec<Staple>), IdentityError> {
    let (mut set, mut keys, mut staples) = (CertSet::new(), Vec::new(), Vec::new());
    let is_only_one = identities.len() == 1;
    for identity in identities {
        let Identity { chain, handle, file, .. } = identity;
        let staple = file
            .as_ref()
            .zip(chain.first())
            .map(|(file, certificate)| Staple::beside(file, certificate));
        let mut certified = CertifiedKey::new(chain, sign(&handle));
        certified.ocsp = staple.as_ref().and_then(|staple| staple.seen.clone());
        let certified = Arc::new(certified);
        let is_default = keys.is_empty();
        if is_default {
            set = set.default_certificate(&certified);
        }
        // The default may be for names that it does not have, such as an address.
        let is_for_no_host = is_default && CertSet::new().certificate(&certified).is_err();
        if !is_only_one && !is_for_no_host {
            let refused = |source| IdentityError::Host { path: file.unwrap_or_default(), source };
            set = set.certificate(&certified).map_err(refused)?;
        }
        keys.push(handle);
        staples.extend(staple);
    }
    Ok((set, keys, staples))
}

/// Keys that were replaced, and when: handshakes that began before may still ask for them.
#[derive(Debug, Default)]
pub(super) struct ReplacedKeys(Vec<(Duration, KeyHandle)>);

impl ReplacedKeys {
    pub(super) fn add(&mut self, now: Duration, key: KeyHandle) {
        self.0.push((now, key));
    }

    /// Takes those out that nothing can ask for any more at `now`, as a handshake takes at most `longest` and the `current`
    /// keys are others.
    pub(super) fn take_unused(
        &mut self,
        now: Duration,
        longest: Duration,
        current: &[KeyHandle],
    ) -> Vec<KeyHandle> {
        let is_old = |(since, _): &mut (Duration, KeyHandle)| now.saturating_sub(*since) > longest;
        let mut old: Vec<KeyHandle> = self.0.extract_if(.., is_old).map(|(_, key)| key).collect();
        // A key that was replaced and came back is in use, or is replaced once more.
        old.retain(|key| !current.contains(key) && self.0.iter().all(|(_, later)| later != key));
        old
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crypto_ops::SoftwareKeys;

    use super::*;
    use crate::{certs::TestPki, keys::in_place, scenario::KeyType};

    #[test]
    fn a_replaced_key_goes_when_no_handshake_can_ask_for_it() {
        let store = SoftwareKeys::new();
        let load = || {
            let pki = TestPki::generate(KeyType::P256).expect("made");
            store.load_pem(&pki.key_pem).expect("loaded")
        };
        let (first, second, longest) = (load(), load(), Duration::from_secs(60));
        let current = std::slice::from_ref(&second);
        let at = Duration::from_secs;
        let mut replaced = ReplacedKeys::default();
        replaced.add(at(0), first.clone());
        assert_eq!(replaced.take_unused(at(60), longest, current), []);
        assert_eq!(replaced.take_unused(at(61), longest, current), std::slice::from_ref(&first));
        assert_eq!(replaced.take_unused(at(200), longest, current), []);
        // There and back again, twice.
        replaced.add(at(300), first.clone());
        replaced.add(at(301), second.clone());
        replaced.add(at(302), first.clone());
        assert_eq!(replaced.take_unused(at(361), longest, current), []);
        assert_eq!(replaced.take_unused(at(400), longest, current), [first]);
    }

    #[test]
    fn an_ocsp_response_is_read_at_the_start_and_when_its_file_has_changed() {
        let pki = TestPki::generate(KeyType::P256).expect("made");
        let directory = tempfile::TempDir::new().expect("a directory");
        let file = directory.path().join("cert.ocsp");
        let mut identity = Identity::of(&pki).expect("a fresh key");
        identity.file = Some(directory.path().join("cert.pem"));
        let keys = Arc::clone(&identity.keys);
        let sign = |key: &KeyHandle| in_place(Arc::clone(&keys), key.clone());
        fs::write(&file, "first").expect("a file");
        let mut current = Current::new(vec![identity], sign).expect("one certificate");
        let sent = |current: &Current| {
            current.store().get(None).and_then(|key| key.ocsp.clone()).expect("a response")
        };
        assert_eq!(sent(&current), b"first");
        assert!(current.refresh_staples().is_empty(), "it is the same");
        fs::write(&file, "second").expect("a file");
        assert_eq!(current.refresh_staples(), std::slice::from_ref(&file));
        assert_eq!(sent(&current), b"second");
        for change in [fs::write(&file, ""), fs::remove_file(&file)] {
            change.expect("a change");
            assert!(current.refresh_staples().is_empty());
            assert_eq!(sent(&current), b"second");
        }
    }
}
