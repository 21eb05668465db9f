//! What handshakes have found out about a server's configuration. It holds no part of the configuration.

#[cfg(feature = "tokio")]
use core::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
#[cfg(feature = "tokio")]
use std::sync::{Mutex, PoisonError, Weak};

#[cfg(feature = "tokio")]
use crate::rustls23::ServerConfig;

/// Facts of one configuration. Endpoints that are made of it for a handshake each share them.
#[derive(Default)]
pub(crate) struct Known {
    /// The hooks that wait, and are called on a fiber therefore.
    #[cfg(feature = "tokio")]
    pub(crate) waiting: WaitingHooks,
    /// Whether handshakes can be replayed; the error says why they need a fiber.
    pub(crate) replayable: OnceLock<Result<(), Arc<str>>>,
}

/// Whether each hook waits.
#[cfg(feature = "tokio")]
#[derive(Default)]
pub(crate) struct WaitingHooks {
    pub(crate) resolver: Arc<AtomicBool>,
    pub(crate) ticketer: Arc<AtomicBool>,
    pub(crate) storage: Arc<AtomicBool>,
    pub(crate) key_log: Arc<AtomicBool>,
}

/// The number of configurations about which something is remembered. The oldest is forgotten first.
#[cfg(feature = "tokio")]
const MAX: usize = 256;

/// What is known of `config` in this process.
#[cfg(feature = "tokio")]
pub(crate) fn known_of(config: &Arc<ServerConfig>) -> Arc<Known> {
    static ALL: Mutex<Vec<(Weak<ServerConfig>, Arc<Known>)>> = Mutex::new(Vec::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    // No other configuration can have the address while there is a `Weak`.
    let found = all.iter().find(|(weak, _)| core::ptr::eq(weak.as_ptr(), Arc::as_ptr(config)));
    if let Some((_, known)) = found {
        return Arc::clone(known);
    }
    all.retain(|(weak, _)| weak.strong_count() > 0);
    if all.len() == MAX {
        all.remove(0);
    }
    let known = Arc::default();
    all.push((Arc::downgrade(config), Arc::clone(&known)));
    known
}
