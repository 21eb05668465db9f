//! `--set KEY=VALUE`: overrides of single fields, through the same checks as the file.

use toml::{Table, Value};

use super::{
    error::{ScenarioError, nearest},
    field::{Field, Section},
    language::SECTIONS,
};

/// Applies one `KEY=VALUE` to a scenario that has been parsed and not yet checked.
///
/// A key is a field's path (`load.connections`), the path through a member's name (`row.async.seconds`,
/// `device.card.ring`; `device.ring` means every device), or the bare field name when only one section outside
/// `[[row]]` has it.
pub(super) fn apply(raw: &mut Table, argument: &str) -> Result<(), ScenarioError> {
    let Some((key, text)) = argument.split_once('=') else {
        return Err(ScenarioError::NotKeyValue { argument: argument.to_owned() });
    };
    let (key, text) = (key.trim(), text.trim());
    let target = resolve(key)?;
    let value = target.field.accepts.read(text);
    // Checked here as well as later, so that the message names the key as it was given.
    let value = target.field.accepts.check(key, &value)?;
    let name = target.section.name;
    if name.is_empty() {
        raw.insert(target.field.key.to_owned(), value);
    } else if target.section.repeats() {
        let members =
            raw.entry(name).or_insert_with(|| Value::Array(vec![Value::Table(Table::new())]));
        let mut hit = false;
        for member in members.as_array_mut().into_iter().flatten().filter_map(Value::as_table_mut) {
            if target.member.is_none_or(|wanted| named(target.section, member, wanted)) {
                member.insert(target.field.key.to_owned(), value.clone());
                hit = true;
            }
        }
        if !hit {
            return Err(no_member(raw, target.section, key));
        }
    } else {
        let table = raw.entry(name).or_insert_with(|| Value::Table(Table::new()));
        // A section of another shape is left for the checks to refuse.
        if let Some(table) = table.as_table_mut() {
            table.insert(target.field.key.to_owned(), value);
        }
    }
    Ok(())
}

/// What a key of `--set` means.
struct OverrideTarget<'a> {
    section: &'static Section,
    /// The member of a repeated section; `None` for all of them.
    member: Option<&'a str>,
    field: &'static Field,
}

fn resolve(key: &str) -> Result<OverrideTarget<'_>, ScenarioError> {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        [field] => bare(field),
        [section, field] => in_section(key, section, None, field),
        [section, member, field] => in_section(key, section, Some(*member), field),
        _ => Err(unknown(key)),
    }
}

/// A bare field name: the top level's, or the only one outside `[[row]]`, whose fields mostly repeat others.
fn bare(key: &str) -> Result<OverrideTarget<'_>, ScenarioError> {
    let target = |section: &'static Section| {
        section.field(key).map(|field| OverrideTarget { section, member: None, field })
    };
    if let Some(found) = target(&SECTIONS[0]) {
        return Ok(found);
    }
    let mut found: Vec<OverrideTarget<'_>> =
        SECTIONS[1..].iter().filter(|section| section.name != "row").filter_map(target).collect();
    if found.len() > 1 {
        let candidates = found.iter().map(|target| target.section.path(key)).collect();
        return Err(ScenarioError::Ambiguous { key: key.to_owned(), candidates });
    }
    found.pop().ok_or_else(|| unknown(key))
}

fn in_section<'a>(
    key: &str,
    section: &str,
    member: Option<&'a str>,
    field: &str,
) -> Result<OverrideTarget<'a>, ScenarioError> {
    SECTIONS
        .iter()
        .find(|known| known.name == section && (known.repeats() || member.is_none()))
        .and_then(|section| {
            section.field(field).map(|field| OverrideTarget { section, member, field })
        })
        .ok_or_else(|| unknown(key))
}

fn named(section: &Section, member: &Table, wanted: &str) -> bool {
    match member.get("name").and_then(Value::as_str) {
        Some(name) => name == wanted,
        // A device without a name has the default one.
        None => section.name == "device" && wanted == "card",
    }
}

fn no_member(raw: &Table, section: &Section, key: &str) -> ScenarioError {
    let members = raw.get(section.name).and_then(Value::as_array).into_iter().flatten();
    let known: Vec<String> = members
        .filter_map(|member| member.get("name").and_then(Value::as_str))
        .map(|name| format!("{}.{name}", section.name))
        .collect();
    ScenarioError::UnknownKey {
        path: key.to_owned(),
        nearest: nearest(
            key.rsplit_once('.').map_or(key, |(member, _)| member),
            known.iter().map(String::as_str),
        ),
        known,
    }
}

fn unknown(key: &str) -> ScenarioError {
    let known: Vec<String> = SECTIONS
        .iter()
        .flat_map(|section| section.fields.iter().map(|field| section.path(field.key)))
        .collect();
    // The last part decides when the section was left out or is wrong.
    let last = key.rsplit('.').next().unwrap_or(key);
    let by_path = nearest(key, known.iter().map(String::as_str));
    let by_key = || {
        let keys = known.iter().map(|path| path.rsplit('.').next().unwrap_or(path));
        let near = nearest(last, keys)?;
        known.iter().find(|path| path.rsplit('.').next() == Some(near.as_str())).cloned()
    };
    let nearest = if key.contains('.') { by_path.or_else(by_key) } else { by_key() };
    ScenarioError::UnknownKey { path: key.to_owned(), nearest, known }
}
