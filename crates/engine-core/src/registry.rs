//! The requests without an outcome, and the deadline of each.
//!
//! Pure bookkeeping, generic over what is registered. A key is free again once its entry is removed.

use core::time::Duration;
use std::collections::BTreeSet;

use slab::Slab;

#[derive(Debug)]
pub(crate) struct Registry<T> {
    entries: Slab<Entry<T>>,
    deadlines: BTreeSet<(Duration, usize)>,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    deadline: Option<Duration>,
}

impl<T> Registry<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Slab::new(), deadlines: BTreeSet::new() }
    }

    /// Adds an item and returns its key.
    pub(crate) fn insert(&mut self, item: T, deadline: Option<Duration>) -> usize {
        let key = self.entries.insert(Entry { item, deadline });
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key));
        }
        key
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        let entry = self.entries.try_remove(key)?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        Some(entry.item)
    }

    /// The deadline of an item that is not due yet.
    pub(crate) fn deadline(&self, key: usize) -> Option<Duration> {
        self.entries.get(key)?.deadline
    }

    /// Sets a new deadline in place of the old one.
    pub(crate) fn extend(&mut self, key: usize, deadline: Duration) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(old) = entry.deadline.replace(deadline) {
            self.deadlines.remove(&(old, key));
        }
        self.deadlines.insert((deadline, key));
    }

    /// The item with the earliest deadline, if that is `now` or earlier. It stays registered, without a deadline.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<&T> {
        let (_, key) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.deadlines.pop_first();
        let entry = self.entries.get_mut(key)?;
        entry.deadline = None;
        Some(&entry.item)
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| &entry.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(Option<u64>),
        Remove(usize),
        Extend(usize, u64),
        TakeDue(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => prop::option::of(0u64..50).prop_map(Op::Insert),
            2 => (0usize..8).prop_map(Op::Remove),
            1 => (0usize..8, 0u64..50).prop_map(|(nth, at)| Op::Extend(nth, at)),
            1 => (0u64..50).prop_map(Op::TakeDue),
        ]
    }

    proptest! {
        /// Against a plain list.
        #[test]
        fn l14_a_deadline_is_due_once_in_its_turn_and_never_after_the_end(ops in prop::collection::vec(op(), 1..100)) {
            let at = Duration::from_secs;
            let mut registry = Registry::new();
            let mut model: Vec<(usize, usize, Option<u64>)> = Vec::new();
            for (n, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert(deadline) => {
                        let key = registry.insert(n, deadline.map(at));
                        prop_assert!(model.iter().all(|(other, _, _)| *other != key));
                        model.push((key, n, deadline));
                    }
                    Op::Remove(nth) if nth < model.len() => {
                        let (key, item, _) = model.remove(nth);
                        prop_assert_eq!(registry.remove(key), Some(item));
                        prop_assert_eq!(registry.remove(key), None);
                    }
                    Op::Extend(nth, deadline) if nth < model.len() => {
                        registry.extend(model[nth].0, at(deadline));
                        model[nth].2 = Some(deadline);
                    }
                    Op::Remove(_) | Op::Extend(..) => {}
                    Op::TakeDue(now) => {
                        let mut due: Vec<_> = model
                            .iter_mut()
                            .filter(|(_, _, deadline)| deadline.is_some_and(|d| d <= now))
                            .map(|(key, item, deadline)| (deadline.take(), *key, *item))
                            .collect();
                        due.sort_unstable();
                        let due: Vec<_> = due.into_iter().map(|(_, _, item)| item).collect();
                        let taken: Vec<_> =
                            core::iter::from_fn(|| registry.take_due(at(now)).copied()).collect();
                        prop_assert_eq!(taken, due);
                    }
                }
                prop_assert_eq!(registry.len(), model.len());
                let next = model.iter().filter_map(|(_, _, deadline)| *deadline).min();
                prop_assert_eq!(registry.next_deadline(), next.map(at));
                prop_assert_eq!(registry.iter().count(), model.len());
            }
        }
    }
}
