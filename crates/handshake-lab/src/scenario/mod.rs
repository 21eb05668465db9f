//! Scenarios: what is run, written as TOML in which every field is documented and checked.
//!
//! ```text
//!  file or built-in text --parse--> table --overrides--> --check--> table --> Scenario --validate--> [RowPlan]
//!                                               |            |
//!                                language.rs ---+------------+------> --print, page, JSON Schema
//! ```
//!
//! An unknown key is an error that suggests the nearest one; a value out of range is an error with the field, the
//! value, the reason and the remedy, in one line.

mod declare;

mod error;
mod field;
mod language;
mod words;

mod check;
mod docs;
mod overrides;
mod print;

mod mix;
mod plan;
mod routing;
mod validate;

mod builtin;

use std::path::Path;

use toml::Table;

pub use builtin::{BUILTINS, Builtin, DEFAULT, SWARM};
pub use docs::{json_schema, page};
pub use error::{ScenarioError, nearest};
pub use language::{
    DeviceSpec, EngineOptions, Expect, FaultSpec, Load, Mixed, OrMix, Row, Scenario, Server, Shares,
};
pub use mix::{ConnectionKind, Mix};
pub use plan::{HangUps, RowPlan, Stream};
pub use routing::Routing;

pub(crate) use plan::millis;
pub use words::{
    Arrivals, Checks, ClockMode, DeviceProfile, FallbackTo, FaultKind, Group, Handshakes, KeyType,
    Mode, ParkingMethod, PollingMode, Resumption, Rings, Serves, Service, Spread, TlsVersion, Wake,
};

impl Scenario {
    /// Finds a scenario by built-in name or by file name, and applies overrides of the form `KEY=VALUE`.
    ///
    /// A name that ends in `.toml` or has a path separator is a file.
    ///
    /// # Errors
    /// [`ScenarioError`], if it cannot be run as written.
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
        let known = BUILTINS.iter().map(|builtin| builtin.name).chain([SWARM]);
        match BUILTINS.iter().find(|builtin| builtin.name == name_or_file) {
            Some(builtin) => Self::parse(builtin.name, builtin.text, overrides),
            None => Err(ScenarioError::UnknownScenario {
                name: name_or_file.to_owned(),
                nearest: nearest(name_or_file, known.clone()),
                known: known.map(str::to_owned).collect(),
            }),
        }
    }

    /// Reads a scenario from TOML; `origin` names the text in messages.
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, ScenarioError> {
        let mut raw = check::parse(origin, text)?;
        for argument in overrides {
            overrides::apply(&mut raw, argument)?;
        }
        let checked = check::check(raw)?;
        let scenario: Self = checked.try_into().expect("checked values are of their fields' types");
        validate::validate(&scenario)?;
        Ok(scenario)
    }

    /// The scenario as a commented file, every field explained where it first appears.
    ///
    /// Reading it back gives the same scenario.
    pub fn print(&self) -> String {
        print::print(&Table::try_from(self).expect("a scenario is plain data"))
    }
}

#[cfg(test)]
mod tests;
