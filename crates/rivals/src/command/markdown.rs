//! The table for people, and the pages in which this command writes its figures.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::matrix::{Cell, QUOTED};
use super::results::{Metric, Results, Row, Spread, versions};
use super::standing::{lines, number, three_lines};

pub(crate) const HEADS: [&str; 12] = [
    "server",
    "handshakes/s",
    "CPU us",
    "of its own free",
    "key's thread us",
    "KiB in flight",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "heartbeat p99, worst ms",
    "threads",
    "lines",
];

/// A setting's rows for people.
pub(crate) fn table(results: &Results, cell: Cell) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(HEADS);
    for row in rows(results, cell) {
        table.add_row(cells(results, row));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The rows of a setting, in the order of the servers.
pub(crate) fn rows(results: &Results, cell: Cell) -> impl Iterator<Item = &Row> {
    // Without a key there is no latency, so such a server is measured once for all keys, and in the quoted setting.
    let any_key = |row: &Row| results.server(&row.server).is_some_and(|server| !server.asks_key);
    results.rows.iter().filter(move |row| {
        row.cell == cell || (cell != QUOTED && row.cell == cell.with_any_key() && any_key(row))
    })
}

/// A row as the heads of the table say.
pub(crate) fn cells(results: &Results, row: &Row) -> Vec<String> {
    let known = results.server(&row.server);
    let middle = |figure: Option<Spread>, size: f64| {
        figure.map_or_else(|| "-".to_owned(), |spread| number(spread.median / size))
    };
    let spread = |metric: Metric| {
        let size = metric.shown().1;
        row.figure(metric).map_or_else(
            || "-".to_owned(),
            |Spread { median, min, max, .. }| {
                let [median, min, max] = [median, min, max].map(|value| number(value / size));
                if min == max { median } else { format!("{median} ({min} to {max})") }
            },
        )
    };
    let heartbeat = |of: fn(&rivals::Speed) -> Option<f64>| middle(row.of(of), 1e6);
    let cpu = spread(Metric::Cpu);
    if let Some(problem) = &row.problem {
        let name = format!("{}: {problem}", row.server);
        return [name].into_iter().chain(std::iter::repeat_n("-".to_owned(), 11)).collect();
    }
    let mut memory = spread(Metric::Memory);
    if let Some(held) = &row.memory
        && held.in_flight < row.cell.concurrent as u64
    {
        let _ = write!(memory, " of {}", held.in_flight);
    }
    vec![
        row.server.clone(),
        spread(Metric::Rate),
        cpu,
        results
            .over_own_free(&row.server, row.cell)
            .map_or_else(|| "-".to_owned(), |times| format!("{times:.2}")),
        middle(row.of(|speed| speed.answer), 1e3),
        memory,
        middle(row.of(|speed| speed.p50), 1e6),
        middle(row.of(|speed| speed.p99), 1e6),
        middle(row.of(|speed| speed.p999), 1e6),
        format!("{}, {}", heartbeat(|s| s.heartbeat_p99), heartbeat(|s| s.heartbeat_worst)),
        middle(row.of(|speed| Some(speed.threads as f64)), 1.0)
            .trim_end_matches(".00")
            .trim_end_matches(".0")
            .to_owned(),
        known.map_or_else(|| "-".to_owned(), |server| server.lines.to_string()),
    ]
}

/// A part of a page that this command writes.
struct Part {
    begin: &'static str,
    text: fn(&Results) -> String,
}

const END: &str = "<!-- End of the figures of the rivals. -->";

const PARTS: [Part; 3] = [
    Part {
        begin: "<!-- The table of the rivals: written by cargo xtask bench --rivals --quick --page -->\n",
        text: quoted,
    },
    Part {
        begin: "<!-- Where Layby stands: written by cargo xtask bench --rivals --quick --page -->\n",
        text: |results| bullets(&lines(results)),
    },
    Part {
        begin: "<!-- Three lines of docs/benchmarks.md: written by cargo xtask bench --rivals --quick --page -->\n",
        text: |results| {
            format!("{}\nMeasured {}.\n", bullets(&three_lines(results)), results.machine)
        },
    },
];

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

fn quoted(results: &Results) -> String {
    let mut text = format!("One run: {}.\n{}.\n", results.machine, versions());
    if results.machine.taken.is_some_and(|taken| taken.is_much()) {
        text.push_str("**Doubtful:** the run did not have the machine for itself.\n");
    }
    for skipped in &results.skipped {
        let _ = writeln!(text, "Not measured: {skipped}.");
    }
    let _ = write!(text, "Setting: {QUOTED}.\n\n{}\n", table(results, QUOTED));
    text
}

/// `page` with what this command knows between its marks.
///
/// # Errors
///
/// If it has none of the marks.
pub(crate) fn write_into(page: &str, results: &Results) -> Result<String, String> {
    let (mut page, mut found) = (page.to_owned(), false);
    for Part { begin, text } in &PARTS {
        let Some((head, rest)) = page.split_once(begin) else { continue };
        let (_, tail) = rest.split_once(END).ok_or_else(|| format!("{begin}has no end: {END}"))?;
        page = format!("{head}{begin}\n{}\n{END}{tail}", text(results));
        found = true;
    }
    let begins = PARTS.map(|part| part.begin).concat();
    if found { Ok(page) } else { Err(format!("the page has none of the lines {begins}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_outside_its_marks() {
        let results = Results::new(&[]);
        let page = format!("# Title\n\n{}old\n{END}\n\nText\n", PARTS[0].begin);
        let once = write_into(&page, &results).unwrap();
        assert!(once.starts_with("# Title\n") && once.ends_with("Text\n"), "{once}");
        assert!(once.contains("Setting: ECDSA P-256") && !once.contains("old"), "{once}");
        assert_eq!(write_into(&once, &results).unwrap(), once);
        assert!(write_into("# No marks", &results).is_err());
        for page in
            [include_str!("../../../../docs/benchmarks.md"), include_str!("../../../../README.md")]
        {
            assert!(write_into(page, &results).is_ok());
        }
    }
}
