//! A field of the scenario language as data: what it means and what it accepts.
//!
//! Checking, `--set`, `--print` and the documentation all read these descriptions, so that they cannot disagree.

use serde::Serialize;
use toml::{Table, Value};

use super::error::ScenarioError;

/// A field: its key, its meaning and its values.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) meaning: &'static str,
    pub(super) accepts: Accepts,
    /// What holds when it is left out.
    pub(super) absent: Absent,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Accepts {
    /// Printable text of 1 to `max` characters.
    Text {
        max: usize,
    },
    /// A name of lower-case letters, digits and dashes, at most 40 long.
    Name,
    Integer {
        min: i64,
        max: i64,
        unit: &'static str,
    },
    Number {
        min: f64,
        max: f64,
        unit: &'static str,
    },
    /// A word of one of these lists.
    OneOf(&'static [&'static [&'static str]]),
}

/// What holds when a field is left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    Required,
    /// This value.
    Default(fn() -> Value),
    /// The value of another field, named here.
    Inherits(&'static str),
}

/// How often a table may stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// At most once, as `[name]`; the top level, without a name, too.
    Once,
    /// At least once, as `[[name]]`. Without any there is one of defaults, unless a field is required.
    Some,
    /// Any number of times, as `[[name]]`.
    Any,
}

/// A table of the scenario file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name in brackets; empty for the top level.
    pub(super) name: &'static str,
    /// How often it may stand in a file. The members of a repeated one are told apart by their field `name`.
    pub(super) shape: Shape,
    pub(super) meaning: &'static str,
    /// Its fields, in the order in which they are printed.
    pub(super) fields: &'static [Field],
}

/// A default as it would stand in a file.
pub(super) fn to_toml<T: Serialize>(value: T) -> Value {
    Value::try_from(value).expect("a default is plain data")
}

impl Section {
    /// Whether it is an array of tables (`[[name]]`).
    pub(super) const fn repeats(&self) -> bool {
        !matches!(self.shape, Shape::Once)
    }

    pub(super) fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// `section.key`, or the bare key at the top level.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// A table with all defaults and nothing else.
    pub(super) fn defaults(&self) -> Table {
        let default = |field: &Field| match field.absent {
            Absent::Default(value) => Some((field.key.to_owned(), value())),
            Absent::Required | Absent::Inherits(_) => None,
        };
        self.fields.iter().filter_map(default).collect()
    }

    /// What the field with this key accepts; for fields that stand in for it elsewhere.
    ///
    /// # Panics
    /// If there is none, while compiling.
    pub(super) const fn accepts(&self, key: &str) -> Accepts {
        let mut at = 0;
        while at < self.fields.len() {
            if same(self.fields[at].key, key) {
                return self.fields[at].accepts;
            }
            at += 1;
        }
        panic!("no such field")
    }
}

/// `a == b`, which is no constant function yet.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

impl Accepts {
    /// The unit of the values; empty when they have none.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Integer { unit, .. } | Self::Number { unit, .. } => unit,
            _ => "",
        }
    }

    /// The accepted words; none for anything but words.
    pub(super) fn words(self) -> impl Iterator<Item = &'static str> {
        let lists = if let Self::OneOf(lists) = self { lists } else { &[] };
        lists.iter().copied().flatten().copied()
    }

    /// The accepted values in words, with the unit.
    pub(super) fn range(self) -> String {
        let unit = if self.unit().is_empty() { String::new() } else { format!(" {}", self.unit()) };
        match self {
            Self::Text { max } => format!("text of 1 to {max} characters"),
            Self::Name => "1 to 40 of a-z, 0-9 and -".to_owned(),
            Self::Integer { min, max, .. } => format!("{min} to {max}{unit}"),
            Self::Number { min, max, .. } => format!("{min} to {max}{unit}"),
            Self::OneOf(_) => {
                self.words().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// Reads a value as it stands on a command line, where text needs no quotes.
    pub(super) fn read(self, text: &str) -> Value {
        let bare = || Value::String(text.to_owned());
        match self {
            Self::Text { .. } | Self::Name | Self::OneOf(_) => bare(),
            // Anything else stays text, and `check` then refuses it as no number.
            Self::Integer { .. } => text.parse().map_or_else(|_| bare(), Value::Integer),
            Self::Number { .. } => {
                let whole = text.parse().map(Value::Integer);
                whole.or_else(|_| text.parse().map(Value::Float)).unwrap_or_else(|_| bare())
            }
        }
    }

    /// Checks a value of the field `path`. Returns its normal form: a number written without a point becomes a float.
    ///
    /// # Errors
    /// [`ScenarioError::BadValue`], naming `path`.
    pub(super) fn check(self, path: &str, value: &Value) -> Result<Value, ScenarioError> {
        let refused = match (self, value) {
            (Self::Text { max }, Value::String(text)) => {
                if text.trim().is_empty() {
                    Some("empty".to_owned())
                } else if text.chars().any(char::is_control) {
                    Some("has control characters".to_owned())
                } else {
                    (text.chars().count() > max).then(|| "too long".to_owned())
                }
            }
            (Self::Name, Value::String(name)) => {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                let is_plain = (1..=40).contains(&name.len()) && name.chars().all(plain);
                (!is_plain).then(|| "not a plain name".to_owned())
            }
            (Self::Integer { min, max, .. }, Value::Integer(n)) => outside(*n, min, max),
            (Self::Number { min, max, .. }, Value::Integer(_) | Value::Float(_)) => {
                let n = number(value);
                if n.is_nan() { Some("not a number".to_owned()) } else { outside(n, min, max) }
            }
            (Self::OneOf(_), Value::String(word)) => {
                let known = self.words().any(|known| known == word);
                (!known).then(|| "not one of the words known here".to_owned())
            }
            (Self::Text { .. } | Self::Name | Self::OneOf(_), _) => {
                Some("not text in quotes".to_owned())
            }
            (Self::Integer { .. }, _) => Some("not a whole number".to_owned()),
            (Self::Number { .. }, _) => Some("not a number".to_owned()),
        };
        match (refused, self) {
            (Some(reason), _) => {
                let remedy = format!("give {}", self.range());
                Err(ScenarioError::bad(path, shown(value), reason, remedy))
            }
            (None, Self::Number { .. }) => Ok(Value::Float(number(value))),
            (None, _) => Ok(value.clone()),
        }
    }
}

/// Why a number is refused; `None` if it lies in the range.
fn outside<N: PartialOrd + std::fmt::Display>(n: N, min: N, max: N) -> Option<String> {
    if n < min {
        return Some(format!("below the smallest value {min}"));
    }
    (n > max).then(|| format!("above the largest value {max}"))
}

#[expect(clippy::cast_precision_loss, reason = "fields hold numbers far below 2^52")]
fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(n) => *n as f64,
        Value::Float(n) => *n,
        _ => f64::NAN,
    }
}

/// A value as messages show it: on one line, cut after 60 characters.
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
