//! A plot in its frame: caption, legend, and the same data as a table.

use std::fmt::Write as _;

use super::{
    html::{escape, table},
    plot::{Axis, COLOURS, Plot, SERIES, Scale, Series, number},
};

/// Lines of a data table for each series; the files of the run hold every point.
const LINES: usize = 60;

/// A picture before it is cut into plots that can be read.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) id: String,
    pub(super) title: &'static str,
    /// How to read it, in a sentence.
    pub(super) note: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) kind: Kind,
    pub(super) lines: Vec<Curve>,
    pub(super) marks: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Curve {
    /// The place of the row in the run: it has the same colour everywhere.
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything from zero on.
    Amount,
    /// 0 to 100 %.
    Share,
    /// To be read in powers of ten.
    Logarithmic,
    /// The same, over the share of handshakes.
    Distribution,
}

impl Figure {
    /// One `<figure>` for every six rows, all with the same axes.
    pub(super) fn html(&self) -> String {
        let xs = self.lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
        let ys = self.lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y));
        let y = match self.kind {
            Kind::Amount => Axis::from_zero(self.y, ys),
            Kind::Share => Axis { label: self.y, range: 0.0..100.0, scale: Scale::Linear },
            Kind::Logarithmic | Kind::Distribution => Axis::log(self.y, ys),
        };
        let last = xs.fold(0.0, f64::max);
        let x = match self.kind {
            Kind::Distribution => {
                Axis { label: self.x, range: 0.0..last.max(1.0), scale: Scale::Nines }
            }
            _ => Axis {
                label: self.x,
                range: 0.0..if last > 0.0 { last * 1.01 } else { 1.0 },
                scale: Scale::Linear,
            },
        };
        let mut out = String::new();
        for lines in self.lines.chunk_by(|a, b| a.place / SERIES == b.place / SERIES) {
            let part = lines[0].place / SERIES;
            let series = lines.iter().map(|line| Series {
                name: line.name.clone(),
                colour: line.place % SERIES,
                points: line.points.clone(),
            });
            let plot = Plot {
                id: format!("{}-{part}", self.id),
                title: self.title.to_owned(),
                description: describe(lines, self.y),
                x: x.clone(),
                y: y.clone(),
                series: series.collect(),
                marks: self.marks.clone(),
            };
            let _ = write!(
                out,
                "<figure><figcaption><h3>{}</h3><p>{}</p></figcaption>\n{}\n{}{}</figure>\n",
                escape(self.title),
                escape(&self.note),
                plot.svg(),
                legend(&plot.series),
                self.data(lines),
            );
        }
        out
    }

    fn data(&self, lines: &[Curve]) -> String {
        let mut rows = Vec::new();
        let mut every = 1;
        for Curve { name, points, .. } in lines {
            let step = points.len().div_ceil(LINES).max(1);
            every = every.max(step);
            for (x, y) in points.iter().step_by(step) {
                let x = match self.kind {
                    Kind::Distribution => {
                        format!("{} %", number(100.0 * (1.0 - 10_f64.powf(-x))))
                    }
                    _ => format!("{x:.3}"),
                };
                let y = y.map_or_else(|| "-".to_owned(), number);
                rows.push(vec![escape(name), x, y]);
            }
        }
        let thinned = if every > 1 {
            "<p>Not every point; <code>timeline.json</code> has all.</p>"
        } else {
            ""
        };
        let table = table(&format!("Data: {}", self.title), &["row", self.x, self.y], &rows);
        format!("<details><summary>Data</summary>{thinned}{table}</details>")
    }
}

/// Where each line begins, where it peaks, where it ends.
fn describe(lines: &[Curve], unit: &str) -> String {
    let mut out = format!("In {unit}.");
    for Curve { name, points, .. } in lines {
        let values = || points.iter().filter_map(|(_, y)| *y);
        let (Some(first), Some(last)) = (values().next(), values().next_back()) else { continue };
        let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        let _ = write!(
            out,
            " {name}: from {} to {}, between {} and {}.",
            number(first),
            number(last),
            number(least),
            number(most)
        );
    }
    out
}

fn legend(series: &[Series]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for series in series {
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 40 10\" aria-hidden=\"true\"><path d=\"M0 5H40\" stroke=\"{}\" \
             stroke-width=\"3\"/></svg>{}</li>",
            COLOURS[series.colour % SERIES],
            escape(&series.name)
        );
    }
    out + "</ul>\n"
}
