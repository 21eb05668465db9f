//! Connections by token. A token names one connection and never another, even when its place is used again: a wake that
//! comes after its session has ended finds nobody.

use super::tokens::KEYS;

/// Places for at most this many connections a worker; the rest of a token counts how often the place was used.
const PLACES: usize = 1 << 20;

/// A slab whose keys are not reused until the counter of a place wraps around.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
    occupied: usize,
}

#[derive(Debug)]
struct Place<T> {
    uses: usize,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), occupied: 0 }
    }

    /// Puts in what `make` makes with its key. `None` when every place is taken or `make` fails.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(usize) -> Option<T>) -> Option<usize> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < PLACES => {
                self.places.push(Place { uses: 0, value: None });
                self.places.len() - 1
            }
            None => return None,
        };
        let key = key(index, self.places[index].uses);
        match make(key) {
            Some(value) => {
                self.places[index].value = Some(value);
                self.occupied += 1;
                Some(key)
            }
            None => {
                self.free.push(index);
                None
            }
        }
    }

    pub(crate) fn by_key(&mut self, wanted: usize) -> Option<&mut T> {
        let index = wanted % PLACES;
        let place = self.places.get_mut(index)?;
        if key(index, place.uses) == wanted { place.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, wanted: usize) -> Option<T> {
        let index = wanted % PLACES;
        let place = self.places.get_mut(index)?;
        if key(index, place.uses) != wanted {
            return None;
        }
        let value = place.value.take()?;
        place.uses = place.uses.wrapping_add(1);
        self.free.push(index);
        self.occupied -= 1;
        Some(value)
    }

    pub(crate) const fn len(&self) -> usize {
        self.occupied
    }

    /// The keys of all that are in.
    pub(crate) fn keys(&self) -> Vec<usize> {
        let occupied = self.places.iter().enumerate().filter(|(_, place)| place.value.is_some());
        occupied.map(|(index, place)| key(index, place.uses)).collect()
    }
}

/// Stays below [`KEYS`].
const fn key(index: usize, uses: usize) -> usize {
    (uses % (KEYS / PLACES)) * PLACES + index
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_finds_what_it_was_given_for_or_nothing(removals in prop::collection::vec(any::<prop::sample::Index>(), 1..60)) {
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
    fn what_cannot_be_made_takes_no_place() {
        let mut slots: Slots<u8> = Slots::new();
        assert_eq!(slots.insert_with(|_| None), None);
        assert_eq!(slots.len(), 0);
        assert!(slots.insert_with(|_| Some(1)).is_some());
    }
}
