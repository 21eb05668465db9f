//! The descriptors registered with a wait context, and what a consumer has seen of them.
//!
//! A plain ordered list of entries, newest last. Nothing here knows callbacks or requests.

use std::any::Any;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::fds_gauge;
use crate::signal::Signal;

/// Names who registered a descriptor: one per engine, made once and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(KeyKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum KeyKind {
    Notify,
    Unique(u64),
    Address(usize),
}

impl Key {
    /// The key of a context's own descriptor (see [`WaitCtx::notify_fd`](crate::WaitCtx::notify_fd)).
    pub const NOTIFY: Self = Self(KeyKind::Notify);

    /// A key that no other call in this process returns.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(KeyKind::Unique(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The key of an engine that names itself by an address, as in OpenSSL. Never equal to a unique one.
    pub const fn from_address(address: usize) -> Self {
        Self(KeyKind::Address(address))
    }
}

/// An open descriptor of a wait context. It stays open as long as any clone does, so a consumer that keeps what it has
/// seen (see [`Seen`]) can never mistake a reused number for the one it knew.
#[derive(Clone)]
pub struct FdHandle(HandleKind);

#[derive(Clone)]
enum HandleKind {
    Owned(Rc<CountedFd>),
    Borrowed(RawFd),
    Notify(Arc<CountedSignal>),
}

struct CountedFd(Option<OwnedFd>);

impl Drop for CountedFd {
    fn drop(&mut self) {
        fds_gauge().sub(1);
    }
}

/// The context's own signal, in the ledger.
pub(crate) struct CountedSignal(pub(crate) Arc<Signal>);

impl CountedSignal {
    pub(crate) fn new(signal: Arc<Signal>) -> Self {
        fds_gauge().add(signal.n_fds());
        Self(signal)
    }
}

impl Drop for CountedSignal {
    fn drop(&mut self) {
        fds_gauge().sub(self.0.n_fds());
    }
}

impl FdHandle {
    fn owned(fd: OwnedFd) -> Self {
        fds_gauge().add(1);
        Self(HandleKind::Owned(Rc::new(CountedFd(Some(fd)))))
    }

    pub(crate) fn notify(signal: Arc<CountedSignal>) -> Self {
        Self(HandleKind::Notify(signal))
    }

    /// The descriptor itself, if it is an owned one and this is its last handle; else the handle again.
    ///
    /// # Errors
    /// The handle, while a consumer has not seen the removal, or if the descriptor was never owned.
    pub fn into_owned(self) -> Result<OwnedFd, Self> {
        match self.0 {
            HandleKind::Owned(shared) => match Rc::try_unwrap(shared) {
                Ok(mut counted) => Ok(counted.0.take().expect("taken only here, by value")),
                Err(shared) => Err(Self(HandleKind::Owned(shared))),
            },
            kind => Err(Self(kind)),
        }
    }
}

impl AsRawFd for FdHandle {
    fn as_raw_fd(&self) -> RawFd {
        match &self.0 {
            HandleKind::Owned(fd) => {
                fd.0.as_ref().expect("taken only with the last handle").as_raw_fd()
            }
            HandleKind::Borrowed(fd) => *fd,
            HandleKind::Notify(signal) => signal.0.as_raw_fd(),
        }
    }
}

impl PartialEq for FdHandle {
    /// Whether both are the same number. While both handles exist, that means the same open descriptor.
    fn eq(&self, other: &Self) -> bool {
        self.as_raw_fd() == other.as_raw_fd()
    }
}

impl fmt::Debug for FdHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            HandleKind::Owned(_) => "owned",
            HandleKind::Borrowed(_) => "borrowed",
            HandleKind::Notify(_) => "notify",
        };
        write!(f, "FdHandle({}, {kind})", self.as_raw_fd())
    }
}

/// What runs for a registration that is still live when its context goes away.
pub type Cleanup = Box<dyn FnOnce(&crate::Teardown<'_>, Key, WaitFd)>;

/// A descriptor to register, with the owner's data.
pub struct WaitFd {
    /// The descriptor.
    pub fd: FdHandle,
    /// The owner's data.
    pub data: Option<Rc<dyn Any>>,
    pub(crate) cleanup: Option<Cleanup>,
}

impl WaitFd {
    /// A descriptor that the context keeps open, and closes once nobody needs it.
    pub fn owned(fd: impl Into<OwnedFd>) -> Self {
        Self { fd: FdHandle::owned(fd.into()), data: None, cleanup: None }
    }

    /// A descriptor that stays its owner's. It must stay open until every consumer has seen its removal.
    pub fn borrowed(fd: &impl AsRawFd) -> Self {
        Self { fd: FdHandle(HandleKind::Borrowed(fd.as_raw_fd())), data: None, cleanup: None }
    }

    /// The descriptor of a handle that was taken back by `clear_fd`.
    pub fn again(fd: FdHandle) -> Self {
        Self { fd, data: None, cleanup: None }
    }

    /// Adds data that [`WaitCtx::fd`](crate::WaitCtx::fd) gives back.
    #[must_use]
    pub fn with_data<T: Any>(mut self, data: T) -> Self {
        self.data = Some(Rc::new(data));
        self
    }

    /// Adds a cleanup. It runs if the registration is still live when the context is dropped, never otherwise.
    #[must_use]
    pub fn with_cleanup(
        mut self,
        cleanup: impl FnOnce(&crate::Teardown<'_>, Key, Self) + 'static,
    ) -> Self {
        self.cleanup = Some(Box::new(cleanup));
        self
    }

    /// The owner's data, if there is any of this type.
    pub fn data<T: Any>(&self) -> Option<Rc<T>> {
        self.data.clone().and_then(|data| data.downcast().ok())
    }
}

impl fmt::Debug for WaitFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitFd")
            .field("fd", &self.fd)
            .field("has_data", &self.data.is_some())
            .field("has_cleanup", &self.cleanup.is_some())
            .finish()
    }
}

/// The key already has a live descriptor in this context. Both come back.
#[derive(Debug, thiserror::Error)]
#[error("the key already has a live descriptor here: clear it first, or look it up and use it")]
#[non_exhaustive]
pub struct KeyInUse {
    /// The refused registration.
    pub refused: WaitFd,
}

/// The registrations of one context, newest last.
#[derive(Default)]
pub(crate) struct FdTable {
    entries: Vec<Entry>,
}

/// A registration, or the trace of one that was cleared within OpenSSL's window (see `openssl_view`).
struct Entry {
    key: Key,
    fd: RawFd,
    /// Registered since the window opened.
    is_new: bool,
    /// `None` once cleared.
    live: Option<WaitFd>,
}

impl FdTable {
    pub(crate) fn find(&self, key: Key) -> Option<&WaitFd> {
        self.position(key).and_then(|at| self.entries[at].live.as_ref())
    }

    pub(crate) fn add(&mut self, key: Key, wait_fd: WaitFd) {
        let fd = wait_fd.fd.as_raw_fd();
        self.entries.push(Entry { key, fd, is_new: true, live: Some(wait_fd) });
    }

    /// Takes the newest live registration of a key. One that is new in the window leaves no trace.
    pub(crate) fn clear(&mut self, key: Key) -> Option<WaitFd> {
        let at = self.position(key)?;
        if self.entries[at].is_new {
            self.entries.remove(at).live
        } else {
            self.entries[at].live.take()
        }
    }

    /// Takes the newest live registration of all.
    pub(crate) fn pop(&mut self) -> Option<(Key, WaitFd)> {
        loop {
            let entry = self.entries.pop()?;
            if let Some(wait_fd) = entry.live {
                return Some((entry.key, wait_fd));
            }
        }
    }

    /// The live ones, newest first.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &FdHandle> {
        self.entries.iter().rev().filter_map(|entry| entry.live.as_ref()).map(|live| &live.fd)
    }

    /// Those registered since the window opened, newest first.
    pub(crate) fn new_in_window(&self) -> impl Iterator<Item = RawFd> {
        self.entries.iter().rev().filter(|entry| entry.is_new).map(|entry| entry.fd)
    }

    /// Those registered before the window opened and cleared since, in the order of registration, newest first.
    pub(crate) fn cleared_in_window(&self) -> impl Iterator<Item = RawFd> {
        self.entries.iter().rev().filter(|entry| entry.live.is_none()).map(|entry| entry.fd)
    }

    /// Opens the next window: what is live is no longer new, and what was cleared is forgotten.
    pub(crate) fn open_window(&mut self) {
        self.entries.retain(|entry| entry.live.is_some());
        for entry in &mut self.entries {
            entry.is_new = false;
        }
    }

    fn position(&self, key: Key) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.key == key && entry.live.is_some())
    }
}

/// What one consumer saw last. It keeps every descriptor in it open.
#[derive(Debug, Clone, Default)]
pub struct Seen(Vec<FdHandle>);

impl Seen {
    /// Nothing was seen yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What was seen last.
    pub fn handles(&self) -> &[FdHandle] {
        &self.0
    }

    #[cfg(feature = "mio")]
    pub(crate) fn note(&mut self, handle: FdHandle) {
        self.0.push(handle);
    }

    #[cfg(feature = "mio")]
    pub(crate) fn forget(&mut self, handle: &FdHandle) {
        self.0.retain(|known| known != handle);
    }

    pub(crate) fn advance(&mut self, table: &FdTable) -> FdDiff {
        let mut current: Vec<FdHandle> = Vec::new();
        for handle in table.handles() {
            if !current.contains(handle) {
                current.push(handle.clone());
            }
        }
        let added = current.iter().filter(|handle| !self.0.contains(handle)).cloned().collect();
        let before = std::mem::replace(&mut self.0, current);
        let removed = before.into_iter().filter(|handle| !self.0.contains(handle)).collect();
        FdDiff { added, removed }
    }
}

/// The net difference between what a consumer saw and what there is now. No descriptor is in both lists.
///
/// Holding it keeps the removed descriptors open: deregister them, then drop it.
#[derive(Debug, Clone, Default)]
#[must_use = "the consumer counts as having seen this"]
pub struct FdDiff {
    /// Descriptors to wait for from now on, newest first.
    pub added: Vec<FdHandle>,
    /// Descriptors to wait for no more, newest first.
    pub removed: Vec<FdHandle>,
}

impl FdDiff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}
