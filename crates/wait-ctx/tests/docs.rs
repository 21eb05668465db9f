//! The documents about this crate agree with its code.

use std::path::Path;

const PARITY: &str = include_str!("../../../docs/wait-ctx-parity.md");
const TABLE: &str = include_str!(
    "../src/snapshots/wait_ctx__request__tests__the_state_table_is_the_committed_one.snap"
);

/// The tests named in the parity table, as file and function.
fn named_tests() -> impl Iterator<Item = (&'static str, &'static str)> {
    PARITY
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            ["it/", "loom_models::", "request::"].iter().any(|start| code.starts_with(start))
        })
        .filter_map(|code| code.split_once("::"))
}

#[test]
fn every_test_named_in_the_parity_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, test) in named_tests() {
        let folder = if file.starts_with("it/") { "tests" } else { "src" };
        let path = root.join(folder).join(file).with_extension("rs");
        let source = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("docs/wait-ctx-parity.md names {}: {e}", path.display()));
        let function = format!("fn {test}(");
        assert!(source.contains(&function), "docs/wait-ctx-parity.md names {file}::{test}");
    }
    assert!(named_tests().count() >= 35);
}

#[test]
fn every_rule_has_its_row() {
    let rules = (1..=20).map(|n| format!("W{n}")).chain((1..=15).map(|n| format!("C{n}")));
    for rule in rules {
        let row = PARITY
            .lines()
            .filter(|line| line.starts_with("| "))
            .any(|line| line.split([' ', ',']).any(|word| word == rule));
        assert!(row, "docs/wait-ctx-parity.md has no row for {rule}");
    }
}

#[test]
fn the_table_in_the_document_is_the_committed_one() {
    for line in TABLE.lines().skip_while(|line| !line.starts_with(' ')) {
        assert!(PARITY.contains(line.trim_end()), "docs/wait-ctx-parity.md has no line {line}");
    }
}
