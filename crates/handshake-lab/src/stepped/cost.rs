//! Cost profiles: what the stations of a handshake cost the serving thread in CPU time.
//!
//! In virtual time nothing takes time by itself. TLS may really be executed, but what it costs is read here, so that a
//! run comes out the same on every machine. A profile is a small TOML file; its name and hash are part of the results.
//! `lab calibrate` makes one of the machine it runs on.

use std::{io, path::Path, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{
    scenario::{KeyType, Mode},
    server::Milestone,
};

/// The profile that is used when no other is given.
const REFERENCE: &str = include_str!("../../profiles/reference.toml");

/// Names the shape of the file.
const SCHEMA: &str = "layby.cost/1";

/// The longest that a station may take, in microseconds: ten seconds.
const LONGEST_US: f64 = 1e7;

/// A cost profile. Times are microseconds of CPU time of the serving thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostProfile {
    /// Names the shape of the file: `layby.cost/1`.
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignCosts {
    /// ECDSA on P-256.
    pub p256: f64,
    /// RSA with 2,048 bits.
    pub rsa2048: f64,
}

/// A cost profile that cannot be used as written: the field and the remedy, in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cost profile {file}: {reason}; give a file that lab calibrate has written")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system said.
        reason: io::Error,
    },
    /// Not TOML, a field too many or too few, or one that is not a number.
    #[error(
        "cost profile {file} line {line}: {message}; mend it there, or write it anew: lab calibrate"
    )]
    Syntax {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// Another version of the file.
    #[error(
        "cost profile {file}: schema = {found:?}: this laboratory reads {SCHEMA:?}; write it anew: lab calibrate"
    )]
    Schema {
        /// The file.
        file: String,
        /// The version that it says.
        found: String,
    },
    /// A time outside of what makes sense.
    #[error(
        "cost profile {file}: {field} = {value}: out of range; give 0 to {LONGEST_US} microseconds"
    )]
    OutOfRange {
        /// The file.
        file: String,
        /// The field with its section.
        field: &'static str,
        /// The value as given.
        value: f64,
    },
}

impl CostProfile {
    /// The profile that comes with the laboratory.
    ///
    /// # Panics
    /// Never: a test holds the file to be readable.
    #[must_use]
    pub fn reference() -> Self {
        let parsed = Self::parse("of the laboratory", REFERENCE);
        parsed.expect("the profile that comes with the laboratory is readable")
    }

    /// A profile of these costs: of hello, answer and finish in microseconds, and of signatures. `origin` says where they
    /// come from.
    #[must_use]
    pub fn new(
        name: &str,
        origin: &str,
        [hello, answer, finish]: [f64; 3],
        sign: SignCosts,
    ) -> Self {
        let mut profile = Self {
            schema: SCHEMA.to_owned(),
            name: name.to_owned(),
            origin: origin.to_owned(),
            hello_us: hello,
            answer_us: answer,
            finish_us: finish,
            sign_us: sign,
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
    #[must_use]
    pub fn toml(&self) -> String {
        let fields = toml::to_string(self).expect("plain data");
        format!(
            "# CPU time of the serving thread for one TLS 1.3 handshake, by its stations, in microseconds. Virtual time \
             charges it.\n{fields}"
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
        let times = [
            ("hello_us", profile.hello_us),
            ("answer_us", profile.answer_us),
            ("finish_us", profile.finish_us),
            ("sign_us.p256", profile.sign_us.p256),
            ("sign_us.rsa2048", profile.sign_us.rsa2048),
        ];
        // Also what is not a number is out of range.
        if let Some((field, value)) =
            times.into_iter().find(|(_, us)| !(0.0..=LONGEST_US).contains(us))
        {
            return Err(ProfileError::OutOfRange { file, field, value });
        }
        profile.hash = hash(text);
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

/// The costs of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    hello: Duration,
    answer: Duration,
    finish: Duration,
}

impl Costs {
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
    fn the_hash_follows_the_text() {
        let other = CostProfile::parse("other", &format!("{REFERENCE}\n# a remark\n")).unwrap();
        assert_ne!(other.id(), CostProfile::reference().id());
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let sign = SignCosts { p256: 16.5, rsa2048: 268.0 };
        let profile = CostProfile::new("mine", "a \"quoted\" origin", [45.0, 17.25, 8.0], sign);
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
            refused("layby.cost/1", "layby.cost/0"),
            refused("[sign_us]", "[sign_us"),
        ];
        insta::assert_snapshot!(says.join("\n"));
    }
}
