//! Bars as inline SVG: one for each server, with the least and the most of its rounds.

use std::fmt::Write as _;

use lab_report::html::escape;

use super::results::{Metric, Results};
use super::{markdown::rows, matrix::Cell, standing::number};

const WIDTH: f64 = 400.0;
/// Where bars begin, behind the names.
const LEFT: f64 = 120.0;
/// Where the longest bar ends, before its number.
const RIGHT: f64 = 340.0;
const LINE: f64 = 17.0;

/// A bar above this number of times the median of all is cut, so that the others can be told apart.
const CUT: f64 = 4.0;

/// The picture of a metric in a setting, with an `id` of its own in the page; `None` if nothing has a value.
pub(crate) fn chart(results: &Results, cell: Cell, metric: Metric, id: &str) -> Option<String> {
    let (unit, size) = metric.shown();
    let bars: Vec<_> = rows(results, cell)
        .filter_map(|row| Some((row.server.as_str(), row.figure(metric)?)))
        .collect();
    let mut middles: Vec<f64> = bars.iter().map(|(_, spread)| spread.median).collect();
    middles.sort_by(f64::total_cmp);
    let (middle, longest) = (*middles.get(middles.len() / 2)?, *middles.last()?);
    let full = longest.min(middle * CUT).max(f64::MIN_POSITIVE);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value / full).min(1.0);
    let height = LINE * bars.len() as f64 + 6.0;
    let title = format!("{}, {unit}", metric.title());
    let mut svg = format!(
        "<figure><figcaption><h3>{title}</h3></figcaption>\n\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t\" font-size=\"11\">\
         <title id=\"{id}-t\">{title}: a bar for each server; the table has the numbers</title>\n"
    );
    for (line, (name, spread)) in bars.iter().enumerate() {
        let (top, ours) =
            (LINE * line as f64 + 3.0, results.server(name).is_some_and(|s| s.is_layby));
        let colour = if ours { "var(--s0)" } else { "var(--axis)" };
        let (end, middle) = (x(spread.median), top + 9.0);
        let cut = if spread.median > full { " style=\"opacity:.6\"" } else { "" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"11\" fill=\"{colour}\"{cut}/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"var(--ink)\"/>\
             <text x=\"{:.1}\" y=\"{middle:.1}\">{}{}</text>",
            LEFT - 5.0,
            escape(name),
            (end - LEFT).max(1.0),
            x(spread.min),
            x(spread.max),
            top + 5.5,
            top + 5.5,
            x(spread.max).max(end) + 4.0,
            number(spread.median / size),
            if spread.median > full { " (cut)" } else { "" },
        );
    }
    svg.push_str("</svg></figure>\n");
    Some(svg)
}
