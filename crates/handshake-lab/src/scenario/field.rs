//! One field of the scenario language as data: what it means and what it accepts.
//!
//! Checking, `--set`, `--print` and the documentation all read these descriptions, so that they cannot disagree.

use toml::Value;

use super::error::ScenarioError;

/// A field: its key, its meaning and its values.
#[derive(Debug)]
pub struct Field {
    /// The key in its section.
    pub key: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// The unit of its values; empty when it has none.
    pub unit: &'static str,
    /// Which values are accepted.
    pub accepts: Accepts,
    /// What holds when it is left out.
    pub absent: Absent,
}

/// Which values a field accepts.
#[derive(Debug)]
pub enum Accepts {
    /// Printable text of at most this many characters.
    Text {
        /// Longest accepted, in characters.
        max: usize,
    },
    /// A name of lower-case letters, digits and dashes, at most 40 long.
    Name,
    /// A whole number.
    Integer {
        /// Smallest accepted.
        min: i64,
        /// Largest accepted.
        max: i64,
    },
    /// A number.
    Number {
        /// Smallest accepted.
        min: f64,
        /// Largest accepted.
        max: f64,
    },
    /// Whole numbers, each once, in any order.
    Numbers {
        /// Largest accepted.
        max: i64,
    },
    /// One of these words.
    OneOf {
        /// Words that work.
        built: &'static [&'static str],
        /// Words that the language reserves and this build refuses by name.
        reserved: &'static [&'static str],
    },
}

/// What holds when a field is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It must be given.
    Required,
    /// This value, written as in TOML.
    Default(&'static str),
    /// The value of another field, named here.
    Inherits(&'static str),
}

/// A table of the scenario file.
#[derive(Debug)]
pub struct Section {
    /// Its name in brackets; empty for the top level.
    pub name: &'static str,
    /// Whether it is an array of tables (`[[name]]`), whose members are told apart by their field `name`.
    pub repeats: bool,
    /// What it describes.
    pub meaning: &'static str,
    /// Its fields, in the order in which they are printed.
    pub fields: &'static [Field],
}

impl Section {
    /// The field with this key.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// `section.key`, or the bare key at the top level.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl Field {
    /// Checks a value and brings it into its normal form (a number written without a point becomes a float).
    ///
    /// # Errors
    /// [`ScenarioError::BadValue`] or [`ScenarioError::NotBuilt`], naming `path`.
    pub fn check(&self, path: &str, value: &Value) -> Result<Value, ScenarioError> {
        let bad = |reason: &str| ScenarioError::BadValue {
            field: path.to_owned(),
            value: shown(value),
            reason: reason.to_owned(),
            remedy: format!("give {}", self.range()),
        };
        match (&self.accepts, value) {
            (Accepts::Text { max }, Value::String(text)) => {
                if text.trim().is_empty() {
                    Err(bad("empty"))
                } else if text.chars().any(char::is_control) {
                    Err(bad("has control characters"))
                } else if text.chars().count() > *max {
                    Err(bad("too long"))
                } else {
                    Ok(value.clone())
                }
            }
            (Accepts::Name, Value::String(name)) => {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
                    Err(bad("not a plain name"))
                } else {
                    Ok(value.clone())
                }
            }
            (Accepts::Integer { min, max }, Value::Integer(n)) => {
                if n < min {
                    Err(bad(&format!("below the smallest value {min}")))
                } else if n > max {
                    Err(bad(&format!("above the largest value {max}")))
                } else {
                    Ok(value.clone())
                }
            }
            (Accepts::Number { min, max }, Value::Integer(_) | Value::Float(_)) => {
                let n = number(value);
                if n.is_nan() {
                    Err(bad("not a number"))
                } else if n < *min {
                    Err(bad(&format!("below the smallest value {min}")))
                } else if n > *max {
                    Err(bad(&format!("above the largest value {max}")))
                } else {
                    Ok(Value::Float(n))
                }
            }
            (Accepts::OneOf { built, reserved }, Value::String(word)) => {
                if built.contains(&word.as_str()) {
                    Ok(value.clone())
                } else if reserved.contains(&word.as_str()) {
                    Err(ScenarioError::NotBuilt {
                        field: path.to_owned(),
                        value: shown(value),
                        remedy: format!("give {}", self.range()),
                    })
                } else {
                    Err(bad("not one of the words known here"))
                }
            }
            (Accepts::Text { .. } | Accepts::Name | Accepts::OneOf { .. }, _) => {
                Err(bad("not text in quotes"))
            }
            (Accepts::Numbers { max }, Value::Array(numbers)) => {
                let fits = |n: &Value| n.as_integer().is_some_and(|n| (0..=*max).contains(&n));
                if numbers.iter().all(fits) {
                    Ok(value.clone())
                } else {
                    Err(bad("not a list of such numbers"))
                }
            }
            (Accepts::Numbers { .. }, _) => Err(bad("not a list")),
            (Accepts::Integer { .. }, _) => Err(bad("not a whole number")),
            (Accepts::Number { .. }, _) => Err(bad("not a number")),
        }
    }

    /// Reads a value as it stands on a command line, where text needs no quotes.
    #[must_use]
    pub fn from_command_line(&self, text: &str) -> Value {
        let bare = || Value::String(text.to_owned());
        match self.accepts {
            Accepts::Text { .. } | Accepts::Name | Accepts::OneOf { .. } => bare(),
            Accepts::Numbers { .. } => {
                let number = |word: &str| word.trim().parse().map(Value::Integer);
                let list: Result<Vec<_>, _> = text.split(',').map(number).collect();
                list.map_or_else(|_| bare(), Value::Array)
            }
            // What is neither stays text, and `check` then says that it is no number.
            Accepts::Integer { .. } => text.parse().map_or_else(|_| bare(), Value::Integer),
            Accepts::Number { .. } => {
                let whole = text.parse().map(Value::Integer);
                whole.or_else(|_| text.parse().map(Value::Float)).unwrap_or_else(|_| bare())
            }
        }
    }

    /// The accepted values in words, with the unit.
    #[must_use]
    pub fn range(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        match self.accepts {
            Accepts::Text { max } => format!("text of 1 to {max} characters"),
            Accepts::Name => "1 to 40 of a-z, 0-9 and -".to_owned(),
            Accepts::Integer { min, max } => format!("{min} to {max}{unit}"),
            Accepts::Numbers { max } => format!("a list of whole numbers from 0 to {max}"),
            Accepts::Number { min, max } => format!("{min} to {max}{unit}"),
            Accepts::OneOf { built, .. } => {
                let words: Vec<String> = built.iter().map(|word| format!("{word:?}")).collect();
                words.join(" or ")
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "fields hold numbers far below 2^52")]
fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(n) => *n as f64,
        Value::Float(n) => *n,
        _ => f64::NAN,
    }
}

/// A value as it is shown in a message: on one line and not longer than a line bears.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}...")
}
