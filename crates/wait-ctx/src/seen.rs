//! What consumers know of the descriptors of a context, and what is news to them.

use std::ops::Deref;

use smallvec::SmallVec;

use crate::fds::{FdTable, Stamp};
use crate::wait_fd::FdHandle;

/// Some descriptors of a context, read as a slice. A single one takes no allocation.
#[derive(Debug, Clone, Default)]
pub struct FdList(SmallVec<[FdHandle; 1]>);

impl FdList {
    pub(crate) const fn new() -> Self {
        Self(SmallVec::new_const())
    }
}

impl Deref for FdList {
    type Target = [FdHandle];

    fn deref(&self) -> &[FdHandle] {
        &self.0
    }
}

impl FromIterator<FdHandle> for FdList {
    fn from_iter<I: IntoIterator<Item = FdHandle>>(handles: I) -> Self {
        Self(handles.into_iter().collect())
    }
}

impl IntoIterator for FdList {
    type Item = FdHandle;
    type IntoIter = FdListIntoIter;

    fn into_iter(self) -> FdListIntoIter {
        FdListIntoIter(self.0.into_iter())
    }
}

impl<'a> IntoIterator for &'a FdList {
    type Item = &'a FdHandle;
    type IntoIter = std::slice::Iter<'a, FdHandle>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The descriptors of an [`FdList`], one after the other.
#[derive(Debug)]
pub struct FdListIntoIter(smallvec::IntoIter<[FdHandle; 1]>);

impl Iterator for FdListIntoIter {
    type Item = FdHandle;

    fn next(&mut self) -> Option<FdHandle> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for FdListIntoIter {}

/// What one consumer saw last. It keeps every descriptor in it open.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In the order of learning, so newest last.
    handles: FdList,
    /// The state of the table that was seen: no other table, and no other state of it, has this stamp.
    stamp: Stamp,
}

impl Seen {
    /// Nothing was seen yet.
    pub const fn new() -> Self {
        Self { handles: FdList::new(), stamp: Stamp::EMPTY }
    }

    /// What was seen last.
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
        let mut diff = FdDiff::default();
        if self.stamp != table.stamp() {
            self.stamp = table.stamp();
            self.collect(table, &mut diff);
        }
        diff
    }

    #[inline]
    fn collect(&mut self, table: &FdTable, diff: &mut FdDiff) {
        // Newest last, so that taking from the end gives them newest first.
        for at in (0..self.handles.len()).rev() {
            if !table.handles().any(|handle| *handle == self.handles[at]) {
                diff.removed.0.push(self.handles.0.remove(at));
            }
        }
        for handle in table.handles() {
            match self.handles.0.iter_mut().find(|known| *known == handle) {
                // The same descriptor, perhaps in other hands: the handle to keep is the one there is now.
                Some(known) => known.clone_from(handle),
                None if !diff.added.contains(handle) => diff.added.0.push(handle.clone()),
                None => {}
            }
        }
        self.handles.0.extend(diff.added.iter().rev().cloned());
    }
}

/// The net difference between what a consumer saw and what there is now. No descriptor is in both lists.
///
/// Holding it keeps the removed descriptors open: deregister them, then drop it.
#[derive(Debug, Clone, Default)]
#[must_use = "the consumer counts as having seen this"]
pub struct FdDiff {
    /// Descriptors to wait for from now on, newest first.
    pub added: FdList,
    /// Descriptors to wait for no more, newest first.
    pub removed: FdList,
}

impl FdDiff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}
