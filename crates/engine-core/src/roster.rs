//! Who is under way, and until when: every request without an outcome, and its deadline.
//!
//! Pure bookkeeping, generic over what is listed.

use core::time::Duration;
use std::collections::BTreeSet;

/// A place in a [`Roster`], free again once removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) const fn as_u32(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_u32(number: u32) -> Self {
        Self(number)
    }
}

#[derive(Debug)]
pub(crate) struct Roster<T> {
    entries: Vec<Option<Entry<T>>>,
    free: Vec<Place>,
    deadlines: BTreeSet<(Duration, Place)>,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    deadline: Option<Duration>,
}

impl<T> Roster<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), deadlines: BTreeSet::new() }
    }

    pub(crate) fn enroll(&mut self, item: T, deadline: Option<Duration>) -> Place {
        let entry = Some(Entry { item, deadline });
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place.0 as usize] = entry;
                place
            }
            None => {
                let place = u32::try_from(self.entries.len()).expect("fewer than 2^32 requests");
                self.entries.push(entry);
                Place(place)
            }
        };
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, place));
        }
        place
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        let entry = self.entries.get_mut(place.0 as usize)?.take()?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, place));
        }
        self.free.push(place);
        Some(entry.item)
    }

    /// Sets a new deadline in place of the old one.
    pub(crate) fn extend(&mut self, place: Place, deadline: Duration) {
        let Some(entry) = self.entries.get_mut(place.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(old) = entry.deadline.replace(deadline) {
            self.deadlines.remove(&(old, place));
        }
        self.deadlines.insert((deadline, place));
    }

    /// The one with the earliest deadline, if that is `now` or earlier. It stays listed, without a deadline.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<&T> {
        let (_, place) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.deadlines.pop_first();
        let entry = self.entries[place.0 as usize].as_mut()?;
        entry.deadline = None;
        Some(&entry.item)
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten().map(|entry| &entry.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Enroll(Option<u64>),
        Remove(usize),
        Extend(usize, u64),
        TakeDue(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => prop::option::of(0u64..50).prop_map(Op::Enroll),
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
            let mut roster = Roster::new();
            let mut model: Vec<(Place, usize, Option<u64>)> = Vec::new();
            for (n, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Enroll(deadline) => {
                        let place = roster.enroll(n, deadline.map(at));
                        prop_assert!(model.iter().all(|(other, _, _)| *other != place));
                        model.push((place, n, deadline));
                    }
                    Op::Remove(nth) if nth < model.len() => {
                        let (place, item, _) = model.remove(nth);
                        prop_assert_eq!(roster.remove(place), Some(item));
                        prop_assert_eq!(roster.remove(place), None);
                    }
                    Op::Extend(nth, deadline) if nth < model.len() => {
                        roster.extend(model[nth].0, at(deadline));
                        model[nth].2 = Some(deadline);
                    }
                    Op::Remove(_) | Op::Extend(..) => {}
                    Op::TakeDue(now) => {
                        let mut due: Vec<_> = model
                            .iter_mut()
                            .filter(|(_, _, deadline)| deadline.is_some_and(|d| d <= now))
                            .map(|(place, item, deadline)| (deadline.take(), *place, *item))
                            .collect();
                        due.sort_unstable();
                        let due: Vec<_> = due.into_iter().map(|(_, _, item)| item).collect();
                        let taken: Vec<_> =
                            core::iter::from_fn(|| roster.take_due(at(now)).copied()).collect();
                        prop_assert_eq!(taken, due);
                    }
                }
                prop_assert_eq!(roster.len(), model.len());
                let next = model.iter().filter_map(|(_, _, deadline)| *deadline).min();
                prop_assert_eq!(roster.next_deadline(), next.map(at));
                prop_assert_eq!(roster.iter().count(), model.len());
            }
        }
    }
}
