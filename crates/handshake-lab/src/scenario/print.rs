//! `--print`: a scenario as a commented file to start from.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::{
    field::{Absent, Field, Section},
    language::SECTIONS,
};

/// Longest comment line, in characters.
const WIDTH: usize = 100;

/// Writes a checked scenario as TOML, each field explained where it first appears.
pub(super) fn print(checked: &Table) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        if section.name.is_empty() {
            comment(&mut out, section.meaning);
            out.push('\n');
            fields(&mut out, section, checked, true);
            continue;
        }
        match checked.get(section.name) {
            Some(Value::Table(table)) => {
                comment(&mut out, section.meaning);
                let _ = writeln!(out, "[{}]", section.name);
                fields(&mut out, section, table, true);
            }
            Some(Value::Array(members)) => {
                comment(&mut out, section.meaning);
                for (index, member) in members.iter().filter_map(Value::as_table).enumerate() {
                    let _ = writeln!(out, "[[{}]]", section.name);
                    fields(&mut out, section, member, index == 0);
                }
            }
            _ => {}
        }
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn fields(out: &mut String, section: &Section, table: &Table, explain: bool) {
    for field in section.fields {
        if explain {
            comment(out, &explanation(field));
        }
        match (table.get(field.key), field.absent) {
            (Some(value), _) => {
                let _ = writeln!(out, "{} = {value}", field.key);
            }
            (None, Absent::Inherits(_)) if explain => {
                let _ = writeln!(out, "# {} =", field.key);
            }
            (None, _) => {}
        }
        if explain {
            out.push('\n');
        }
    }
    if !explain {
        out.push('\n');
    }
}

/// Meaning, accepted values and default of a field.
fn explanation(field: &Field) -> String {
    let default = match field.absent {
        Absent::Required => "required".to_owned(),
        Absent::Default(value) => format!("default {}", value()),
        Absent::Inherits(from) => format!("default: the value of {from}"),
    };
    format!("{} {}; {default}.", field.meaning, capitalised(&field.accepts.range()))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
