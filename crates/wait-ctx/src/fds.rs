//! What engines register with a context (a descriptor under a key, with data and a cleanup), and the table of it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::contain::{contain, contain_drop};
use crate::fd_handle::FdHandle;
use crate::few::Few;

/// Names the engine that registered a descriptor: one per engine, made once and kept.
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

    /// Returns a key that no other call in this process returns.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(KeyKind::Unique(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The key of an engine that names itself by an address, as in OpenSSL. Never equal to a unique one.
    pub const fn from_address(address: usize) -> Self {
        Self(KeyKind::Address(address))
    }
}

/// Runs for a registration that is still live when its context is dropped.
type Cleanup = Box<dyn FnOnce(&Teardown<'_>, Key, WaitFd)>;

/// A descriptor to register, with its owner's data.
pub struct WaitFd {
    /// The descriptor.
    pub fd: FdHandle,
    /// Boxed: most descriptors have neither, and a registration is moved often.
    extras: Option<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    data: Option<Rc<dyn Any>>,
    cleanup: Option<Cleanup>,
}

/// Log names of the code and values that the drop of a context runs and drops.
const A_CLEANUP: &str = "the cleanup of a wait descriptor";
const A_REGISTRATION: &str = "the data of a wait descriptor";

impl Extras {
    #[cold]
    fn without_cleanup(mut self: Box<Self>) -> Box<Self> {
        if let Some(cleanup) = self.cleanup.take() {
            contain_drop(A_CLEANUP, cleanup);
        }
        self
    }
}

impl WaitFd {
    /// A descriptor that the context keeps open, and closes with its last handle.
    pub fn owned(fd: impl Into<OwnedFd>) -> Self {
        Self::again(FdHandle::owned(fd.into()))
    }

    /// A descriptor that stays its owner's. It must stay open until every consumer has seen its removal.
    #[inline]
    pub fn borrowed(fd: &impl AsRawFd) -> Self {
        Self::again(FdHandle::borrowed(fd.as_raw_fd()))
    }

    /// The descriptor of a handle that `clear_fd` returned.
    #[inline]
    pub const fn again(fd: FdHandle) -> Self {
        Self { fd, extras: None }
    }

    /// Adds data that [`WaitCtx::fd`](crate::WaitCtx::fd) returns.
    #[must_use]
    pub fn with_data<T: Any>(mut self, data: T) -> Self {
        self.extras.get_or_insert_default().data = Some(Rc::new(data));
        self
    }

    /// Adds a cleanup. It runs if the registration is still live when the context is dropped, never otherwise.
    #[must_use]
    pub fn with_cleanup(
        mut self,
        cleanup: impl FnOnce(&Teardown<'_>, Key, Self) + 'static,
    ) -> Self {
        self.extras.get_or_insert_default().cleanup = Some(Box::new(cleanup));
        self
    }

    /// The owner's data, if there is any of this type.
    pub fn data<T: Any>(&self) -> Option<Rc<T>> {
        self.any_data().and_then(|data| data.downcast().ok())
    }

    fn any_data(&self) -> Option<Rc<dyn Any>> {
        self.extras.as_ref().and_then(|extras| extras.data.clone())
    }

    /// Moves everything out, and leaves the number.
    #[inline]
    fn take(&mut self) -> Self {
        Self { fd: self.fd.take(), extras: self.extras.take() }
    }

    #[inline]
    fn without_cleanup(self) -> Self {
        Self { fd: self.fd, extras: self.extras.map(Extras::without_cleanup) }
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

/// The key already has a live descriptor in this context.
#[derive(Debug, thiserror::Error)]
#[error("the key already has a live descriptor here: clear it first, or look it up and use it")]
#[non_exhaustive]
pub struct KeyInUse {
    /// The refused registration.
    pub refused: WaitFd,
}

/// A context that is being dropped, as its cleanups see it.
#[derive(Clone, Copy)]
pub struct Teardown<'a>(&'a RefCell<FdTable>);

impl Teardown<'_> {
    /// The descriptor of a key whose cleanup has not run yet, with its owner's data.
    pub fn fd(&self, key: Key) -> Option<(FdHandle, Option<Rc<dyn Any>>)> {
        self.0.borrow().find(key)
    }

    /// Removes a registration and returns it. Its cleanup will not run, unless it is registered again.
    pub fn clear_fd(&self, key: Key) -> Option<WaitFd> {
        self.0.borrow_mut().clear(key)
    }
}

impl fmt::Debug for Teardown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teardown").finish_non_exhaustive()
    }
}

/// Removes a registration and returns it. Its cleanup is dropped, not run, after the table is released.
#[inline]
pub(crate) fn clear(table: &RefCell<FdTable>, key: Key) -> Option<WaitFd> {
    let cleared = table.borrow_mut().clear(key);
    cleared.map(WaitFd::without_cleanup)
}

/// Runs the cleanups of what is registered, newest first.
pub(crate) fn run_cleanups(table: &RefCell<FdTable>) {
    loop {
        // Looked up anew each time: a cleanup may clear other registrations.
        let newest = table.borrow_mut().pop();
        let Some((key, mut wait_fd)) = newest else { break };
        let Some(extras) = &mut wait_fd.extras else { continue };
        if let Some(cleanup) = extras.cleanup.take() {
            let _ = contain(A_CLEANUP, || cleanup(&Teardown(table), key, wait_fd));
        } else if let Some(data) = extras.data.take() {
            contain_drop(A_REGISTRATION, data);
        }
    }
}

/// Names one state of one table. Tables stay on their thread, so a count per thread is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The state of every table in which nothing was ever registered.
    pub(crate) const EMPTY: Self = Self(0);

    /// No state of any table.
    #[cfg(feature = "mio")]
    pub(crate) const UNKNOWN: Self = Self(u64::MAX);

    #[inline]
    fn next() -> Self {
        thread_local!(static LAST: Cell<u64> = const { Cell::new(0) });
        let next = LAST.get() + 1;
        LAST.set(next);
        Self(next)
    }
}

/// The registrations of one context, newest last.
#[derive(Default)]
pub(crate) struct FdTable {
    entries: Few<Entry>,
    stamp: Stamp,
}

/// A registration, or the trace of one that was cleared within OpenSSL's window (see `openssl_view`).
struct Entry {
    key: Key,
    /// Of a cleared one, only the number is left.
    wait_fd: WaitFd,
    age: Age,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Registered since the window opened.
    New,
    /// Registered before.
    Stable,
    /// Registered before, and cleared since.
    Cleared,
}

impl Entry {
    #[inline]
    fn is_live(&self) -> bool {
        self.age != Age::Cleared
    }
}

impl FdTable {
    /// The newest live descriptor of a key, with its owner's data.
    pub(crate) fn find(&self, key: Key) -> Option<(FdHandle, Option<Rc<dyn Any>>)> {
        let found = &self.entries[self.position(key)?].wait_fd;
        Some((found.fd.clone(), found.any_data()))
    }

    #[inline]
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.position(key).is_some()
    }

    #[inline]
    pub(crate) fn add(&mut self, key: Key, wait_fd: WaitFd) {
        self.stamp = Stamp::next();
        self.entries.push(Entry { key, wait_fd, age: Age::New });
    }

    /// Removes the newest live registration of a key. One that is new in the window leaves no trace.
    #[inline]
    fn clear(&mut self, key: Key) -> Option<WaitFd> {
        match &mut self.entries {
            // The usual case. `few` says why it is not left to `delete`.
            Few::One(entry) if entry.key == key && entry.age == Age::New => {
                let cleared = entry.wait_fd.take();
                self.entries = Few::None;
                self.stamp = Stamp::next();
                Some(cleared)
            }
            Few::None | Few::One(_) | Few::Many(_) => self.clear_any(key),
        }
    }

    fn clear_any(&mut self, key: Key) -> Option<WaitFd> {
        let at = self.position(key)?;
        self.stamp = Stamp::next();
        let entry = &mut self.entries[at];
        let cleared = entry.wait_fd.take();
        match entry.age {
            Age::New => self.entries.delete(at),
            Age::Stable | Age::Cleared => entry.age = Age::Cleared,
        }
        Some(cleared)
    }

    /// Removes the newest live registration of all.
    fn pop(&mut self) -> Option<(Key, WaitFd)> {
        loop {
            let entry = self.entries.pop()?;
            if entry.is_live() {
                return Some((entry.key, entry.wait_fd));
            }
        }
    }

    /// Whether the table has no entry at all.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    pub(crate) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The live ones, newest first.
    #[inline]
    pub(crate) fn handles(&self) -> impl Iterator<Item = &FdHandle> {
        self.entries.iter().rev().filter(|entry| entry.is_live()).map(|entry| &entry.wait_fd.fd)
    }

    /// Copies of the live ones, newest first.
    #[inline]
    pub(crate) fn list(&self) -> Few<FdHandle> {
        self.entries.rev_filter_map(|entry| entry.is_live().then(|| entry.wait_fd.fd.clone()))
    }

    /// The live one, if it is the only entry.
    #[inline]
    pub(crate) fn sole(&self) -> Option<&FdHandle> {
        match &self.entries {
            Few::One(entry) if entry.is_live() => Some(&entry.wait_fd.fd),
            Few::None | Few::One(_) | Few::Many(_) => None,
        }
    }

    /// Those registered since the window opened, newest first.
    pub(crate) fn new_in_window(&self) -> impl Iterator<Item = RawFd> {
        self.of_age(Age::New)
    }

    /// Those registered before the window opened and cleared since, in the order of registration, newest first.
    pub(crate) fn cleared_in_window(&self) -> impl Iterator<Item = RawFd> {
        self.of_age(Age::Cleared)
    }

    fn of_age(&self, age: Age) -> impl Iterator<Item = RawFd> {
        let of_age = self.entries.iter().rev().filter(move |entry| entry.age == age);
        of_age.map(|entry| entry.wait_fd.fd.as_raw_fd())
    }

    /// Opens the next window: live registrations become stable, and cleared ones are forgotten.
    pub(crate) fn open_window(&mut self) {
        self.entries.retain(Entry::is_live);
        for entry in self.entries.iter_mut() {
            entry.age = Age::Stable;
        }
    }

    #[inline]
    fn position(&self, key: Key) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.key == key && entry.is_live())
    }
}
