//! Connections by key. A key names one connection and never another, even when its slot is used again, so that a wake that
//! comes after its session has ended finds nothing.

use slab::Slab;

use super::tokens::KEYS;

/// Slots for at most this many connections a worker; the rest of a key is a counter of insertions.
const SLOTS: usize = 1 << 20;

/// A slab whose keys are not reused until the counter of insertions wraps around.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// Values with their keys; the low part of a key is the index.
    entries: Slab<(usize, T)>,
    inserted: usize,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Slab::new(), inserted: 0 }
    }

    /// Inserts the value that `make` returns for its key. `None` if every slot is taken or `make` returns `None`.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(usize) -> Option<T>) -> Option<usize> {
        let slot = self.entries.vacant_entry();
        if slot.key() >= SLOTS {
            return None;
        }
        // Stays below `KEYS`.
        let key = (self.inserted % (KEYS / SLOTS)) * SLOTS + slot.key();
        slot.insert((key, make(key)?));
        self.inserted = self.inserted.wrapping_add(1);
        Some(key)
    }

    pub(crate) fn by_key(&mut self, wanted: usize) -> Option<&mut T> {
        let (key, value) = self.entries.get_mut(wanted % SLOTS)?;
        (*key == wanted).then_some(value)
    }

    pub(crate) fn remove(&mut self, wanted: usize) -> Option<T> {
        self.by_key(wanted)?;
        let (_, value) = self.entries.remove(wanted % SLOTS);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn keys(&self) -> Vec<usize> {
        self.entries.iter().map(|(_, (key, _))| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_finds_its_own_value_or_nothing(removals in prop::collection::vec(any::<prop::sample::Index>(), 1..60)) {
            let mut slots = Slots::new();
            let mut live: Vec<(usize, usize)> = Vec::new();
            let mut dead = Vec::new();
            for (value, removal) in removals.iter().enumerate() {
                let key = slots.insert_with(|_| Some(value)).unwrap();
                live.push((key, value));
                if value % 3 == 2 {
                    let (key, value) = live.remove(removal.index(live.len()));
                    prop_assert_eq!(slots.remove(key), Some(value));
                    dead.push(key);
                }
                prop_assert_eq!(slots.len(), live.len());
                prop_assert!(live.iter().all(|(key, value)| slots.by_key(*key).is_some_and(|found| found == value)));
                prop_assert!(dead.iter().all(|key| slots.by_key(*key).is_none()));
                prop_assert_eq!(slots.keys().len(), live.len());
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_made_takes_no_slot() {
        let mut slots: Slots<u8> = Slots::new();
        assert_eq!(slots.insert_with(|_| None), None);
        assert_eq!(slots.len(), 0);
        assert!(slots.insert_with(|_| Some(1)).is_some());
    }
}
