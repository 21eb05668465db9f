//! Cost profiles: what the stations of a handshake cost the serving thread in CPU time.
//!
//! In virtual time nothing takes time by itself. TLS may really be executed, but what it costs is read here, so that a
//! run comes out the same on every machine. A profile is a small TOML file; its name and hash are part of the results.

use std::{rc::Rc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use crate::{
    scenario::{ConnectionKind, KeyType, Mix, Mode, TlsVersion},
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
    /// A full handshake over TLS 1.3.
    pub tls13: Segments,
    /// One over TLS 1.3 that resumes.
    pub tls13_resumed: Segments,
    /// A full handshake over TLS 1.2.
    pub tls12: Segments,
    /// One over TLS 1.2 that resumes.
    pub tls12_resumed: Segments,
    /// A signature with the key in software.
    pub sign_us: SignCosts,
    /// The first half of the SHA-256 of the file, in hexadecimal.
    #[serde(skip)]
    hash: String,
}

/// A handshake without its signature, station by station.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segments {
    /// From accepting the connection, through the client's hello, to asking for the signature; of one that resumes, to
    /// having the ticket decrypted and the keys.
    pub hello_us: f64,
    /// From having the signature to having sent the server's flight.
    pub answer_us: f64,
    /// From the client's flight to the end of the session.
    pub finish_us: f64,
}

/// What a signature costs in software, by the type of the key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignCosts {
    /// ECDSA on P-256.
    pub p256: f64,
    /// ECDSA on P-384.
    pub p384: f64,
    /// Ed25519.
    pub ed25519: f64,
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

    /// The costs of a server that signs like this for connections of this mix.
    pub(super) fn costs(&self, mode: Mode, mix: &Mix) -> Costs {
        Costs(mix.kinds().into_iter().map(|kind| (kind, self.cost(mode, kind))).collect())
    }

    fn cost(&self, mode: Mode, kind: ConnectionKind) -> Cost {
        let time = |us: f64| Duration::from_secs_f64(us / 1e6);
        let segments = match (kind.tls, kind.resumed) {
            (TlsVersion::Tls13, false) => self.tls13,
            (TlsVersion::Tls13, true) => self.tls13_resumed,
            (TlsVersion::Tls12, false) => self.tls12,
            (TlsVersion::Tls12, true) => self.tls12_resumed,
        };
        let sign = match kind.key {
            KeyType::P256 => self.sign_us.p256,
            KeyType::P384 => self.sign_us.p384,
            KeyType::Ed25519 => self.sign_us.ed25519,
            KeyType::Rsa2048 => self.sign_us.rsa2048,
        };
        let signs = mode == Mode::Software && !kind.resumed;
        Cost {
            hello: time(segments.hello_us),
            answer: time(segments.answer_us) + time(if signs { sign } else { 0.0 }),
            finish: time(segments.finish_us),
        }
    }
}

/// The costs of one server, by the kind of the connection. Clones are cheap.
#[derive(Debug, Clone)]
pub(super) struct Costs(Rc<[(ConnectionKind, Cost)]>);

#[derive(Debug, Clone, Copy)]
struct Cost {
    hello: Duration,
    answer: Duration,
    finish: Duration,
}

impl Costs {
    /// What it costs to get from one station to another.
    pub(super) fn between(&self, kind: ConnectionKind, from: Milestone, to: Milestone) -> Duration {
        let Some((_, cost)) = self.0.iter().find(|(known, _)| *known == kind) else {
            debug_assert!(false, "a connection of a kind that is not in the mix");
            return Duration::ZERO;
        };
        let steps = [
            (Milestone::Signing, cost.hello),
            (Milestone::Answered, cost.answer),
            (Milestone::Established, cost.finish),
        ];
        let passed = steps.iter().filter(|(station, _)| from < *station && *station <= to);
        passed.map(|(_, cost)| *cost).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIONS: [Milestone; 4] =
        [Milestone::Accepted, Milestone::Signing, Milestone::Answered, Milestone::Established];

    fn kinds() -> impl Iterator<Item = ConnectionKind> {
        let versions = [TlsVersion::Tls12, TlsVersion::Tls13];
        KeyType::ALL.into_iter().flat_map(move |key| {
            let of = move |tls| [false, true].map(|resumed| ConnectionKind { key, tls, resumed });
            versions.into_iter().flat_map(of)
        })
    }

    fn whole(mode: Mode, kind: ConnectionKind) -> Duration {
        let cost = CostProfile::reference().cost(mode, kind);
        cost.hello + cost.answer + cost.finish
    }

    #[test]
    fn costs_add_up_whatever_the_stops() {
        let profile = CostProfile::reference();
        let mix = Mix::uniform(TlsVersion::Tls13, KeyType::P256);
        let (costs, kind) = (profile.costs(Mode::Software, &mix), mix.draw(0));
        let steps: Duration =
            STATIONS.windows(2).map(|pair| costs.between(kind, pair[0], pair[1])).sum();
        assert_eq!(costs.between(kind, STATIONS[0], STATIONS[3]), steps);
        assert_eq!(costs.between(kind, STATIONS[1], STATIONS[1]), Duration::ZERO);
    }

    #[test]
    fn what_signs_by_itself_costs_more_unless_it_resumes() {
        for kind in kinds() {
            let (software, offloaded) = (whole(Mode::Software, kind), whole(Mode::Async, kind));
            assert_eq!(software > offloaded, !kind.resumed, "{kind}");
        }
    }

    #[test]
    fn every_kind_has_its_own_costs() {
        let of =
            |tls, resumed| whole(Mode::Async, ConnectionKind { key: KeyType::P256, tls, resumed });
        let (tls12, tls13) = (TlsVersion::Tls12, TlsVersion::Tls13);
        // Over TLS 1.2 resumption spares the key exchange, over TLS 1.3 it does not (RFC 8446, 2.2).
        assert!(of(tls12, true) < of(tls12, false));
        assert!(of(tls12, false) < of(tls13, false));
        assert!(of(tls13, true) > of(tls12, true));
    }

    #[test]
    fn an_unknown_field_is_refused_and_the_hash_follows_the_text() {
        assert!(CostProfile::parse(&format!("colour = 1\n{REFERENCE}")).is_err());
        let other = CostProfile::parse(&format!("{REFERENCE}\n# a remark\n")).unwrap();
        assert_ne!(other.id(), CostProfile::reference().id());
    }
}
