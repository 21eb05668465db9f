//! Scenarios: what is run, written as TOML in which every field is documented and checked.
//!
//! ```text
//!  file or built-in text --parse--> table --+overrides--> --check--> table --> Scenario --> [RowPlan]
//!                                                           |
//!                                       schema (data) ------+------> --print
//! ```
//!
//! An unknown key is an error that suggests the nearest one; a value out of range is an error with the field, the
//! value, the reason and the remedy, in one line.

mod batching;
mod builtin;
mod check;
mod docs;
mod error;
pub(crate) mod faults;
mod field;
mod kinds;
mod mix;
mod outcome;
mod overrides;
mod plan;
mod print;
mod schema;
mod several;
mod types;

use std::path::Path;

use toml::Table;

pub use batching::{Batching, RowBatching};
pub use builtin::{BUILTINS, Builtin, DEFAULT, SWARM};
pub use docs::{json_schema, page};
pub use error::{ScenarioError, nearest};
pub use field::{Absent, Accepts, Field, Section};
pub use kinds::{Kinds, Rings, RowKinds};
pub use mix::{ConnectionKind, Mix, Mixed, OrMix, Resumption, Shares};
pub use plan::{HangUps, RowPlan, Stream};
pub use schema::SECTIONS;
pub use several::{Routing, Serves, Spread};
pub use types::{
    Arrivals, ClockMode, Departures, DeviceProfile, DeviceSpec, EngineOptions, Expect, FallbackTo,
    FaultKind, FaultSpec, Handshakes, KeyType, Load, Mode, PollingMode, Row, Scenario, SeedSubset,
    Server, Service, TlsVersion, Wake,
};

impl Scenario {
    /// Finds a scenario by built-in name or by file name, and applies overrides of the form `KEY=VALUE`.
    ///
    /// Whatever ends in `.toml` or has a path separator is a file.
    ///
    /// # Errors
    /// Whatever keeps it from being run as written; see [`ScenarioError`].
    pub fn find(name_or_file: &str, overrides: &[String]) -> Result<Self, ScenarioError> {
        if name_or_file.ends_with(".toml") || name_or_file.contains(std::path::is_separator) {
            let text = std::fs::read_to_string(name_or_file).map_err(|error| {
                ScenarioError::Unreadable {
                    path: Path::new(name_or_file).to_owned(),
                    reason: error.to_string(),
                }
            })?;
            return Self::parse(name_or_file, &text, overrides);
        }
        match BUILTINS.iter().find(|builtin| builtin.name == name_or_file) {
            Some(builtin) => Self::parse(builtin.name, builtin.text, overrides),
            None => Err(ScenarioError::UnknownScenario {
                name: name_or_file.to_owned(),
                nearest: nearest(name_or_file, BUILTINS.iter().map(|builtin| builtin.name)),
                known: BUILTINS.iter().map(|builtin| builtin.name.to_owned()).collect(),
            }),
        }
    }

    /// Reads a scenario from TOML; `origin` names the text in messages.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, ScenarioError> {
        let mut raw = check::parse(origin, text)?;
        for argument in overrides {
            overrides::apply(&mut raw, argument)?;
        }
        let checked = check::check(raw)?;
        let scenario: Self =
            checked.try_into().expect("the schema admits only what the types hold");
        scenario.check_whole()?;
        Ok(scenario)
    }

    /// The scenario as a commented file, every field explained where it first appears.
    ///
    /// Reading it back gives the same scenario.
    #[must_use]
    pub fn print(&self) -> String {
        print::print(&Table::try_from(self).expect("a scenario is plain data"))
    }

    /// Only what software may do instead of the device can be kept from the device; and in real time it does nothing
    /// else.
    fn check_offload(&self) -> Result<(), ScenarioError> {
        let rows = self.rows.iter().filter_map(|row| row.offload_beyond);
        let beyond = rows.chain([self.engine.offload_beyond]).max().unwrap_or_default();
        let software = self.engine.fallback == FallbackTo::Software;
        if beyond > 0 && !software {
            return Err(ScenarioError::BadValue {
                field: "engine.offload_beyond".to_owned(),
                value: beyond.to_string(),
                reason: "nobody is there to do what the device is not given".to_owned(),
                remedy: "give engine.fallback = \"software\" too".to_owned(),
            });
        }
        if self.clock == ClockMode::Real && software && beyond == 0 {
            return Err(ScenarioError::NotBuilt {
                field: "engine.fallback".to_owned(),
                value: "\"software\" under the clock \"real\"".to_owned(),
                remedy: "give clock = \"virtual\" too, or engine.offload_beyond".to_owned(),
            });
        }
        Ok(())
    }

    /// What holds between fields, once each is right by itself.
    fn check_whole(&self) -> Result<(), ScenarioError> {
        self.mix.check(&self.load)?;
        if self.name == SWARM && !Mix::of(&self.load, &self.mix, self.seed).is_uniform() {
            return Err(ScenarioError::NotBuilt {
                field: "load".to_owned(),
                value: "a mix, of the scenario swarm".to_owned(),
                remedy: "give one load.key, one load.tls and load.resumption = \"none\"".to_owned(),
            });
        }
        several::check(self)?;
        let terms = [
            ("deadline_ms", self.engine.deadline_ms > 0.0, self.engine.deadline_ms.to_string()),
            (
                "breaker_failures",
                self.engine.breaker_failures > 0,
                self.engine.breaker_failures.to_string(),
            ),
        ];
        if let (ClockMode::Real, Some((key, _, value))) =
            (self.clock, terms.into_iter().find(|(_, given, _)| *given))
        {
            return Err(ScenarioError::NotBuilt {
                field: format!("engine.{key}"),
                value: format!("{value} under the clock \"real\""),
                remedy: "give clock = \"virtual\" too".to_owned(),
            });
        }
        self.check_offload()?;
        if self.clock == ClockMode::Real && self.server.beat_ms > 0.0 {
            return Err(ScenarioError::NotBuilt {
                field: "server.beat_ms".to_owned(),
                value: format!("{} under the clock \"real\"", self.server.beat_ms),
                remedy:
                    "give clock = \"virtual\" too; cargo xtask bench tls measures it in real time"
                        .to_owned(),
            });
        }
        let slow = self.rows.iter().filter_map(|row| row.kinds.slow_every);
        let slow = slow.chain([self.load.slow_every]).max().unwrap_or_default();
        if slow > 0 && self.load.handshakes == Handshakes::Real {
            return Err(ScenarioError::NotBuilt {
                field: "load.slow_every".to_owned(),
                value: format!("{slow} with handshakes = \"real\""),
                remedy: "give handshakes = \"profiled\" too".to_owned(),
            });
        }
        if slow > 0 && !Mix::of(&self.load, &self.mix, self.seed).is_uniform() {
            return Err(ScenarioError::NotBuilt {
                field: "load.slow_every".to_owned(),
                value: format!("{slow} with a mix"),
                remedy: "give one load.key, one load.tls and load.resumption = \"none\"".to_owned(),
            });
        }
        if self.clock == ClockMode::Real && self.load.arrivals != Arrivals::Closed {
            return Err(ScenarioError::NotBuilt {
                field: "load.arrivals".to_owned(),
                value: format!("\"{}\" under the clock \"real\"", self.load.arrivals),
                remedy: "give clock = \"virtual\" too, or \"closed\"".to_owned(),
            });
        }
        if self.clock == ClockMode::Real && self.load.first_connect_ms > 0.0 {
            return Err(ScenarioError::NotBuilt {
                field: "load.first_connect_ms".to_owned(),
                value: format!("{} under the clock \"real\"", self.load.first_connect_ms),
                remedy: "give clock = \"virtual\" too".to_owned(),
            });
        }
        if self.clock == ClockMode::Virtual && !matches!(self.server.wake, Wake::Ready | Wake::Poll)
        {
            return Err(ScenarioError::NotBuilt {
                field: "server.wake".to_owned(),
                value: format!("\"{}\" under the clock \"virtual\"", self.server.wake),
                remedy: "give \"ready\" or \"poll\", or clock = \"real\"".to_owned(),
            });
        }
        if self.load.handshakes == Handshakes::Profiled && self.clock == ClockMode::Real {
            return Err(ScenarioError::BadValue {
                field: "load.handshakes".to_owned(),
                value: "\"profiled\"".to_owned(),
                reason: "an outline takes no time under the clock \"real\"".to_owned(),
                remedy: "give clock = \"virtual\" too, or \"real\"".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
