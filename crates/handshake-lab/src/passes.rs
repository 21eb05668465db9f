//! What rustls asks of key and resolver in the passes of handshakes by replay, counted beside both: the evidence of law L16.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};

use crate::{
    evidence::Replays,
    keys::{Asked, watched},
};

/// Watches the handshakes of a row that parks them by replay. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passes(Arc<Mutex<SeenPasses>>);

#[derive(Debug, Default)]
struct SeenPasses {
    /// What first passes have asked to sign, and no second pass has its signature for.
    open: HashSet<(u16, Vec<u8>)>,
    counts: Replays,
}

impl Passes {
    /// Counts what `key` is asked for: in `asked` the signatures that a first pass postpones, and here those that a second
    /// pass is handed, each by its scheme and message.
    pub(crate) fn key(&self, key: Arc<dyn SigningKey>, asked: &Asked) -> Arc<dyn SigningKey> {
        let (passes, asked) = (self.clone(), asked.clone());
        watched(key, move |(scheme, message), sign| {
            let signed = sign();
            let question = (u16::from(scheme), message.to_vec());
            let mut seen = passes.seen();
            if signed.is_err() {
                seen.open.insert(question);
                asked.one_more();
            } else {
                seen.counts.handed += 1;
                seen.counts.unasked += u64::from(!seen.open.remove(&question));
            }
            signed
        })
    }

    /// Counts how often `resolver` is asked.
    pub(crate) fn resolver(
        &self,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Arc<dyn ResolvesServerCert> {
        Arc::new(CountedResolver { resolver, passes: self.clone() })
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Replays)) {
        change(&mut self.seen().counts);
    }

    pub(crate) fn counts(&self) -> Replays {
        self.seen().counts
    }

    fn seen(&self) -> MutexGuard<'_, SeenPasses> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CountedResolver {
    resolver: Arc<dyn ResolvesServerCert>,
    passes: Passes,
}

impl fmt::Debug for CountedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resolver.fmt(f)
    }
}

impl ResolvesServerCert for CountedResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.passes.count(|counts| counts.resolved += 1);
        self.resolver.resolve(hello)
    }
}
