//! What an engine registers: a descriptor under a key, with data and a cleanup.

use std::any::Any;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::contain::contain_drop;
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
/// seen (see [`Seen`](crate::Seen)) can never mistake a reused number for the one it knew.
#[derive(Clone)]
pub struct FdHandle {
    number: RawFd,
    /// What keeps it open: nothing, for a borrowed one.
    keeper: Option<Rc<Keeper>>,
}

enum Keeper {
    Owned(CountedFd),
    /// The context's own.
    #[expect(dead_code, reason = "held, not read")]
    Notify(Rc<CountedSignal>),
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
        let number = fd.as_raw_fd();
        Self { number, keeper: Some(Rc::new(Keeper::Owned(CountedFd(Some(fd))))) }
    }

    pub(crate) fn notify(signal: Rc<CountedSignal>) -> Self {
        Self { number: signal.0.as_raw_fd(), keeper: Some(Rc::new(Keeper::Notify(signal))) }
    }

    /// Takes it out, and leaves a borrowed one of the same number.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self { number: self.number, keeper: self.keeper.take() }
    }

    /// The descriptor itself, if it is an owned one and this is its last handle; else the handle again.
    ///
    /// # Errors
    /// The handle, while a consumer has not seen the removal, or if the descriptor was never owned.
    pub fn into_owned(mut self) -> Result<OwnedFd, Self> {
        let sole = self.keeper.as_mut().and_then(Rc::get_mut);
        match sole {
            Some(Keeper::Owned(fd)) => Ok(fd.0.take().expect("taken only here, by value")),
            Some(Keeper::Notify(_)) | None => Err(self),
        }
    }
}

impl AsRawFd for FdHandle {
    #[inline]
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl PartialEq for FdHandle {
    /// Whether both are the same number. While both handles exist, that means the same open descriptor.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_raw_fd() == other.as_raw_fd()
    }
}

impl fmt::Debug for FdHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.keeper.as_deref() {
            Some(Keeper::Owned(_)) => "owned",
            Some(Keeper::Notify(_)) => "notify",
            None => "borrowed",
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
    /// Apart, because most descriptors have neither, and a registration is moved around.
    extras: Option<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    data: Option<Rc<dyn Any>>,
    cleanup: Option<Cleanup>,
}

impl Extras {
    #[cold]
    fn without_cleanup(mut self: Box<Self>) -> Box<Self> {
        if let Some(cleanup) = self.cleanup.take() {
            contain_drop("the cleanup of a wait descriptor", cleanup);
        }
        self
    }
}

impl WaitFd {
    /// A descriptor that the context keeps open, and closes once nobody needs it.
    pub fn owned(fd: impl Into<OwnedFd>) -> Self {
        Self::again(FdHandle::owned(fd.into()))
    }

    /// A descriptor that stays its owner's. It must stay open until every consumer has seen its removal.
    #[inline]
    pub fn borrowed(fd: &impl AsRawFd) -> Self {
        Self::again(FdHandle { number: fd.as_raw_fd(), keeper: None })
    }

    /// The descriptor of a handle that was taken back by `clear_fd`.
    #[inline]
    pub const fn again(fd: FdHandle) -> Self {
        Self { fd, extras: None }
    }

    /// Adds data that [`WaitCtx::fd`](crate::WaitCtx::fd) gives back.
    #[must_use]
    pub fn with_data<T: Any>(mut self, data: T) -> Self {
        self.extras.get_or_insert_default().data = Some(Rc::new(data));
        self
    }

    /// Adds a cleanup. It runs if the registration is still live when the context is dropped, never otherwise.
    #[must_use]
    pub fn with_cleanup(
        mut self,
        cleanup: impl FnOnce(&crate::Teardown<'_>, Key, Self) + 'static,
    ) -> Self {
        self.extras.get_or_insert_default().cleanup = Some(Box::new(cleanup));
        self
    }

    /// The owner's data, if there is any of this type.
    pub fn data<T: Any>(&self) -> Option<Rc<T>> {
        self.any_data().and_then(|data| data.downcast().ok())
    }

    pub(crate) fn any_data(&self) -> Option<Rc<dyn Any>> {
        self.extras.as_ref().and_then(|extras| extras.data.clone())
    }

    /// Takes all of it out, and leaves the number.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self { fd: self.fd.take(), extras: self.extras.take() }
    }

    #[inline]
    pub(crate) fn without_cleanup(self) -> Self {
        Self { fd: self.fd, extras: self.extras.map(Extras::without_cleanup) }
    }

    pub(crate) fn take_data(&mut self) -> Option<Rc<dyn Any>> {
        self.extras.as_mut().and_then(|extras| extras.data.take())
    }

    pub(crate) fn take_cleanup(&mut self) -> Option<Cleanup> {
        self.extras.as_mut().and_then(|extras| extras.cleanup.take())
    }
}

impl fmt::Debug for WaitFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extras = self.extras.as_deref();
        f.debug_struct("WaitFd")
            .field("fd", &self.fd)
            .field("has_data", &extras.is_some_and(|extras| extras.data.is_some()))
            .field("has_cleanup", &extras.is_some_and(|extras| extras.cleanup.is_some()))
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
