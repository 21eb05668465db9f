//! Which device signs for which connection, where a scenario has several.

use std::collections::BTreeMap;

use super::words::{KeyType, Serves, Spread};

/// Which device signs for which connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    by_key: BTreeMap<KeyType, Vec<usize>>,
    spread: Spread,
}

impl Routing {
    #[must_use]
    pub fn of(devices: &[Serves], spread: Spread) -> Self {
        let serving = |key: KeyType| {
            let serves = |(_, serves): &(usize, &Serves)| serves.covers(key);
            devices.iter().enumerate().filter(serves).map(|(number, _)| number).collect()
        };
        Self { by_key: KeyType::ALL.into_iter().map(|key| (key, serving(key))).collect(), spread }
    }

    /// Every device for every key, in turn.
    #[must_use]
    pub fn even(devices: usize) -> Self {
        Self::of(&vec![Serves::All; devices], Spread::Connections)
    }

    /// The device for a connection with this key, the `turn`th of this event loop; the first where none serves it.
    pub fn device(&self, key: KeyType, worker: usize, turn: u64) -> usize {
        let serving = self.by_key.get(&key).map_or(&[][..], Vec::as_slice);
        let place = match self.spread {
            Spread::Workers => worker as u64,
            Spread::Connections => turn,
        };
        let place = place.checked_rem(serving.len() as u64).unwrap_or_default();
        let place = usize::try_from(place).unwrap_or_default();
        serving.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: [Serves; 4] = [Serves::All, Serves::P256, Serves::Rsa2048, Serves::Standby];

    proptest! {
        #[test]
        fn the_chosen_device_serves_the_key_and_all_that_do_get_equal_shares(
            devices in prop::collection::vec(prop::sample::select(&ANY[..]), 1..6),
            key in prop::sample::select(&KeyType::ALL[..]),
            by_worker: bool,
        ) {
            let spread = if by_worker { Spread::Workers } else { Spread::Connections };
            let routing = Routing::of(&devices, spread);
            let serving = devices.iter().filter(|serves| serves.covers(key)).count();
            prop_assume!(serving > 0);
            let mut counts = vec![0; devices.len()];
            for number in 0..60 {
                let (worker, turn) = if by_worker { (number, 7) } else { (1, number as u64) };
                counts[routing.device(key, worker, turn)] += 1;
            }
            for (count, serves) in counts.iter().zip(&devices) {
                let share = if serves.covers(key) { 60 / serving } else { 0 };
                prop_assert_eq!(*count, share);
            }
        }
    }
}
