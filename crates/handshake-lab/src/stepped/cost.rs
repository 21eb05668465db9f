//! Cost profiles: what the stations of a handshake cost the serving thread in CPU time.
//!
//! In virtual time nothing takes time by itself. TLS may really be executed, but what it costs is read here, so that a
//! run comes out the same on every machine. A profile is a small TOML file; its name and hash are part of the results.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use crate::{
    scenario::{KeyType, Mode},
    server::Milestone,
};

/// The profile that is used when no other is given.
const REFERENCE: &str = include_str!("../../profiles/reference.toml");

/// A cost profile. Times are microseconds of CPU time of the serving thread.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostProfile {
    /// Names the shape of the file.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Where the figures come from.
    pub origin: String,
    /// From accepting the connection, through the client's hello and the key exchange, to asking for the signature.
    pub hello_us: f64,
    /// From having the signature to having sent the server's flight.
    pub answer_us: f64,
    /// From the client's flight to the end of the session.
    pub finish_us: f64,
    /// A signature with the key in software.
    pub sign_us: SignCosts,
    /// The first half of the SHA-256 of the file, in hexadecimal.
    #[serde(skip)]
    hash: String,
}

/// What a signature costs in software, by the type of the key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignCosts {
    /// ECDSA on P-256.
    pub p256: f64,
    /// RSA with 2,048 bits.
    pub rsa2048: f64,
}

impl CostProfile {
    /// The profile that comes with the laboratory.
    ///
    /// # Panics
    /// Never: a test holds the file to be readable.
    #[must_use]
    pub fn reference() -> Self {
        Self::parse(REFERENCE).expect("the profile that comes with the laboratory is readable")
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut profile: Self = toml::from_str(text)?;
        let hash = digest(&SHA256, text.as_bytes());
        profile.hash = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(profile)
    }

    /// Name and hash, as results show them.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}", self.name, self.hash)
    }

    /// The costs of a server that signs like this.
    pub(super) fn costs(&self, mode: Mode, key: KeyType) -> Costs {
        let time = |us: f64| Duration::from_secs_f64(us / 1e6);
        let sign = match (mode, key) {
            (Mode::Software, KeyType::P256) => self.sign_us.p256,
            (Mode::Software, KeyType::Rsa2048) => self.sign_us.rsa2048,
            _ => 0.0,
        };
        Costs {
            hello: time(self.hello_us),
            answer: time(self.answer_us) + time(sign),
            finish: time(self.finish_us),
            sign: time(match key {
                KeyType::P256 => self.sign_us.p256,
                KeyType::Rsa2048 => self.sign_us.rsa2048,
            }),
        }
    }
}

/// The costs of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    hello: Duration,
    answer: Duration,
    finish: Duration,
    sign: Duration,
}

impl Costs {
    /// What a signature costs that software makes instead of the device.
    pub(super) const fn sign(&self) -> Duration {
        self.sign
    }

    /// What it costs to get from one station to another.
    pub(super) fn between(&self, from: Milestone, to: Milestone) -> Duration {
        let steps = [
            (Milestone::Signing, self.hello),
            (Milestone::Answered, self.answer),
            (Milestone::Established, self.finish),
        ];
        let passed = steps.iter().filter(|(station, _)| from < *station && *station <= to);
        passed.map(|(_, cost)| *cost).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_whatever_the_stops() {
        let profile = CostProfile::reference();
        let costs = profile.costs(Mode::Software, KeyType::P256);
        let stations =
            [Milestone::Accepted, Milestone::Signing, Milestone::Answered, Milestone::Established];
        let whole = costs.between(Milestone::Accepted, Milestone::Established);
        let steps: Duration = stations.windows(2).map(|pair| costs.between(pair[0], pair[1])).sum();
        assert_eq!(whole, steps);
        assert!(
            whole > profile.costs(Mode::Async, KeyType::P256).between(stations[0], stations[3])
        );
        assert_eq!(costs.between(Milestone::Signing, Milestone::Signing), Duration::ZERO);
    }

    #[test]
    fn an_unknown_field_is_refused_and_the_hash_follows_the_text() {
        assert!(CostProfile::parse(&format!("colour = 1\n{REFERENCE}")).is_err());
        let other = CostProfile::parse(&format!("{REFERENCE}\n# a remark\n")).unwrap();
        assert_ne!(other.id(), CostProfile::reference().id());
    }
}
