//! Lists of descriptors, and the differences that each consumer is given.

use std::ops::Deref;

use crate::fd_handle::FdHandle;
use crate::fds::{FdTable, Stamp};
use crate::few::Few;

/// A list of descriptors, read as a slice. A list of one takes no allocation.
#[derive(Debug, Clone, Default)]
pub struct FdList(Few<FdHandle>);

impl FdList {
    pub(crate) const fn new() -> Self {
        Self(Few::None)
    }

    #[inline]
    pub(crate) const fn of(handles: Few<FdHandle>) -> Self {
        Self(handles)
    }
}

impl Deref for FdList {
    type Target = [FdHandle];

    #[inline]
    fn deref(&self) -> &[FdHandle] {
        &self.0
    }
}

impl FromIterator<FdHandle> for FdList {
    fn from_iter<I: IntoIterator<Item = FdHandle>>(handles: I) -> Self {
        Self(handles.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a FdList {
    type Item = &'a FdHandle;
    type IntoIter = std::slice::Iter<'a, FdHandle>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The descriptors that one consumer was given so far. It keeps the owned ones open.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Newest last.
    handles: FdList,
    /// The state of the table at the last difference; no other state of any table has this stamp.
    stamp: Stamp,
}

impl Seen {
    /// A consumer that was given nothing yet.
    pub const fn new() -> Self {
        Self { handles: FdList::new(), stamp: Stamp::EMPTY }
    }

    /// The descriptors as of the last difference.
    pub fn handles(&self) -> &[FdHandle] {
        &self.handles
    }

    #[cfg(feature = "mio")]
    pub(crate) fn note(&mut self, handle: FdHandle) {
        self.stamp = Stamp::UNKNOWN;
        self.handles.0.push(handle);
    }

    #[cfg(feature = "mio")]
    pub(crate) fn forget(&mut self, handle: &FdHandle) {
        self.stamp = Stamp::UNKNOWN;
        self.handles.0.retain(|known| known != handle);
    }

    #[inline]
    pub(crate) fn advance(&mut self, table: &FdTable) -> FdDiff {
        if self.stamp == table.stamp() {
            return FdDiff::default();
        }
        self.stamp = table.stamp();
        // The usual case: one descriptor, seen for the first time.
        match (&self.handles.0, table.sole()) {
            (Few::None, Some(handle)) => {
                self.handles.0.push(handle.clone());
                FdDiff { added: FdList(Few::One(handle.clone())), removed: FdList::new() }
            }
            _ => self.collect(table),
        }
    }

    fn collect(&mut self, table: &FdTable) -> FdDiff {
        let mut diff = FdDiff::default();
        // Newest last, so that taking from the end gives them newest first.
        for at in (0..self.handles.len()).rev() {
            if !table.handles().any(|handle| *handle == self.handles[at]) {
                diff.removed.0.push(self.handles.0[at].take());
                self.handles.0.delete(at);
            }
        }
        for handle in table.handles() {
            match self.handles.0.iter_mut().find(|known| *known == handle) {
                // The same number, perhaps registered anew: keep the present handle.
                Some(known) => known.clone_from(handle),
                None if !diff.added.contains(handle) => diff.added.0.push(handle.clone()),
                None => {}
            }
        }
        for handle in diff.added.iter().rev() {
            self.handles.0.push(handle.clone());
        }
        diff
    }
}

/// The net difference between what a consumer saw last and what is registered now. No descriptor is in both lists.
///
/// It keeps the removed descriptors open: deregister them, then drop it.
#[derive(Debug, Clone, Default)]
#[must_use = "the consumer counts as having seen this"]
pub struct FdDiff {
    /// Descriptors to start waiting for, newest first.
    pub added: FdList,
    /// Descriptors to stop waiting for, newest first.
    pub removed: FdList,
}

impl FdDiff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}
