//! The rules of the house that no compiler knows. `cargo test` checks them, and so does the gate.
//!
//! Each rule looks at one file and says what is wrong and what to do. The words that the rules look
//! for are put together from halves, so that this file obeys them too.

use std::fs;
use std::path::Path;

use crate::workspace::Workspace;
use crate::{laws, parity};

/// Past this many lines a file explains in its module documentation why it is so long.
const MAX_LINES: usize = 600;

/// All findings in the workspace, each as path, rule and remedy.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let mut files = Vec::new();
    collect(&workspace.root, &workspace.root, &mut files);
    files.sort();
    let mut findings: Vec<String> = files.iter().flat_map(SourceFile::findings).collect();
    let committed = files.iter().find(|file| file.path == laws::PATH).map_or("", |file| &file.text);
    findings.extend(laws::findings(committed, &laws_of(&files)));
    let tested: Vec<_> =
        files.iter().filter(|file| file.is_tested()).map(SourceFile::as_pair).collect();
    for (page, home) in parity::PAGES {
        let text = files.iter().find(|file| file.path == page).map_or("", |file| &file.text);
        findings.extend(parity::findings(page, text, home, &tested));
    }
    findings
}

/// `docs/laws.md` as it should be.
pub(crate) fn laws_page(workspace: &Workspace) -> String {
    let mut files = Vec::new();
    collect(&workspace.root, &workspace.root, &mut files);
    laws_of(&files)
}

fn laws_of(files: &[SourceFile]) -> String {
    // The checkers of a run are named after laws too; only tests count.
    laws::page(files.iter().filter(|file| file.is_tested()).map(SourceFile::as_pair))
}

/// A text file of the repository.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SourceFile {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

/// A rule for Rust sources: what is wrong with the file, and what to do about it.
type Rule = fn(&SourceFile) -> Option<String>;

const RUST_RULES: &[(&str, Rule)] = &[
    ("module-doc", module_doc),
    ("length", length),
    ("ascii", ascii),
    ("leftovers", leftovers),
    ("no-sleep-in-tests", sleep_in_tests),
];

/// Rules for every text, prose and scripts included.
const TEXT_RULES: &[(&str, Rule)] = &[
    ("no-ignored-examples", ignored_example),
    ("no-machine-paths", machine_path),
    ("plain-words", plain_words),
];

/// Words and turns that make a reader guess who does what; docs/glossary.md has the terms to use.
const DROPPED: &[&str] = &[
    concat!("who", "ever"),
    concat!("no", "body"),
    concat!("so ", "many"),
    concat!("as many ", "as"),
    concat!("those ", "who"),
    concat!("in ", "hand"),
    concat!("has ", "gone"),
    concat!("what came ", "of"),
    concat!("what became ", "of"),
    concat!("waiting ", "room"),
];

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_tested(&self) -> bool {
        self.is_rust() && self.text.contains("#[test]")
    }

    fn as_pair(&self) -> (&str, &str) {
        (&self.path, &self.text)
    }

    fn module_doc(&self) -> impl Iterator<Item = &str> {
        self.text
            .lines()
            .take_while(|line| line.starts_with("//"))
            .filter_map(|line| line.strip_prefix("//!"))
    }

    fn findings(&self) -> Vec<String> {
        let rust_rules = if self.is_rust() { RUST_RULES } else { &[] };
        rust_rules
            .iter()
            .chain(TEXT_RULES)
            .filter_map(|(name, rule)| Some(format!("{}: {name}: {}", self.path, rule(self)?)))
            .collect()
    }

    /// The first line that has one of the words, counted from 1.
    fn line_with(&self, words: &[&str]) -> Option<(usize, String)> {
        self.text.lines().enumerate().find_map(|(index, line)| {
            let word = words.iter().find(|word| line.contains(**word))?;
            Some((index + 1, (*word).to_owned()))
        })
    }
}

fn module_doc(file: &SourceFile) -> Option<String> {
    let missing = file.module_doc().all(|line| line.trim().is_empty());
    missing.then(|| "no module documentation; begin the file with `//! What it is for.`".to_owned())
}

fn length(file: &SourceFile) -> Option<String> {
    let lines = file.text.lines().count();
    let explained = file.module_doc().any(|line| line.contains("long"));
    (lines > MAX_LINES && !explained).then(|| {
        format!(
            "{lines} lines, more than {MAX_LINES}; split it by noun, or say in the module \
             documentation why it is long"
        )
    })
}

fn ascii(file: &SourceFile) -> Option<String> {
    let (index, line) = file.text.lines().enumerate().find(|(_, line)| !line.is_ascii())?;
    let stray = line.chars().find(|c| !c.is_ascii())?;
    Some(format!("line {} has `{stray}`; write it in ASCII or as an escape", index + 1))
}

fn leftovers(file: &SourceFile) -> Option<String> {
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("#[", "ignore"),
    ];
    let (line, word) = file.line_with(&words)?;
    Some(format!("line {line} has `{word}`; finish it, or take it out"))
}

fn sleep_in_tests(file: &SourceFile) -> Option<String> {
    let in_tests = file.path.starts_with("tests/")
        || file.path.contains("/tests/")
        || file.path.ends_with("/tests.rs");
    let start = if in_tests { 0 } else { file.text.find("#[cfg(test)]")? };
    let word = concat!("thread::", "sleep");
    file.text[start..]
        .contains(word)
        .then(|| format!("a test has `{word}`; wait for the event itself, within a bound"))
}

fn ignored_example(file: &SourceFile) -> Option<String> {
    let words = [concat!("```", "ignore"), concat!("```rust,", "ignore")];
    let (line, _) = file.line_with(&words)?;
    Some(format!(
        "line {line} has an example that no test compiles; make it run, or fence it as text"
    ))
}

fn machine_path(file: &SourceFile) -> Option<String> {
    let words = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
    ];
    let (line, word) = file.line_with(&words)?;
    Some(format!("line {line} names a path of one machine (`{word}`); make it relative"))
}

fn plain_words(file: &SourceFile) -> Option<String> {
    let (line, word) = file.text.lines().enumerate().find_map(|(index, line)| {
        let line = line.to_lowercase();
        let word = DROPPED.iter().find(|word| has_words(&line, word))?;
        Some((index + 1, *word))
    })?;
    Some(format!("line {line} has \"{word}\"; name the thing that acts, or the number"))
}

/// Whether `line` has `words` as whole words.
fn has_words(line: &str, words: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    line.match_indices(words).any(|(start, _)| {
        is_edge(line[..start].chars().next_back())
            && is_edge(line[start + words.len()..].chars().next())
    })
}

/// All text files below `dir`, leaving out what is built and what git keeps.
fn collect(root: &Path, dir: &Path, files: &mut Vec<SourceFile>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = name.starts_with('.') && !matches!(&*name, ".ci" | ".cargo" | ".gitignore");
        if hidden || matches!(&*name, "target" | "proptest-regressions") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            files.push(SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> String {
        SourceFile { path: path.into(), text: text.into() }.findings().join("\n")
    }

    #[test]
    fn the_workspace_is_tidy() {
        let workspace = Workspace::load().expect("the manifests can be read");
        let findings = check(&workspace);
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }

    #[test]
    fn a_tidy_file_has_no_findings() {
        assert_eq!(findings("a/src/b.rs", "//! A thing.\n\nfn main() {}\n"), "");
    }

    #[test]
    fn every_rule_can_fail() {
        let long = format!("//! A thing.\n{}", "\n".repeat(MAX_LINES));
        let word = |halves: [&str; 2]| format!("//! A thing.\n{}\n", halves.concat());
        let cases = [
            ("a/src/b.rs", "fn main() {}\n".to_owned(), "a/src/b.rs: module-doc: "),
            ("a/src/b.rs", long, "a/src/b.rs: length: 601 lines"),
            ("a/src/b.rs", "//! 5 \u{b5}s.\n".to_owned(), "a/src/b.rs: ascii: line 1"),
            ("a/src/b.rs", word(["to", "do!()"]), "a/src/b.rs: leftovers: line 2"),
            ("a/src/b.rs", word(["#[", "ignore]"]), "a/src/b.rs: leftovers: line 2"),
            ("a/tests/b.rs", word(["thread::", "sleep(d)"]), "a/tests/b.rs: no-sleep-in-tests: "),
            ("README.md", word(["```", "ignore"]), "README.md: no-ignored-examples: line 2"),
            ("README.md", word(["/ho", "me/me"]), "README.md: no-machine-paths: line 2"),
            ("a/src/b.rs", word(["// Who", "ever asks."]), "a/src/b.rs: plain-words: line 2"),
            ("a.md", word(["a lock in ", "hand"]), "a.md: plain-words: line 2"),
        ];
        for (path, text, expected) in cases {
            let found = findings(path, &text);
            assert!(found.starts_with(expected), "expected {expected}, found {found}");
        }
    }

    #[test]
    fn a_word_is_dropped_as_a_whole_word_only() {
        let whole = ["//! In a hand", "ler of nobo", "dy's.\n"].concat();
        assert!(findings("a/src/b.rs", &whole).contains("plain-words"));
        assert_eq!(findings("a/src/b.rs", "//! In a handler of nobodys.\n"), "");
    }

    #[test]
    fn sleeping_is_refused_in_test_modules_only() {
        let sleep = ["thread::", "sleep(d)"].concat();
        let code = format!("//! A thing.\nfn f() {{ {sleep} }}\n");
        assert_eq!(findings("a/src/b.rs", &code), "");
        let test = format!("//! A thing.\n#[cfg(test)]\nmod tests {{ fn f() {{ {sleep} }} }}\n");
        assert!(findings("a/src/b.rs", &test).contains("no-sleep-in-tests"));
    }
}
