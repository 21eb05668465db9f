//! Mixes: connections of several kinds in one run, each drawn for itself by the seed.
//!
//! A share is a percentage. Those of the keys sum to 100, and so do those of the versions; resumption is a share of its own.

use std::fmt;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    error::ScenarioError,
    field::{Absent::Default as Or, Accepts, Field, Section},
    types::{KeyType, Load, TlsVersion},
};

/// One value for every connection, or a mix by the shares of `[mix]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OrMix<T> {
    /// The same for all.
    One(T),
    /// By shares.
    Mix(Mixed),
}

/// The word that stands for a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mixed {
    /// `mix`.
    #[serde(rename = "mix")]
    Mix,
}

/// Whether clients resume sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Resumption {
    /// Every handshake is a full one.
    None,
    /// By tickets (RFC 8446, 4.6.1; RFC 5077).
    Tickets,
}

/// The shares of `[mix]`, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Of connections whose server has an ECDSA key on P-256.
    pub p256: f64,
    /// On P-384.
    pub p384: f64,
    /// An Ed25519 key.
    pub ed25519: f64,
    /// An RSA key with 2,048 bits.
    pub rsa2048: f64,
    /// Of connections over TLS 1.2.
    pub tls12: f64,
    /// Over TLS 1.3.
    pub tls13: f64,
    /// Of connections that resume.
    pub resumed: f64,
}

const SHARE: Accepts = Accepts::Number { min: 0.0, max: 100.0 };

macro_rules! share {
    ($key:literal, $meaning:literal) => {
        Field { key: $key, meaning: $meaning, unit: "%", accepts: SHARE, absent: Or("0.0") }
    };
}

pub(super) const MIX: Section = Section {
    name: "mix",
    repeats: false,
    meaning: "What share of the connections is of which kind; the seed draws each connection's. The keys' shares are read where load.key is mix, the versions' where load.tls is, and either sums to 100.",
    fields: &[
        share!("p256", "Connections to the name whose key is ECDSA on P-256."),
        share!("p384", "Connections to the name whose key is ECDSA on P-384."),
        share!("ed25519", "Connections to the name whose key is Ed25519."),
        share!("rsa2048", "Connections to the name whose key is RSA with 2,048 bits."),
        share!("tls12", "Connections over TLS 1.2."),
        share!("tls13", "Connections over TLS 1.3."),
        share!(
            "resumed",
            "Connections that resume, where load.resumption is tickets; one for which there is no ticket yet makes a full handshake and counts as that."
        ),
    ],
};

/// What a connection is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKind {
    /// The type of the server's key.
    pub key: KeyType,
    /// The protocol version.
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

    /// The kind of the connection of this number: the same for the same seed, whatever became of those before.
    #[must_use]
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
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.keys.len() == 1 && self.versions.len() == 1 && !self.resumes()
    }

    /// Whether some resume.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.resumed > 0.0
    }

    /// The types of key that the server needs.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyType> {
        self.keys.iter().map(|(key, _)| *key).collect()
    }

    /// Every kind that can be drawn, and the full handshake of each.
    #[must_use]
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
    const fn keys(&self) -> [(KeyType, f64); 4] {
        [
            (KeyType::P256, self.p256),
            (KeyType::P384, self.p384),
            (KeyType::Ed25519, self.ed25519),
            (KeyType::Rsa2048, self.rsa2048),
        ]
    }

    const fn versions(&self) -> [(TlsVersion, f64); 2] {
        [(TlsVersion::Tls12, self.tls12), (TlsVersion::Tls13, self.tls13)]
    }

    /// Shares and the words of `[load]` fit together.
    pub(super) fn check(&self, load: &Load) -> Result<(), ScenarioError> {
        let keys = self.keys().map(|(key, share)| (key.to_string(), share));
        let mixed = matches!(load.key, OrMix::Mix(_));
        check_shares("load.key", &keys, mixed)?;
        let versions = self.versions().map(|(tls, share)| (field_of(tls), share));
        let mixed = matches!(load.tls, OrMix::Mix(_));
        check_shares("load.tls", &versions, mixed)?;
        let bad = |field: &str, value: String, reason: &str, remedy: &str| {
            Err(ScenarioError::BadValue {
                field: field.to_owned(),
                value,
                reason: reason.to_owned(),
                remedy: remedy.to_owned(),
            })
        };
        match (load.resumption, self.resumed > 0.0) {
            (Resumption::None, true) => bad(
                "mix.resumed",
                self.resumed.to_string(),
                "nobody resumes while load.resumption is \"none\"",
                "give load.resumption = \"tickets\" too",
            ),
            (Resumption::Tickets, false) => bad(
                "load.resumption",
                "\"tickets\"".to_owned(),
                "nobody would use one",
                "give mix.resumed, in percent, too",
            ),
            _ => Ok(()),
        }
    }
}

fn field_of(tls: TlsVersion) -> String {
    format!("tls{}", tls.to_string().replace('.', ""))
}

/// How far a sum of shares may be from 100: the rounding of a few numbers written in decimals.
const ROUNDING: f64 = 1e-6;

fn check_shares(field: &str, shares: &[(String, f64)], mixed: bool) -> Result<(), ScenarioError> {
    let names: Vec<String> = shares.iter().map(|(name, _)| format!("mix.{name}")).collect();
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    let first = shares.iter().position(|(_, share)| *share > 0.0);
    if !mixed {
        return match first {
            None => Ok(()),
            Some(first) => Err(ScenarioError::BadValue {
                field: names[first].clone(),
                value: shares[first].1.to_string(),
                reason: format!("{field} is not \"mix\""),
                remedy: format!("give {field} = \"mix\" too"),
            }),
        };
    }
    if (sum - 100.0).abs() <= ROUNDING {
        return Ok(());
    }
    Err(ScenarioError::BadValue {
        field: field.to_owned(),
        value: "\"mix\"".to_owned(),
        reason: format!("the shares of {} sum to {sum} %", names.join(", ")),
        remedy: "give shares that sum to 100".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Scenario, *};

    fn scenario(overrides: &[&str]) -> Result<Scenario, ScenarioError> {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Scenario::find("offload-modes", &overrides)
    }

    fn refusal(overrides: &[&str]) -> String {
        scenario(overrides).expect_err("refused").to_string()
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
    fn shares_that_do_not_fit_are_refused_with_the_field_and_the_sum() {
        assert_eq!(
            refusal(&["load.key=mix", "mix.p256=70", "mix.rsa2048=20"]),
            "load.key = \"mix\": the shares of mix.p256, mix.p384, mix.ed25519, mix.rsa2048 sum to 90 %; \
             give shares that sum to 100"
        );
        assert_eq!(
            refusal(&["mix.tls12=20"]),
            "mix.tls12 = 20: load.tls is not \"mix\"; give load.tls = \"mix\" too"
        );
        assert_eq!(
            refusal(&["mix.resumed=20"]),
            "mix.resumed = 20: nobody resumes while load.resumption is \"none\"; \
             give load.resumption = \"tickets\" too"
        );
        assert_eq!(
            refusal(&["load.resumption=tickets"]),
            "load.resumption = \"tickets\": nobody would use one; give mix.resumed, in percent, too"
        );
        assert_eq!(
            refusal(&["mix.p265=20"]),
            "unknown key \"mix.p265\"; did you mean \"mix.p256\"?"
        );
        assert_eq!(
            refusal(&["mix.p256=101"]),
            "mix.p256 = 101: above the largest value 100; give 0 to 100 %"
        );
    }

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
