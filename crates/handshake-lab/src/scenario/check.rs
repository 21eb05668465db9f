//! From the text of a scenario to a checked table: every key known, every value in range, defaults filled in.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{
    error::{ScenarioError, nearest},
    field::{Absent, Section},
    schema::SECTIONS,
};

/// Parses TOML; `origin` names the file or the built-in scenario in messages.
pub(super) fn parse(origin: &str, text: &str) -> Result<Table, ScenarioError> {
    text.parse::<Table>().map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        ScenarioError::Syntax { origin: origin.to_owned(), line, message }
    })
}

/// Checks every key and value of `raw` and fills in the defaults.
pub(super) fn check(mut raw: Table) -> Result<Table, ScenarioError> {
    let mut checked = Table::new();
    for section in SECTIONS.iter().filter(|section| !section.name.is_empty()) {
        let value = raw.remove(section.name);
        let value = if section.repeats {
            Value::Array(members(section, value)?)
        } else {
            let table = match value {
                None => Table::new(),
                Some(Value::Table(table)) => table,
                Some(_) => return Err(wrong_shape(section)),
            };
            Value::Table(fields(section, section.name, table)?)
        };
        checked.insert(section.name.to_owned(), value);
    }
    checked.extend(fields(&SECTIONS[0], "", raw)?);
    Ok(checked)
}

/// The repeated section of which a file may have no member.
const OPTIONAL: &str = "fault";

/// The members of a repeated section; one with nothing but defaults when the file has none and none is required.
fn members(section: &Section, value: Option<Value>) -> Result<Vec<Value>, ScenarioError> {
    let required = section.fields.iter().any(|field| field.absent == Absent::Required);
    let tables = match value {
        None if section.name == OPTIONAL => return Ok(Vec::new()),
        Some(Value::Array(tables)) if section.name == OPTIONAL && tables.is_empty() => tables,
        None if required => {
            return Err(ScenarioError::Missing {
                field: format!("[[{}]]", section.name),
                remedy: format!("add at least one table [[{}]]", section.name),
            });
        }
        None => vec![Value::Table(Table::new())],
        Some(Value::Array(tables)) if tables.is_empty() => return Err(wrong_shape(section)),
        Some(Value::Array(tables)) => tables,
        Some(_) => return Err(wrong_shape(section)),
    };
    let mut names = BTreeSet::new();
    let mut checked = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let Value::Table(table) = table else { return Err(wrong_shape(section)) };
        let called = table.get("name").and_then(Value::as_str);
        let place = format!("{}.{}", section.name, called.unwrap_or(&(index + 1).to_string()));
        let table = fields(section, &place, table)?;
        let name = table.get("name").and_then(Value::as_str).unwrap_or_default();
        if !names.insert(name.to_owned()) {
            return Err(ScenarioError::BadValue {
                field: format!("{}.name", section.name),
                value: format!("{name:?}"),
                reason: "given twice".to_owned(),
                remedy: format!("give every [[{}]] a name of its own", section.name),
            });
        }
        checked.push(Value::Table(table));
    }
    Ok(checked)
}

/// Checks the fields of one table; `place` is how messages call the table.
fn fields(section: &Section, place: &str, mut table: Table) -> Result<Table, ScenarioError> {
    let path = |key: &str| {
        if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
    };
    let mut checked = Table::new();
    for field in section.fields {
        let value = match (table.remove(field.key), field.absent) {
            (Some(value), _) => field.check(&path(field.key), &value)?,
            (None, Absent::Default(literal)) => default(literal),
            (None, Absent::Inherits(_)) => continue,
            (None, Absent::Required) => {
                return Err(ScenarioError::Missing {
                    field: path(field.key),
                    remedy: format!("give {}", field.range()),
                });
            }
        };
        checked.insert(field.key.to_owned(), value);
    }
    match table.keys().next() {
        None => Ok(checked),
        Some(key) => Err(unknown_key(section, place, key)),
    }
}

/// The value that a default stands for.
pub(super) fn default(literal: &str) -> Value {
    let table: Table = format!("value = {literal}").parse().expect("defaults are written in TOML");
    table["value"].clone()
}

fn unknown_key(section: &Section, place: &str, key: &str) -> ScenarioError {
    let mut known: Vec<String> = section.fields.iter().map(|field| field.key.to_owned()).collect();
    if place.is_empty() {
        known.extend(SECTIONS.iter().skip(1).map(|section| section.name.to_owned()));
    }
    let nearest = nearest(key, known.iter().map(String::as_str));
    let path = if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    ScenarioError::UnknownKey { path, nearest, known }
}

fn wrong_shape(section: &Section) -> ScenarioError {
    let (reason, remedy) = if section.repeats {
        ("not an array of tables", format!("write [[{}]] before each", section.name))
    } else {
        ("not a table", format!("write [{}] before its fields", section.name))
    };
    ScenarioError::BadValue {
        field: section.name.to_owned(),
        value: "(as given)".to_owned(),
        reason: reason.to_owned(),
        remedy,
    }
}
