//! The catalogue of built-in scenarios: what each answers, read from the head of its TOML file.
//!
//! Only the keys of the catalogue are read here; the lab checks the rest when it runs the scenario.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Wide enough for a summary beside a name, narrow enough for most terminals.
const TABLE_WIDTH: usize = 100;

/// The head of a scenario file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// The question that the scenario answers; the table is grouped by it.
    pub(crate) question: String,
    pub(crate) summary: String,
    /// `real` or `virtual`.
    pub(crate) clock: String,
    pub(crate) usual_seconds: f64,
}

/// All scenarios of a directory, ordered by question, then name.
pub(crate) fn load(dir: &Path) -> Result<Vec<Scenario>, String> {
    let entries = fs::read_dir(dir)
        .map_err(|e| format!("cannot read the scenarios in {}: {e}", dir.display()))?;
    let mut scenarios = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path)
                .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let scenario: Scenario = toml::from_str(&text)
                .map_err(|e| format!("{}: {}", path.display(), e.message()))?;
            scenarios.push(scenario);
        }
    }
    scenarios.sort_by(|a, b| (&a.question, &a.name).cmp(&(&b.question, &b.name)));
    Ok(scenarios)
}

/// The table that `sim --list` prints.
pub(crate) fn table(scenarios: &[Scenario]) -> String {
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut table = String::new();
    let mut question = None;
    for scenario in scenarios {
        if question != Some(&scenario.question) {
            let gap = if question.is_some() { "\n" } else { "" };
            let _ = writeln!(table, "{gap}{}", scenario.question);
            question = Some(&scenario.question);
        }
        let Scenario { name, summary, clock, usual_seconds, .. } = scenario;
        let head = format!("  {name:width$}  {clock:7}  {usual_seconds:>3} s  ");
        let gap = format!("\n{:1$}", "", head.len());
        let room = TABLE_WIDTH.saturating_sub(head.len());
        let _ = writeln!(table, "{head}{}", wrapped(summary, room).join(&gap));
    }
    table.push_str(
        "\nRandom load, faults and cancels from seeds, every law checked: cargo xtask sim swarm --help\n",
    );
    table
}

/// The text in lines of at most `room` characters, unless a word is longer.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Why `wanted` is refused when no scenario has that name: the nearest name, and where to look.
pub(crate) fn unknown(wanted: &str, scenarios: &[Scenario]) -> String {
    let nearest = nearest(wanted, scenarios.iter().map(|scenario| scenario.name.as_str()));
    let hint = nearest.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
    format!("unknown scenario \"{wanted}\"{hint} (cargo xtask sim --list shows all)")
}

/// The known word that `given` was probably meant to be.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::jaro_winkler(given, word), word))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, question: &str) -> Scenario {
        Scenario {
            name: name.into(),
            question: question.into(),
            summary: "a summary".into(),
            clock: "real".into(),
            usual_seconds: 30.0,
        }
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let known = [scenario("offload-modes", "?"), scenario("key-latency", "?")];
        assert_eq!(
            unknown("offlod-modes", &known),
            "unknown scenario \"offlod-modes\"; did you mean \"offload-modes\"? \
             (cargo xtask sim --list shows all)"
        );
    }

    #[test]
    fn a_name_like_no_other_gets_no_guess() {
        assert_eq!(
            unknown("zzz", &[scenario("offload-modes", "?")]),
            "unknown scenario \"zzz\" (cargo xtask sim --list shows all)"
        );
    }

    #[test]
    fn the_table_is_grouped_by_question() {
        let known = [scenario("a", "First?"), scenario("bb", "First?"), scenario("c", "Second?")];
        let table = table(&known);
        assert_eq!(table.matches("First?").count(), 1);
        assert!(table.contains("\n\nSecond?\n"), "{table}");
        assert!(table.contains("  bb  real      30 s  a summary\n"), "{table}");
    }

    #[test]
    fn a_long_summary_stays_in_its_column() {
        let summary = "word ".repeat(50);
        let table = table(&[Scenario { summary, ..scenario("a", "Why?") }]);
        assert!(table.lines().count() > 2, "{table}");
        assert!(table.lines().all(|line| line.len() <= TABLE_WIDTH), "{table}");
        let rows = table.lines().skip(2).take_while(|line| !line.is_empty());
        assert!(rows.into_iter().all(|line| line.starts_with(&" ".repeat(20))), "{table}");
    }
}
