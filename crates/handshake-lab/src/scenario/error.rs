//! What can be wrong with a scenario, each in one line that names the field, the value and the remedy.

use std::path::PathBuf;

/// A scenario, or an override of one of its fields, that cannot be run as written.
///
/// Each text fits one line and is meant for the author of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    #[error("unknown scenario {name:?}; {}", suggestion(nearest.as_deref(), known))]
    UnknownScenario { name: String, nearest: Option<String>, known: Vec<String> },
    #[error("scenario file {}: {reason}; give a readable TOML file", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{origin} line {line}: {message}; mend the TOML there")]
    Syntax {
        origin: String,
        /// Counted from 1.
        line: usize,
        message: String,
    },
    #[error("unknown key {path:?}; {}", suggestion(nearest.as_deref(), known))]
    UnknownKey { path: String, nearest: Option<String>, known: Vec<String> },
    #[error("{field} is missing; {remedy}")]
    Missing { field: String, remedy: String },
    #[error("{field} = {value}: {reason}; {remedy}")]
    BadValue { field: String, value: String, reason: String, remedy: String },
    #[error(
        "--set {argument}: no value; write --set KEY=VALUE, for example --set load.connections=256"
    )]
    NotKeyValue { argument: String },
    #[error("--set {key}: several fields have this name; write one of {}", candidates.join(", "))]
    Ambiguous { key: String, candidates: Vec<String> },
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
