//! One sentence of verdict, the exit status that goes with it, and the next command to try.

use std::fmt::Write as _;

use crate::results::{LawReport, Results, RowReport};

/// The scenario behind a run, for verdict and page.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The question that the scenario answers.
    pub question: &'a str,
    /// What is done to answer it.
    pub summary: &'a str,
    /// The scenario as a file.
    pub text: &'a str,
    pub command: &'a str,
    /// The verdict on a good run, with `{ROW.FIGURE}` and `{ROW/OTHER.FIGURE}` for figures of rows.
    pub verdict: Option<&'a str>,
    /// A command to try after a good run.
    pub next: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// No law was broken and no handshake failed.
    pub good: bool,
    pub sentence: String,
    /// A command to try next, other than the one that was just run: after a bad run the same with its log, after an
    /// interrupted one none.
    pub next: Option<String>,
}

/// Judges a run of the scenario that `origin` describes.
pub fn verdict(results: &Results, origin: &Origin<'_>) -> Verdict {
    let bad = |sentence| {
        let next = Some(format!("RUST_LOG=debug {}", origin.command));
        Verdict { good: false, sentence, next }
    };
    let broken: Vec<&LawReport> = results.laws.iter().filter(|law| !law.held).collect();
    if !broken.is_empty() {
        let told: Vec<String> = broken
            .iter()
            .map(|law| match &law.detail {
                Some(detail) => format!("{} ({detail})", law.law),
                None => law.law.clone(),
            })
            .collect();
        let noun = if broken.len() == 1 { "law" } else { "laws" };
        return bad(format!("Broken {noun}: {}.", told.join("; ")));
    }
    if let Some(row) = results.rows.iter().find(|row| row.failed > row.failures_expected) {
        let sentence = format!(
            "{} of {} handshakes failed in row {:?}, and none should.",
            row.failed,
            row.failed + row.handshakes,
            row.name
        );
        return bad(sentence);
    }
    if let Some(unmet) = results.unmet.first() {
        return bad(format!("Not as the scenario has it: {unmet}."));
    }
    if results.partial {
        return Verdict { good: true, sentence: broken_off(results), next: None };
    }
    let next = Some(origin.next).filter(|next| !next.is_empty() && *next != origin.command);
    Verdict { good: true, sentence: praise(results, origin.verdict), next: next.map(str::to_owned) }
}

fn broken_off(results: &Results) -> String {
    let handshakes: u64 = results.rows.iter().map(|row| row.handshakes).sum();
    match results.rows.last() {
        Some(last) => format!(
            "Broken off in row {:?}, after {handshakes} handshakes; nothing was wrong until then.",
            last.name
        ),
        None => "Broken off before the first handshake.".to_owned(),
    }
}

/// What a good run shows: the scenario's own words with figures filled in, or a count of handshakes.
fn praise(results: &Results, words: Option<&str>) -> String {
    let handshakes: u64 = results.rows.iter().map(|row| row.handshakes).sum();
    let failed: u64 = results.rows.iter().map(|row| row.failed).sum();
    let as_expected = match failed {
        0 => "none failed".to_owned(),
        _ => format!("{failed} failed as they should"),
    };
    let laws = format!("all {} laws checked held", results.laws.len());
    match words.and_then(|words| filled_in(words, &results.rows)) {
        Some(found) => format!("{found}; {as_expected} and {laws}."),
        None => format!("{handshakes} handshakes, {as_expected}, and {laws}."),
    }
}

/// `words` with each `{ROW.FIGURE}` and `{ROW/OTHER.FIGURE}` replaced by the figure or the ratio, with two decimals or as
/// many as `:.N` asks for; `None` if a row or a figure is missing, or a ratio has no divisor.
fn filled_in(words: &str, rows: &[RowReport]) -> Option<String> {
    let mut out = String::new();
    let mut rest = words;
    while let Some((before, behind)) = rest.split_once('{') {
        let (wanted, after) = behind.split_once('}')?;
        let (wanted, decimals) = wanted.split_once(":.").unwrap_or((wanted, "2"));
        let (names, path) = wanted.split_once('.')?;
        let value = match names.split_once('/') {
            Some((name, other)) => figure(rows, name, path)? / figure(rows, other, path)?,
            None => figure(rows, names, path)?,
        };
        let decimals = decimals.parse().ok().filter(|_| value.is_finite())?;
        let _ = write!(out, "{before}{value:.decimals$}");
        rest = after;
    }
    Some(out + rest)
}

/// A figure of a row by its path in `results.json`, or the size of its batches, which is not in there.
fn figure(rows: &[RowReport], name: &str, path: &str) -> Option<f64> {
    let row = rows.iter().find(|row| row.name == name)?;
    if path == "batch" {
        return Some(f64::from(row.batch));
    }
    let row = serde_json::to_value(row).ok()?;
    path.split('.').try_fold(&row, |value, key| value.get(key))?.as_f64()
}
