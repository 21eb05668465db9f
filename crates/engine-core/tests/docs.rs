//! The document about engines says what is there.

use std::path::Path;

const PARITY: &str = include_str!("../../../docs/engine-parity.md");

/// The tests named in the table, as path below `crates` and function.
fn named_tests() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let code = PARITY.split('`').skip(1).step_by(2);
    code.filter_map(|code| {
        let (file, test) = code.split_once("::")?;
        let (member, file) = file.split_once('/')?;
        Some((member, file, test))
    })
    // The pattern itself.
    .filter(|(member, ..)| *member != "crate")
}

#[test]
fn every_test_named_in_the_table_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (member, file, test) in named_tests() {
        let path = crates.join(member).join("tests").join(file).with_extension("rs");
        let source = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("docs/engine-parity.md names {}: {e}", path.display()));
        let function = format!("fn {test}(");
        assert!(source.contains(&function), "docs/engine-parity.md names {member}/{file}::{test}");
    }
    assert!(named_tests().count() >= 30);
}

#[test]
fn every_rule_has_its_row_and_every_row_its_test() {
    for rule in (1..=15).map(|n| format!("| E{n} ")) {
        let row = PARITY.lines().find(|line| line.starts_with(&rule));
        let row = row.unwrap_or_else(|| panic!("docs/engine-parity.md has no row {rule}"));
        assert!(row.rsplit("| ").next().is_some_and(|tests| tests.contains("::")), "{row}");
    }
}
