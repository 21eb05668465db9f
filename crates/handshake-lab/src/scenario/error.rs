//! What can be wrong with a scenario, each in one line that names the field, the value and the remedy.

use std::path::PathBuf;

/// A scenario, or an override of one of its fields, that cannot be run as written.
///
/// Each text fits one line and is meant for the author of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// No built-in scenario has this name, and no file is there either.
    #[error("unknown scenario {name:?}; {}", suggestion(nearest.as_deref(), known))]
    UnknownScenario {
        /// The name as given.
        name: String,
        /// The built-in name nearest to it, when one is near.
        nearest: Option<String>,
        /// All built-in names.
        known: Vec<String>,
    },
    /// The scenario file cannot be read.
    #[error("scenario file {}: {reason}; give a readable TOML file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The text is not TOML.
    #[error("{origin} line {line}: {message}; mend the TOML there")]
    Syntax {
        /// The file or built-in name.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key that no field has.
    #[error("unknown key {path:?}; {}", suggestion(nearest.as_deref(), known))]
    UnknownKey {
        /// The key with its section.
        path: String,
        /// The known key nearest to it, when one is near.
        nearest: Option<String>,
        /// The keys known in its place.
        known: Vec<String>,
    },
    /// A field that must be given and is not.
    #[error("{field} is missing; {remedy}")]
    Missing {
        /// The field with its section.
        field: String,
        /// What to write.
        remedy: String,
    },
    /// A value outside what the field accepts.
    #[error("{field} = {value}: {reason}; {remedy}")]
    BadValue {
        /// The field with its section.
        field: String,
        /// The value as given.
        value: String,
        /// Why it is refused.
        reason: String,
        /// What would be accepted.
        remedy: String,
    },
    /// An override without an equals sign.
    #[error(
        "--set {argument}: no value; write --set KEY=VALUE, for example --set load.connections=256"
    )]
    NotKeyValue {
        /// The argument as given.
        argument: String,
    },
    /// A short key that several sections have.
    #[error("--set {key}: several fields have this name; write one of {}", candidates.join(", "))]
    Ambiguous {
        /// The key as given.
        key: String,
        /// The fields it could mean.
        candidates: Vec<String>,
    },
}

impl ScenarioError {
    /// [`BadValue`](Self::BadValue) of `field = value`.
    pub(super) fn bad(
        field: impl Into<String>,
        value: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::BadValue {
            field: field.into(),
            value: value.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

/// The known name nearest to `given`, when it is near enough to be a slip of the fingers.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    /// Similarity below which a suggestion would only puzzle; `conections` to `connections` is 0.98, `foo` to anything here below 0.6.
    const NEAR: f64 = 0.7;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

fn suggestion(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!("did you mean {name:?}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
