//! From the text of a scenario to a checked table: every key known, every value in range, defaults filled in.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{
    error::{ScenarioError, nearest},
    field::{Absent, Section, Shape},
    language::SECTIONS,
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
    let (top, sections) = SECTIONS.split_first().expect("the top level comes first");
    let mut checked = Table::new();
    let known = |key: &&String| {
        top.field(key).is_some() || sections.iter().any(|section| section.name == **key)
    };
    if let Some(key) = raw.keys().find(|key| !known(key)) {
        return Err(unknown_key(top, "", key));
    }
    for section in sections {
        let value = raw.remove(section.name);
        let value = if section.repeats() {
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
    checked.extend(fields(top, "", raw)?);
    Ok(checked)
}

/// The members of a repeated section; one of defaults when the file has none but must, and no field is required.
fn members(section: &Section, value: Option<Value>) -> Result<Vec<Value>, ScenarioError> {
    let required = section.fields.iter().any(|field| matches!(field.absent, Absent::Required));
    let may_be_empty = section.shape == Shape::Any;
    let tables = match value {
        None if may_be_empty => return Ok(Vec::new()),
        Some(Value::Array(tables)) if may_be_empty && tables.is_empty() => tables,
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
        let path = format!("{}.{}", section.name, called.unwrap_or(&(index + 1).to_string()));
        let table = fields(section, &path, table)?;
        let name = table.get("name").and_then(Value::as_str).unwrap_or_default();
        if !names.insert(name.to_owned()) {
            return Err(ScenarioError::bad(
                format!("{}.name", section.name),
                format!("{name:?}"),
                "given twice",
                format!("give every [[{}]] a name of its own", section.name),
            ));
        }
        checked.push(Value::Table(table));
    }
    Ok(checked)
}

/// Checks the fields of one table and adds the defaults; messages call it `path`.
fn fields(section: &Section, path: &str, mut table: Table) -> Result<Table, ScenarioError> {
    let path_of = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    let mut checked = section.defaults();
    for field in section.fields {
        let value = match (table.remove(field.key), field.absent) {
            (Some(value), _) => field.accepts.check(&path_of(field.key), &value)?,
            (None, Absent::Default(_) | Absent::Inherits(_)) => continue,
            (None, Absent::Required) => {
                return Err(ScenarioError::Missing {
                    field: path_of(field.key),
                    remedy: format!("give {}", field.accepts.range()),
                });
            }
        };
        checked.insert(field.key.to_owned(), value);
    }
    match table.keys().next() {
        None => Ok(checked),
        Some(key) => Err(unknown_key(section, path, key)),
    }
}

fn unknown_key(section: &Section, path: &str, key: &str) -> ScenarioError {
    let mut known: Vec<String> = section.fields.iter().map(|field| field.key.to_owned()).collect();
    if path.is_empty() {
        known.extend(SECTIONS.iter().skip(1).map(|section| section.name.to_owned()));
    }
    let nearest = nearest(key, known.iter().map(String::as_str));
    let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    ScenarioError::UnknownKey { path, nearest, known }
}

fn wrong_shape(section: &Section) -> ScenarioError {
    let (reason, remedy) = if section.repeats() {
        ("not an array of tables", format!("write [[{}]] before each", section.name))
    } else {
        ("not a table", format!("write [{}] before its fields", section.name))
    };
    ScenarioError::bad(section.name, "(as given)", reason, remedy)
}
