//! Checks the tables that compare Layby with OpenSSL: each rule names a test that exists, or says why there is none.

/// The pages, each with the crate that its tests are in unless they say another.
pub(crate) const PAGES: [(&str, &str); 4] = [
    ("docs/from-openssl.md", "crates/ssl-async/"),
    ("docs/engine-parity.md", "crates/engine-core/"),
    ("docs/job-parity.md", "crates/job-core/"),
    ("docs/wait-ctx-parity.md", "crates/wait-ctx/"),
];

/// What is wrong with the rules of a page, given the sources with tests in them as path and text.
pub(crate) fn findings(
    page: &str,
    text: &str,
    home: &str,
    sources: &[(&str, &str)],
) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, row) in text.lines().enumerate() {
        let cells: Vec<&str> = row.split(" | ").collect();
        let (Some(first), Some(last), true) = (cells.first(), cells.last(), cells.len() > 1) else {
            continue;
        };
        let Some(rule) = rule(first) else { continue };
        let tests = last.trim_end_matches('|').trim();
        let mut complain = |what: String| {
            findings.push(format!("{page}: parity: line {}: {rule} {what}", line + 1));
        };
        if tests.is_empty() {
            complain("has no test; name one, or say why there is none".to_owned());
        }
        for name in tests.split('`').skip(1).step_by(2).filter(|name| !exists(name, home, sources))
        {
            complain(format!("names `{name}`, which is no test or file of tests"));
        }
    }
    findings
}

/// The rule that a row is about: a capital letter and a number in its first cell.
fn rule(cell: &str) -> Option<&str> {
    let label = cell.trim_start_matches('|').trim().split([' ', ',', '-']).next()?;
    let number = label.strip_prefix(|c: char| c.is_ascii_uppercase())?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(label)
}

/// Whether there is such a test: `file::name`, the end of a name as `*`; or such a file of tests: `file`, `dir/file.rs`.
/// A crate's name in front says whose.
fn exists(name: &str, home: &str, sources: &[(&str, &str)]) -> bool {
    // Types, in notes like "doc tests of ...".
    if name.starts_with(|c: char| c.is_ascii_uppercase()) {
        return true;
    }
    let of = |root: &str, name: &str| {
        let (file, test) = name.split_once("::").unwrap_or((name, ""));
        let declared = match test.strip_suffix('*') {
            Some(start) => format!("fn {start}"),
            None if test.is_empty() => String::new(),
            None => format!("fn {test}("),
        };
        let is_file = |path: &str| {
            path.strip_prefix(root).is_some_and(|rest| {
                let with_slashes = format!("/{rest}").replace(".rs", "/");
                with_slashes.contains(&format!("/{}/", file.trim_end_matches(".rs")))
            })
        };
        sources.iter().any(|(path, text)| is_file(path) && text.contains(&declared))
    };
    let elsewhere = name.split_once('/').is_some_and(|(krate, rest)| {
        let root = format!("crates/{krate}/");
        sources.iter().any(|(path, _)| path.starts_with(&root)) && of(&root, rest)
    });
    elsewhere || of(home, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [(&str, &str); 4] = [
        ("crates/a/tests/it/model.rs", "#[test]\nfn holds() {}"),
        ("crates/a/tests/it/points/mod.rs", "#[test]\nfn every_point_is_taken() {}"),
        ("crates/a/src/slab.rs", "#[test]\nfn wiped() {}"),
        ("crates/b/tests/modes.rs", "#[test]\nfn same() {}"),
    ];

    fn found(row: &str) -> usize {
        findings("page", row, "crates/a/", &SOURCES).len()
    }

    #[test]
    fn a_rule_names_tests_that_exist_or_a_reason() {
        for good in [
            "| S1 | there | here | `it/model::holds` |",
            "| S2, S3 | there | here | `model::hol*`, `points`, `slab::wiped` |",
            "| W4 as they say | here | `points::every_*` |",
            "| J47-J49 | there | here | by type |",
            "| S5 | there | here | `b/modes::same`, doc tests of `Job` |",
            "| `SSL_free` | `Ssl` | no rule, `nothing` |",
            "text with a | in it",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
    }

    #[test]
    fn a_rule_without_a_test_and_a_test_that_is_gone_are_found() {
        for (bad, n) in [
            ("| S1 | there | here | |", 1),
            ("| S1 | there | here | `model::gone` |", 1),
            ("| S1 | there | here | `model::hold` |", 1),
            ("| S1 | there | here | `gone`, `slab::holds` |", 2),
            ("| S1 | there | here | `modes::same` |", 1),
            ("| S1 | there | here | `b/model::holds` |", 1),
        ] {
            assert_eq!(found(bad), n, "{bad}");
        }
    }
}
