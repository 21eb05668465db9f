//! The document that `lab bench` prints.

use core::fmt;

use comfy_table::{CellAlignment, Table, presets};
use lab_report::BenchMachine;
use serde::Serialize;

use crate::aim::{Aim, plain};
use crate::measure::Measured;

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One row. Units are base units: ns, bytes, s, 1/s, count.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bench {
    pub(crate) name: String,
    /// `None` if the bench could not run; `note` says why.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) rival: Option<&'static str>,
    pub(crate) rival_value: Option<f64>,
    /// Above 1: ours is ahead.
    pub(crate) ratio: Option<f64>,
    pub(crate) aim: Option<Aim>,
    pub(crate) runs: usize,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) note: Option<String>,
}

impl Bench {
    /// Ours in nanoseconds, lower is better, without a rival.
    pub(crate) fn nanoseconds(name: impl Into<String>, ours: Measured) -> Self {
        let Measured { median, min, max, rounds } = ours;
        let (value, min, max) = (Some(median), Some(min), Some(max));
        Self { value, runs: rounds, min, max, ..Self::empty(name.into(), "ns") }
    }

    /// Ours beside a rival, in nanoseconds.
    pub(crate) fn beside(
        name: impl Into<String>,
        rival: &'static str,
        (ours, theirs): (Measured, Measured),
    ) -> Self {
        Self::nanoseconds(name, ours).with_rival(rival, theirs.median)
    }

    /// One figure in any unit.
    pub(crate) fn figure(
        name: impl Into<String>,
        unit: &'static str,
        better: Better,
        value: f64,
    ) -> Self {
        let once = Measured { median: value, min: value, max: value, rounds: 1 };
        Self { unit, better, ..Self::nanoseconds(name, once) }
    }

    pub(crate) fn with_rival(mut self, rival: &'static str, value: f64) -> Self {
        self.rival = Some(rival);
        self.rival_value = Some(value);
        self.ratio = self.value.map(|ours| match self.better {
            Better::Lower => value / ours,
            Better::Higher => ours / value,
        });
        self
    }

    /// Adds a note to those that are there.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        self.note = Some(match self.note {
            Some(before) => format!("{before}; {note}"),
            None => note,
        });
        self
    }

    /// A bench that could not run.
    pub(crate) fn missing(name: impl Into<String>, unit: &'static str, why: String) -> Self {
        Self { note: Some(why), ..Self::empty(name.into(), unit) }
    }

    fn empty(name: String, unit: &'static str) -> Self {
        Self {
            aim: Aim::of(&name),
            name,
            value: None,
            unit,
            better: Better::Lower,
            rival: None,
            rival_value: None,
            ratio: None,
            runs: 0,
            min: None,
            max: None,
            note: None,
        }
    }

    fn cells(&self) -> [String; 8] {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), plain);
        let spread = match (self.min, self.max) {
            (Some(min), Some(max)) if min < max => format!(" ({} to {})", plain(min), plain(max)),
            _ => String::new(),
        };
        [
            self.name.clone(),
            number(self.value) + &spread,
            self.unit.to_owned(),
            self.rival.unwrap_or("-").to_owned(),
            number(self.rival_value),
            self.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            self.aim.map_or_else(
                || "-".to_owned(),
                |aim| aim.verdict(self.value, self.rival_value, self.ratio),
            ),
            self.note.clone().unwrap_or_default(),
        ]
    }
}

/// The row in one line, for people who wait for the others.
impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.value else {
            return write!(f, "{}: {}", self.name, self.note.as_deref().unwrap_or("no value"));
        };
        write!(f, "{}: {} {}", self.name, plain(value), self.unit)?;
        match (self.rival, self.rival_value, self.ratio) {
            (Some(rival), Some(theirs), Some(ratio)) => {
                write!(f, ", {rival} {}, ratio {ratio:.2}", plain(theirs))
            }
            _ => Ok(()),
        }
    }
}

/// All rows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Document {
    pub(crate) machine: BenchMachine,
    pub(crate) benches: Vec<Bench>,
}

/// What `--page` puts the table between: a line that begins so and says how the table is written, and one for the end.
const BEGIN: &str = "<!-- The figures: written by cargo xtask bench ";
const END: &str = "<!-- End of the figures. -->";

impl Document {
    /// The rows for people.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["name", "ours", "unit", "rival", "rival's", "ratio", "aim", "note"]);
        for bench in &self.benches {
            table.add_row(bench.cells());
        }
        for column in [1, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// `page` with the rows between its marks.
    ///
    /// # Errors
    ///
    /// If it has no marks.
    pub(crate) fn page(&self, page: &str) -> Result<String, String> {
        let marked = || {
            let (head, rest) = page.split_once(BEGIN)?;
            let (how, rest) = rest.split_once('\n')?;
            Some((head, how, rest.split_once(END)?.1))
        };
        let (head, how, tail) =
            marked().ok_or_else(|| format!("the page has no lines {BEGIN}... -->\n{END}"))?;
        let mut rows = String::new();
        for bench in &self.benches {
            let cells = bench.cells().map(|cell| cell.replace('|', "/").replace('\n', " "));
            rows += &format!("| `{}` | {} |\n", cells[0], cells[1..].join(" | "));
        }
        let header = "| name | ours | unit | rival | rival's | ratio | aim | note |\n| --- | --- | --- | --- | --- | --- | --- | --- |";
        Ok(format!(
            "{head}{BEGIN}{how}\n\nOne run: {}.\n\n{header}\n{rows}\n{END}{tail}",
            self.machine
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_outside_its_marks() {
        let row = Bench::figure("job.start_finish", "ns", Better::Lower, 20.0);
        let benches = vec![row.with_rival("OpenSSL", 90.0).with_note("a | b")];
        let document = Document { machine: BenchMachine::this(), benches };
        let page = format!("# Title\n\n{BEGIN}job -->\nold\n{END}\n\nText\n");
        let once = document.page(&page).unwrap();
        assert!(once.starts_with("# Title\n") && once.ends_with("Text\n"), "{once}");
        assert!(once.contains("| `job.start_finish` | 20.00 | ns | OpenSSL | 90.00 | 4.50 | ratio 5: **missed** | a / b |"), "{once}");
        assert_eq!(document.page(&once).unwrap(), once);
        assert!(document.page("# No marks").is_err());
        assert!(document.page(include_str!("../../../docs/figures.md")).is_ok());
        assert!(document.page(include_str!("../../../docs/key-in-a-token.md")).is_ok());
    }
}
