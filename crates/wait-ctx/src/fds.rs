//! The registrations of one context: a plain ordered list. Nothing here knows callbacks or requests.

use std::cell::Cell;
use std::os::fd::{AsRawFd, RawFd};

use crate::few::Few;
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
    /// Of one that was cleared, the number only.
    wait_fd: WaitFd,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
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
        self.phase != Phase::Cleared
    }

    fn number(&self) -> RawFd {
        self.wait_fd.fd.as_raw_fd()
    }
}

impl FdTable {
    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<&WaitFd> {
        self.position(key).map(|at| &self.entries[at].wait_fd)
    }

    #[inline]
    pub(crate) fn add(&mut self, key: Key, wait_fd: WaitFd) {
        self.stamp = Stamp::next();
        self.entries.push(Entry { key, wait_fd, phase: Phase::New });
    }

    /// Takes the newest live registration of a key. One that is new in the window leaves no trace.
    #[inline]
    pub(crate) fn clear(&mut self, key: Key) -> Option<WaitFd> {
        match &mut self.entries {
            // Nearly always. See `few` for why it is not left to `delete`.
            Few::One(entry) if entry.key == key && entry.phase == Phase::New => {
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
        match entry.phase {
            Phase::New => self.entries.delete(at),
            Phase::Stable | Phase::Cleared => entry.phase = Phase::Cleared,
        }
        Some(cleared)
    }

    /// Takes the newest live registration of all.
    pub(crate) fn pop(&mut self) -> Option<(Key, WaitFd)> {
        loop {
            let entry = self.entries.pop()?;
            if entry.is_live() {
                return Some((entry.key, entry.wait_fd));
            }
        }
    }

    /// Whether there is nothing to [`pop`](Self::pop).
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

    /// The same, to keep.
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
        self.in_phase(Phase::New)
    }

    /// Those registered before the window opened and cleared since, in the order of registration, newest first.
    pub(crate) fn cleared_in_window(&self) -> impl Iterator<Item = RawFd> {
        self.in_phase(Phase::Cleared)
    }

    fn in_phase(&self, phase: Phase) -> impl Iterator<Item = RawFd> {
        self.entries.iter().rev().filter(move |entry| entry.phase == phase).map(Entry::number)
    }

    /// Opens the next window: what is live is no longer new, and what was cleared is forgotten.
    pub(crate) fn open_window(&mut self) {
        self.entries.retain(Entry::is_live);
        for entry in self.entries.iter_mut() {
            entry.phase = Phase::Stable;
        }
    }

    #[inline]
    fn position(&self, key: Key) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.key == key && entry.is_live())
    }
}
