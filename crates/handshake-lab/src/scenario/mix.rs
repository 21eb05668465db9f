//! Mixes: connections of several kinds in one run, each drawn for itself by the seed.
//!
//! A share is a percentage. Those of the keys sum to 100, and so do those of the versions; resumption is a share of its own.

use std::fmt;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    language::{Load, OrMix, Shares},
    words::{KeyType, TlsVersion},
};

/// What a connection is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKind {
    pub key: KeyType,
    pub tls: TlsVersion,
    /// Whether a session is resumed, so that nothing is signed.
    pub resumed: bool,
}

impl ConnectionKind {
    /// The handshake of the same kind that does not resume.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { resumed: false, ..self }
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resumed = if self.resumed { ", resumed" } else { "" };
        write!(f, "TLS {} {}{resumed}", self.tls, self.key)
    }
}

/// Of which kinds the connections of a row are, and which is of which.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    keys: Vec<(KeyType, f64)>,
    versions: Vec<(TlsVersion, f64)>,
    resumed: f64,
    seed: u64,
}

impl Mix {
    /// All of one kind, none resumed.
    #[must_use]
    pub fn uniform(tls: TlsVersion, key: KeyType) -> Self {
        Self { keys: vec![(key, 100.0)], versions: vec![(tls, 100.0)], resumed: 0.0, seed: 0 }
    }

    pub(super) fn of(load: &Load, shares: &Shares, seed: u64) -> Self {
        let keys = match load.key {
            OrMix::One(key) => vec![(key, 100.0)],
            OrMix::Mix(_) => given(shares.keys()),
        };
        let versions = match load.tls {
            OrMix::One(tls) => vec![(tls, 100.0)],
            OrMix::Mix(_) => given(shares.versions()),
        };
        Self { keys, versions, resumed: shares.resumed, seed }
    }

    /// The kind of the connection of this number: the same for the same seed, independent of all others.
    pub fn draw(&self, number: u64) -> ConnectionKind {
        let (key, tls) = (self.keys[0].0, self.versions[0].0);
        if self.is_uniform() {
            return ConnectionKind { key, tls, resumed: false };
        }
        // Not the draws of devices and arrivals, which have the same seed.
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x6d69_7865_6420_6c6f);
        rng.set_stream(number);
        ConnectionKind {
            key: pick(&self.keys, rng.random_range(0.0..100.0)),
            tls: pick(&self.versions, rng.random_range(0.0..100.0)),
            resumed: rng.random_range(0.0..100.0) < self.resumed,
        }
    }

    /// Whether all connections are of one kind.
    pub fn is_uniform(&self) -> bool {
        self.keys.len() == 1 && self.versions.len() == 1 && !self.resumes()
    }

    pub fn resumes(&self) -> bool {
        self.resumed > 0.0
    }

    /// The types of key that the server needs.
    pub fn keys(&self) -> Vec<KeyType> {
        self.keys.iter().map(|(key, _)| *key).collect()
    }

    /// Every kind that can be drawn, and the full handshake of each.
    pub fn kinds(&self) -> Vec<ConnectionKind> {
        let mut kinds = Vec::new();
        for &(key, _) in &self.keys {
            for &(tls, _) in &self.versions {
                let full = ConnectionKind { key, tls, resumed: false };
                kinds.push(full);
                kinds.extend(self.resumes().then_some(ConnectionKind { resumed: true, ..full }));
            }
        }
        kinds
    }
}

fn given<T, const N: usize>(shares: [(T, f64); N]) -> Vec<(T, f64)> {
    shares.into_iter().filter(|(_, share)| *share > 0.0).collect()
}

/// The value on which a point between 0 and 100 falls.
fn pick<T: Copy>(shares: &[(T, f64)], mut point: f64) -> T {
    for &(value, share) in shares {
        if point < share {
            return value;
        }
        point -= share;
    }
    // Shares that sum to 100 but for the last digit.
    shares[shares.len() - 1].0
}

impl Shares {
    /// The share of each type of key.
    pub(super) const fn keys(&self) -> [(KeyType, f64); 4] {
        [
            (KeyType::P256, self.p256),
            (KeyType::P384, self.p384),
            (KeyType::Ed25519, self.ed25519),
            (KeyType::Rsa2048, self.rsa2048),
        ]
    }

    pub(super) const fn versions(&self) -> [(TlsVersion, f64); 2] {
        [(TlsVersion::Tls12, self.tls12), (TlsVersion::Tls13, self.tls13)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Scenario, ScenarioError},
        *,
    };

    fn scenario(overrides: &[&str]) -> Result<Scenario, ScenarioError> {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Scenario::find("offload-modes", &overrides)
    }

    const MIXED: [&str; 6] = [
        "load.key=mix",
        "mix.p256=70",
        "mix.rsa2048=30",
        "load.resumption=tickets",
        "mix.resumed=40",
        "seed=5",
    ];

    #[test]
    fn a_mix_draws_its_shares() {
        let mix = scenario(&MIXED).expect("valid").plan()[0].mix.clone();
        let drawn: Vec<ConnectionKind> = (0..10_000).map(|number| mix.draw(number)).collect();
        let share = |of: fn(&&ConnectionKind) -> bool| drawn.iter().filter(of).count();
        assert!((6_800..7_200).contains(&share(|kind| kind.key == KeyType::P256)));
        assert!((3_800..4_200).contains(&share(|kind| kind.resumed)));
        // Each is drawn for itself: of those with RSA as many resume as of all.
        let both = share(|kind| kind.key == KeyType::Rsa2048 && kind.resumed);
        assert!((1_100..1_300).contains(&both), "{both}");
        assert!(drawn.iter().all(|kind| mix.kinds().contains(kind)));
        assert_eq!(mix.kinds().len(), 4);
    }

    proptest! {
        #[test]
        fn a_connection_is_of_the_same_kind_whatever_came_before(
            seed in any::<u32>(),
            numbers in prop::collection::vec(any::<u64>(), 1..20),
        ) {
            let seed = format!("seed={seed}");
            let mut overrides = MIXED.to_vec();
            overrides.push(&seed);
            let mix = scenario(&overrides).expect("valid").plan()[0].mix.clone();
            let forth: Vec<_> = numbers.iter().map(|number| mix.draw(*number)).collect();
            let mut back: Vec<_> = numbers.iter().rev().map(|number| mix.draw(*number)).collect();
            back.reverse();
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn a_share_is_what_falls_on_it(first in 0.0..100.0_f64, point in 0.0..100.0_f64) {
            let shares = given([('a', first), ('b', 100.0 - first)]);
            let expected = if point < first { 'a' } else { 'b' };
            prop_assert_eq!(pick(&shares, point), expected);
        }
    }
}
