//! The document that `lab bench` prints.

use core::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

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
    pub(crate) runs: usize,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) note: Option<String>,
}

impl Bench {
    /// Ours in nanoseconds, lower is better, without a rival.
    pub(crate) fn nanoseconds(name: impl Into<String>, ours: Measured) -> Self {
        Self {
            name: name.into(),
            value: Some(ours.median),
            unit: "ns",
            better: Better::Lower,
            rival: None,
            rival_value: None,
            ratio: None,
            runs: ours.rounds,
            min: Some(ours.min),
            max: Some(ours.max),
            note: None,
        }
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

    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// A bench that could not run.
    pub(crate) fn missing(name: impl Into<String>, unit: &'static str, why: String) -> Self {
        Self {
            name: name.into(),
            value: None,
            unit,
            better: Better::Lower,
            rival: None,
            rival_value: None,
            ratio: None,
            runs: 0,
            min: None,
            max: None,
            note: Some(why),
        }
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
    pub(crate) benches: Vec<Bench>,
}

impl Document {
    /// The rows for people.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["name", "ours", "unit", "rival", "rival's", "ratio", "note"]);
        for bench in &self.benches {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), plain);
            table.add_row([
                bench.name.clone(),
                number(bench.value),
                bench.unit.to_owned(),
                bench.rival.unwrap_or("-").to_owned(),
                number(bench.rival_value),
                bench.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                bench.note.clone().unwrap_or_default(),
            ]);
        }
        for column in [1, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// Four significant digits are more than the machine repeats.
fn plain(value: f64) -> String {
    match value.abs() {
        x if x >= 1000.0 => format!("{value:.0}"),
        x if x >= 100.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
