//! The language as a page and as a JSON Schema, both written from its declaration.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    field::{Absent, Accepts, Field, Section},
    language::SECTIONS,
};

/// The reference of the language, as Markdown: `docs/scenarios.md`.
pub fn page() -> String {
    let mut out = String::from(
        "# The scenario language\n\n<!-- Written by `cargo xtask lab schema --page`; do not edit. -->\n\n\
         A scenario is a TOML file. `cargo xtask sim NAME --print` prints one with every field explained, to start \
         from; `cargo xtask sim FILE.toml` runs it. Every field can be set on the command line too \
         (`--set load.connections=256`, `--set row.async.seconds=2`). An unknown key or a value out of range is \
         refused with the field, the value, the reason and the remedy.\n\n\
         An editor that knows JSON Schema checks a file while it is written: \
         [scenario.schema.json](scenario.schema.json).\n",
    );
    for section in SECTIONS {
        let title = match (section.name, section.repeats()) {
            ("", _) => "The top of the file".to_owned(),
            (name, true) => format!("`[[{name}]]`"),
            (name, false) => format!("`[{name}]`"),
        };
        let _ = write!(out, "\n## {title}\n\n{}\n\n", section.meaning);
        out.push_str("| field | values | default | meaning |\n| --- | --- | --- | --- |\n");
        for field in section.fields {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                field.key,
                values(field),
                absent(field),
                field.meaning
            );
        }
    }
    out
}

fn values(field: &Field) -> String {
    match field.accepts {
        Accepts::OneOf(_) => {
            let words = field.accepts.words().map(|word| format!("`{word}`"));
            words.collect::<Vec<_>>().join(", ")
        }
        accepts => accepts.range(),
    }
}

fn absent(field: &Field) -> String {
    match field.absent {
        Absent::Required => "required".to_owned(),
        Absent::Default(value) => format!("`{}`", value()),
        Absent::Inherits(from) => format!("as `{from}`"),
    }
}

/// The language as a JSON Schema (draft 2020-12): `docs/scenario.schema.json`.
pub fn json_schema() -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for section in SECTIONS {
        let (fields, missing) = table(section);
        if section.name.is_empty() {
            properties.extend(fields);
            required.extend(missing);
            continue;
        }
        let mut schema = json!({
            "type": "object",
            "properties": fields,
            "additionalProperties": false,
            "required": missing,
        });
        if section.repeats() {
            schema = json!({ "type": "array", "items": schema });
        }
        schema["description"] = json!(section.meaning);
        properties.insert(section.name.to_owned(), schema);
    }
    required.push("row".to_owned());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A scenario of the laboratory",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "required": required,
    })
}

fn table(section: &Section) -> (Map<String, Value>, Vec<String>) {
    let required = section.fields.iter().filter(|field| matches!(field.absent, Absent::Required));
    let required = required.map(|field| field.key.to_owned()).collect();
    (section.fields.iter().map(|field| (field.key.to_owned(), property(field))).collect(), required)
}

fn property(field: &Field) -> Value {
    let mut schema = match field.accepts {
        Accepts::Text { max } => json!({ "type": "string", "minLength": 1, "maxLength": max }),
        Accepts::Name => json!({ "type": "string", "pattern": "^[a-z0-9-]{1,40}$" }),
        Accepts::Integer { min, max, .. } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        Accepts::Number { min, max, .. } => {
            json!({ "type": "number", "minimum": min, "maximum": max })
        }
        Accepts::OneOf(_) => json!({ "enum": field.accepts.words().collect::<Vec<_>>() }),
    };
    let unit = match field.accepts.unit() {
        "" => String::new(),
        unit => format!(" Unit: {unit}."),
    };
    schema["description"] = json!(format!("{}{unit}", field.meaning));
    if let Absent::Default(value) = field.absent {
        schema["default"] = serde_json::to_value(value()).expect("TOML of one value");
    }
    schema
}
