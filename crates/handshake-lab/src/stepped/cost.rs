//! Cost profiles: the CPU time of the serving thread for each station of a handshake.
//!
//! In virtual time nothing takes time by itself. TLS may be executed, but its CPU time is read from a profile, so that a run
//! has the same results on every machine. A profile is a small TOML file; its name and hash are part of the results.
//! `lab calibrate` makes one of the machine it runs on.

use std::{io, path::Path, rc::Rc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{
    scenario::{ConnectionKind, KeyType, Mix, Mode, ParkingMethod, TlsVersion},
    server::Milestone,
};

/// The profile that is used when no other is given.
const REFERENCE: &str = include_str!("../../profiles/reference.toml");

const SCHEMA: &str = "layby.cost/3";

/// The longest that a station may take, in microseconds: ten seconds.
const LONGEST_US: f64 = 1e7;

/// A cost profile. Times are microseconds of CPU time of the serving thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostProfile {
    /// Names the shape of the file: `layby.cost/3`.
    pub schema: String,
    pub name: String,
    pub origin: String,
    /// A full handshake over TLS 1.3.
    pub tls13: Segments,
    /// One over TLS 1.3 that resumes.
    pub tls13_resumed: Segments,
    /// A full handshake over TLS 1.2.
    pub tls12: Segments,
    /// One over TLS 1.2 that resumes.
    pub tls12_resumed: Segments,
    /// A full handshake over TLS 1.3 that is parked by replay.
    pub tls13_replay: Segments,
    /// One over TLS 1.2 that is parked by replay.
    pub tls12_replay: Segments,
    /// Memory of a handshake while it is parked, by the way of parking.
    pub parked_bytes: ParkedBytes,
    /// A signature with the key in software.
    pub sign_us: SignCosts,
    /// The first half of the SHA-256 of the file, in hexadecimal.
    #[serde(skip)]
    hash: String,
}

/// A handshake without its signature, station by station.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// Bytes that one parked handshake over TLS 1.3 takes, its session and its request included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkedBytes {
    pub fiber: f64,
    pub replay: f64,
}

/// What a signature costs in software, by the type of the key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignCosts {
    pub p256: f64,
    pub p384: f64,
    pub ed25519: f64,
    pub rsa2048: f64,
}

/// A cost profile that cannot be used as written: the field and the remedy, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("cost profile {file}: {reason}; give a file that lab calibrate has written")]
    Unreadable { file: String, reason: io::Error },
    #[error(
        "cost profile {file} line {line}: {message}; mend it there, or write it anew: lab calibrate"
    )]
    Syntax {
        file: String,
        /// Counted from 1.
        line: usize,
        message: String,
    },
    #[error(
        "cost profile {file}: schema = {found:?}: this laboratory reads {SCHEMA:?}; write it anew: lab calibrate"
    )]
    Schema { file: String, found: String },
    #[error(
        "cost profile {file}: {field} = {value}: out of range; give 0 to {LONGEST_US} microseconds"
    )]
    OutOfRange { file: String, field: String, value: f64 },
}

impl CostProfile {
    /// The profile that comes with the laboratory.
    ///
    /// # Panics
    /// Never: a test reads the file.
    #[must_use]
    pub fn reference() -> Self {
        let parsed = Self::parse("of the laboratory", REFERENCE);
        parsed.expect("the profile that comes with the laboratory is readable")
    }

    /// A profile of these costs; `origin` names their source.
    #[must_use]
    pub fn new(
        name: &str,
        origin: &str,
        [tls13, tls13_resumed, tls12, tls12_resumed, tls13_replay, tls12_replay]: [Segments; 6],
        parked_bytes: ParkedBytes,
        sign_us: SignCosts,
    ) -> Self {
        let mut profile = Self {
            schema: SCHEMA.to_owned(),
            name: name.to_owned(),
            origin: origin.to_owned(),
            tls13,
            tls13_resumed,
            tls12,
            tls12_resumed,
            tls13_replay,
            tls12_replay,
            parked_bytes,
            sign_us,
            hash: String::new(),
        };
        profile.hash = hash(&profile.toml());
        profile
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// When the file cannot be read, is of another version, or a field is missing, unknown or out of range.
    pub fn read(file: &Path) -> Result<Self, ProfileError> {
        let shown = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&shown, &text),
            Err(reason) => Err(ProfileError::Unreadable { file: shown, reason }),
        }
    }

    /// The text of its file.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn toml(&self) -> String {
        let fields = toml::to_string(self).expect("plain data");
        format!(
            "# CPU time of the serving thread for one handshake, by its stations, in microseconds. Virtual time charges \
             it.\n{fields}"
        )
    }

    fn parse(file: &str, text: &str) -> Result<Self, ProfileError> {
        let file = file.to_owned();
        let syntax = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            ProfileError::Syntax { file: file.clone(), line, message }
        };
        // The version first: of another one every field may be unknown.
        let table: toml::Table = text.parse().map_err(syntax)?;
        if let Some(found) = table.get("schema").filter(|schema| schema.as_str() != Some(SCHEMA)) {
            let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            return Err(ProfileError::Schema { file, found });
        }
        let mut profile: Self = toml::from_str(text).map_err(syntax)?;
        // NaN is out of range too.
        if let Some((section, field, value)) =
            profile.times().find(|(_, _, us)| !(0.0..=LONGEST_US).contains(us))
        {
            let field = format!("{section}.{field}");
            return Err(ProfileError::OutOfRange { file, field, value });
        }
        profile.hash = hash(text);
        Ok(profile)
    }

    /// Every time in it, by section and field.
    fn times(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let segments = [
            ("tls13", self.tls13),
            ("tls13_resumed", self.tls13_resumed),
            ("tls12", self.tls12),
            ("tls12_resumed", self.tls12_resumed),
            ("tls13_replay", self.tls13_replay),
            ("tls12_replay", self.tls12_replay),
        ];
        let SignCosts { p256, p384, ed25519, rsa2048 } = self.sign_us;
        let signatures =
            [("p256", p256), ("p384", p384), ("ed25519", ed25519), ("rsa2048", rsa2048)];
        segments
            .into_iter()
            .flat_map(|(section, Segments { hello_us, answer_us, finish_us })| {
                [("hello_us", hello_us), ("answer_us", answer_us), ("finish_us", finish_us)]
                    .map(|(field, us)| (section, field, us))
            })
            .chain(signatures.map(|(field, us)| ("sign_us", field, us)))
    }

    /// Name and hash, as results show them.
    pub fn id(&self) -> String {
        format!("{}-{}", self.name, self.hash)
    }

    /// Bytes of one parked handshake, where handshakes park.
    pub(super) fn parked_bytes(&self, mode: Mode, parking: ParkingMethod) -> Option<f64> {
        let ParkedBytes { fiber, replay } = self.parked_bytes;
        (mode == Mode::Async).then_some(match parking {
            ParkingMethod::Fiber => fiber,
            ParkingMethod::Replay => replay,
        })
    }

    /// The costs of a server that signs like this for connections of this mix.
    pub(super) fn costs(&self, mode: Mode, parking: ParkingMethod, mix: &Mix) -> Costs {
        let cost = |kind| (kind, self.cost(mode, parking, kind));
        Costs(mix.kinds().into_iter().map(cost).collect())
    }

    fn cost(&self, mode: Mode, parking: ParkingMethod, kind: ConnectionKind) -> Cost {
        let time = |us: f64| Duration::from_secs_f64(us / 1e6);
        let replays = mode == Mode::Async && parking == ParkingMethod::Replay;
        // One that resumes signs nothing, and its rehearsal becomes the handshake.
        let segments = match (kind.tls, kind.resumed, replays) {
            (TlsVersion::Tls13, false, false) => self.tls13,
            (TlsVersion::Tls13, false, true) => self.tls13_replay,
            (TlsVersion::Tls13, true, _) => self.tls13_resumed,
            (TlsVersion::Tls12, false, false) => self.tls12,
            (TlsVersion::Tls12, false, true) => self.tls12_replay,
            (TlsVersion::Tls12, true, _) => self.tls12_resumed,
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
            sign: time(sign),
        }
    }
}

/// The first half of the SHA-256 of a file, in hexadecimal.
fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The costs of one server, by the kind of the connection. Clones are cheap.
#[derive(Debug, Clone)]
pub(super) struct Costs(Rc<[(ConnectionKind, Cost)]>);

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    hello: Duration,
    answer: Duration,
    finish: Duration,
    sign: Duration,
}

impl Costs {
    /// What a signature costs that software makes instead of the device.
    pub(super) fn sign(&self, kind: ConnectionKind) -> Duration {
        self.of(kind).sign
    }

    /// The cost of the way from one station to another.
    pub(super) fn between(&self, kind: ConnectionKind, from: Milestone, to: Milestone) -> Duration {
        let cost = self.of(kind);
        let steps = [
            (Milestone::Signing, cost.hello),
            (Milestone::Answered, cost.answer),
            (Milestone::Established, cost.finish),
        ];
        let passed = steps.iter().filter(|(station, _)| from < *station && *station <= to);
        passed.map(|(_, cost)| *cost).sum()
    }

    fn of(&self, kind: ConnectionKind) -> Cost {
        let known = self.0.iter().find(|(known, _)| *known == kind);
        debug_assert!(known.is_some(), "a connection of a kind that is not in the mix");
        known.map_or_else(Cost::default, |(_, cost)| *cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIBER: ParkingMethod = ParkingMethod::Fiber;
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
        let cost = CostProfile::reference().cost(mode, FIBER, kind);
        cost.hello + cost.answer + cost.finish
    }

    #[test]
    fn costs_add_up_whatever_the_stops() {
        let profile = CostProfile::reference();
        let mix = Mix::uniform(TlsVersion::Tls13, KeyType::P256);
        let (costs, kind) = (profile.costs(Mode::Software, FIBER, &mix), mix.draw(0));
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
    fn the_hash_follows_the_text() {
        let other = CostProfile::parse("other", &format!("{REFERENCE}\n# a remark\n")).unwrap();
        assert_ne!(other.id(), CostProfile::reference().id());
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let of = |hello_us| Segments { hello_us, answer_us: 17.25, finish_us: 8.0 };
        let sign = SignCosts { p256: 16.5, p384: 51.0, ed25519: 9.0, rsa2048: 268.0 };
        let segments = [45.0, 69.0, 14.0, 20.0, 61.0, 17.0].map(of);
        let parked = ParkedBytes { fiber: 24_000.0, replay: 2_000.0 };
        let profile = CostProfile::new("mine", "a \"quoted\" origin", segments, parked, sign);
        assert_eq!(CostProfile::parse("mine", &profile.toml()).unwrap(), profile);
    }

    #[test]
    fn refusals_name_the_field_and_the_remedy() {
        let refused = |from: &str, to: &str| {
            assert!(REFERENCE.contains(from));
            CostProfile::parse("mine.toml", &REFERENCE.replace(from, to)).unwrap_err().to_string()
        };
        let says = [
            refused("hello_us", "helo_us"),
            refused("finish_us = 8.0\n", ""),
            refused("answer_us = 17.0", "answer_us = -1.0"),
            refused("p256 = 16.0", "p256 = nan"),
            refused("rsa2048 = 268.0", "rsa2048 = \"fast\""),
            refused("layby.cost/3", "layby.cost/2"),
            refused("[sign_us]", "[sign_us"),
        ];
        insta::assert_snapshot!(says.join("\n"));
    }
}
