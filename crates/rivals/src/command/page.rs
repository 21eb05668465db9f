//! The report page: where Layby stands, and pictures and a table for every setting.

use std::fmt::Write as _;

use lab_report::html::{escape, page, table};

use super::chart::chart;
use super::matrix::Cell;
use super::results::{Metric, Results, versions};
use super::{markdown, standing};

/// The page, which needs nothing else.
pub(crate) fn report(results: &Results, cells: &[Cell]) -> String {
    let mut body = "<h1>Layby beside its rivals</h1>\n<p>One server each, one slow key for all, one processor for each \
                    server. Medians of all rounds; the thin lines are the least and the most.</p>\n"
        .to_owned();
    body.push_str("<div class=\"verdict plain\">\n");
    for line in standing::lines(results) {
        let _ = writeln!(body, "<p>{}</p>", rich(&line));
    }
    body.push_str("</div>\n");
    for skipped in &results.skipped {
        let _ = writeln!(body, "<p class=\"soft\">Not measured: {}.</p>", escape(skipped));
    }
    body.push_str("<h2>Every setting</h2>\n");
    for (number, cell) in cells.iter().enumerate() {
        let lines: Vec<Vec<String>> = markdown::rows(results, *cell)
            .map(|row| markdown::cells(results, row).iter().map(|cell| escape(cell)).collect())
            .collect();
        let name = cell.to_string();
        let open = if number == 0 { " open" } else { "" };
        let _ = write!(
            body,
            "<details{open}><summary>{}</summary>\n<div class=\"plots\">\n",
            escape(&name)
        );
        for metric in Metric::ALL {
            body.extend(chart(results, *cell, metric, &format!("{}-{number}", metric.name())));
        }
        let table = table(&name, &markdown::HEADS, &lines);
        let _ = writeln!(body, "</div><div class=\"whole\">{table}</div></details>");
    }
    body.push_str("<h2>Servers</h2>\n<dl class=\"facts\">\n");
    for server in &results.servers {
        let _ =
            writeln!(body, "<dt>{}</dt><dd>{}</dd>", escape(&server.name), escape(&server.title));
    }
    let _ = write!(
        body,
        "</dl>\n<h2>Machine</h2>\n<p>{}.</p>\n<p>{}.</p>\n",
        escape(&results.machine.to_string()),
        escape(&versions())
    );
    page("Layby beside its rivals", &body)
}

/// The little Markdown of the lines.
fn rich(line: &str) -> String {
    let mut text = escape(line);
    for (mark, open, close) in [("**", "<strong>", "</strong>"), ("`", "<code>", "</code>")] {
        let parts: Vec<&str> = text.split(mark).collect();
        let mut marked = String::new();
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                marked.push_str(if number % 2 == 1 { open } else { close });
            }
            marked.push_str(part);
        }
        text = marked;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_elements() {
        assert_eq!(rich("**A <b>.** `c` d"), "<strong>A &lt;b&gt;.</strong> <code>c</code> d");
    }
}
