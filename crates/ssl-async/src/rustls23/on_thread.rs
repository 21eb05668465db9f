//! Synchronous hooks of the user's on a fiber: called on the thread's own stack, and inside the runtime of the packet's task.
//!
//! A fiber's stack is small, its thread belongs to no runtime, and a hook written for another acceptor knows neither. What
//! is called so cannot pause. A hook that contains one of this crate's that waits, such as a resolver of one's own around
//! [`resolve::server_certificate`](crate::resolve::server_certificate), blocks its thread the first time and is known from
//! then on: it is called on the fiber, where it pauses.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustls::KeyLog;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
#[cfg(feature = "tokio")]
use rustls::{ClientConfig, ServerConfig};

use crate::hook_runtime;
#[cfg(feature = "tokio")]
use crate::known::WaitingHooks;

thread_local! {
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Called by a hook of this crate that waits: from now on, what contains it is called on the fiber.
pub(super) fn waits() {
    WAITS.set(true);
}

/// Runs `ask`, and returns whether it called [`waits`].
fn finds_waits<R>(ask: impl FnOnce() -> R) -> (R, bool) {
    let before = WAITS.replace(false);
    let answer = ask();
    (answer, WAITS.replace(before))
}

/// A hook that is called on the thread's stack unless it waits.
pub(super) struct OnThread<T: ?Sized> {
    hook: Arc<T>,
    waits: Arc<AtomicBool>,
}

impl<T: ?Sized> OnThread<T> {
    pub(super) fn new(hook: Arc<T>) -> Self {
        Self { hook, waits: Arc::default() }
    }

    /// `waits` is known already, and says what is found later.
    #[cfg(feature = "tokio")]
    fn known(hook: Arc<T>, waits: &Arc<AtomicBool>) -> Self {
        Self { hook, waits: Arc::clone(waits) }
    }

    /// `ask` calls something on the hook in which one of this crate's calls [`waits`].
    #[cfg(feature = "tokio")]
    fn asked<R>(self, ask: impl FnOnce(&T) -> R) -> Arc<Self> {
        self.note(finds_waits(|| ask(&self.hook)).1);
        Arc::new(self)
    }

    fn note(&self, waits: bool) {
        if waits {
            self.waits.store(true, Ordering::Relaxed);
        }
    }

    /// The hook, for calls that neither wait nor need much.
    pub(super) fn hook(&self) -> &T {
        &self.hook
    }

    pub(super) fn call<R>(&self, call: impl FnOnce(&T) -> R) -> R {
        if self.waits.load(Ordering::Relaxed) || !job_core::on_job_stack() {
            return tls_replay::hand_on(self, &*self.hook, call);
        }
        let on_thread = || hook_runtime::enter(|| call(&self.hook));
        let (answer, waits) = finds_waits(|| job_core::on_thread_stack(on_thread));
        self.note(waits);
        answer
    }
}

/// A server's configuration with its hooks so, of which those in `waiting` wait.
#[cfg(feature = "tokio")]
pub(crate) fn server(config: &ServerConfig, waiting: &WaitingHooks) -> ServerConfig {
    let WaitingHooks { resolver, ticketer, storage, key_log } = waiting;
    let mut config = config.clone();
    let resolver = OnThread::known(config.cert_resolver, resolver);
    config.cert_resolver = resolver.asked(|hook| hook.only_raw_public_keys());
    config.ticketer = OnThread::known(config.ticketer, ticketer).asked(|hook| hook.enabled());
    config.session_storage = Arc::new(OnThread::known(config.session_storage, storage));
    config.key_log = Arc::new(OnThread::known(config.key_log, key_log));
    config
}

/// As [`server`], for a client. rustls resumes a session only with the resolver and the verifier of the session before, so
/// those stay.
#[cfg(feature = "tokio")]
pub(crate) fn client(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.key_log = Arc::new(OnThread::new(config.key_log));
    config
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OnThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hook.fmt(f)
    }
}

impl ResolvesServerCert for OnThread<dyn ResolvesServerCert> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.call(|hook| hook.resolve(hello))
    }

    fn only_raw_public_keys(&self) -> bool {
        self.hook.only_raw_public_keys()
    }
}

impl ProducesTickets for OnThread<dyn ProducesTickets> {
    fn enabled(&self) -> bool {
        self.hook.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.hook.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.call(|hook| hook.encrypt(plain))
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.call(|hook| hook.decrypt(sealed))
    }
}

impl StoresServerSessions for OnThread<dyn StoresServerSessions> {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.call(|hook| hook.put(id, session))
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.call(|hook| hook.get(id))
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.call(|hook| hook.take(id))
    }

    fn can_cache(&self) -> bool {
        self.hook.can_cache()
    }
}

impl KeyLog for OnThread<dyn KeyLog> {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.call(|hook| hook.log(label, client_random, secret));
    }

    fn will_log(&self, label: &str) -> bool {
        self.hook.will_log(label)
    }
}
