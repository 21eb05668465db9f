//! The registrations of one context: a plain ordered list. Nothing here knows callbacks or requests.

use std::cell::Cell;
use std::os::fd::{AsRawFd, RawFd};

use smallvec::SmallVec;

use crate::wait_fd::{FdHandle, Key, WaitFd};

/// Names one state of one table. Tables stay on their thread, so a count per thread is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The state of every table in which nothing was ever registered.
    pub(crate) const EMPTY: Self = Self(0);

    /// No state of any table.
    #[cfg(feature = "mio")]
    pub(crate) const UNKNOWN: Self = Self(u64::MAX);

    fn next() -> Self {
        thread_local!(static LAST: Cell<u64> = const { Cell::new(0) });
        LAST.set(LAST.get() + 1);
        Self(LAST.get())
    }
}

/// The registrations of one context, newest last.
#[derive(Default)]
pub(crate) struct FdTable {
    /// Nearly always one engine, or none: no allocation for that.
    entries: SmallVec<[Entry; 1]>,
    stamp: Stamp,
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
    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<&WaitFd> {
        self.position(key).and_then(|at| self.entries[at].live.as_ref())
    }

    #[inline]
    pub(crate) fn add(&mut self, key: Key, wait_fd: WaitFd) {
        let fd = wait_fd.fd.as_raw_fd();
        self.stamp = Stamp::next();
        self.entries.push(Entry { key, fd, is_new: true, live: Some(wait_fd) });
    }

    /// Takes the newest live registration of a key. One that is new in the window leaves no trace.
    #[inline]
    pub(crate) fn clear(&mut self, key: Key) -> Option<WaitFd> {
        let at = self.position(key)?;
        self.stamp = Stamp::next();
        if self.entries[at].is_new && at + 1 == self.entries.len() {
            self.entries.pop()?.live
        } else if self.entries[at].is_new {
            self.entries.remove(at).live
        } else {
            self.entries[at].live.take()
        }
    }

    /// Takes the newest live registration of all.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Key, WaitFd)> {
        loop {
            let entry = self.entries.pop()?;
            if let Some(wait_fd) = entry.live {
                return Some((entry.key, wait_fd));
            }
        }
    }

    pub(crate) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The live ones, newest first.
    #[inline]
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

    #[inline]
    fn position(&self, key: Key) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.key == key && entry.live.is_some())
    }
}
