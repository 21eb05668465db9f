//! `report.html`, a run on one page that needs nothing else, and `diff.html`, two runs on one page. The verdict first, then
//! the rows side by side, then pictures, and at the end what is needed to run it again.

mod figure;
mod figures;
pub mod html;
mod plot;

use std::fmt::Write as _;

use super::{
    breakdown::{Breakdown, breakdowns},
    diff::Comparison,
    laws::law_title,
    previous_run::PreviousRun,
    results::{Results, RowReport},
    verdict::{Origin, Verdict},
};
use html::{escape, page, table};
use plot::number;

use crate::recording::RowTimeline;

pub fn report(results: &Results, verdict: &Verdict, origin: &Origin<'_>) -> String {
    let mut body = String::new();
    head(&mut body, results, verdict, origin);
    let _ = write!(
        body,
        "<h2>Rows side by side</h2>\n<div class=\"whole\">{}</div>\n",
        rows(&results.rows)
    );
    let _ = writeln!(
        body,
        "<p class=\"soft\">Latency is that of the whole handshake as the client sees it; there is no average here, because \
         no client waits for an average. CPU is that of the serving threads.</p>"
    );
    for Breakdown { title, heads, lines, .. } in breakdowns(results) {
        // Numbers look as everywhere on the page.
        let shown = |cell: &String| cell.parse().map_or_else(|_| escape(cell), number);
        let lines: Vec<_> = lines.iter().map(|line| line.iter().map(shown).collect()).collect();
        let table = table(title, &heads, &lines);
        let _ = write!(body, "<h2>{title}</h2>\n<div class=\"whole\">{table}</div>\n");
    }
    pictures(&mut body, results);
    laws(&mut body, results);
    again(&mut body, results, origin);
    page(&format!("{}: {}", results.scenario, origin.question), &body)
}

fn head(body: &mut String, results: &Results, verdict: &Verdict, origin: &Origin<'_>) {
    let (class, word) = match (verdict.good, results.partial) {
        (_, true) => (" partial", "Partial."),
        (false, false) => (" bad", "Bad."),
        (true, false) if !results.doubts.is_empty() => (" partial", "Doubtful."),
        (true, false) => ("", "Good."),
    };
    let _ = write!(
        body,
        "<h1>{}</h1>\n<p>{}</p>\n<div class=\"verdict{class}\"><p><strong>{word}</strong> {}</p>\n",
        escape(&results.scenario),
        escape(origin.question),
        escape(&verdict.sentence),
    );
    for doubt in &results.doubts {
        let _ = writeln!(body, "<p>Doubt: {}.</p>", escape(doubt));
    }
    if let Some(knee) = &results.knee {
        let _ = writeln!(body, "<p>Knee: {}.</p>", escape(&knee.sentence()));
    }
    if let Some(next) = &verdict.next {
        let _ = writeln!(body, "<p class=\"soft\">Next: <code>{}</code></p>", escape(next));
    }
    let _ = write!(body, "</div>\n<p class=\"soft\">{}</p>\n", escape(origin.summary));
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn rows(rows: &[RowReport]) -> String {
    let most = |of: fn(&RowReport) -> f64| rows.iter().map(of).fold(0.0, f64::max);
    let (fastest, slowest) = (most(|row| row.handshakes_per_s), most(|row| row.latency_ms.p99));
    let bar = |value: f64, most: f64| {
        let share = if most > 0.0 { 100.0 * value / most } else { 0.0 };
        format!("{}<span class=\"bar\"><i style=\"width:{share:.1}%\"></i></span>", number(value))
    };
    let lines = rows.iter().map(|row| {
        vec![
            escape(&row.name),
            bar(row.handshakes_per_s, fastest),
            number(row.latency_ms.p50),
            bar(row.latency_ms.p99, slowest),
            number(row.latency_ms.p999),
            number(row.latency_ms.max),
            number(row.server_cpu_us_per_handshake),
            row.device_utilisation
                .map_or_else(|| "-".to_owned(), |busy| format!("{} %", number(100.0 * busy))),
            number(row.handshakes as f64),
            number(row.failed as f64),
            number(row.unfinished as f64),
        ]
    });
    let heads = [
        "row",
        "handshakes a second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "CPU us each",
        "device busy",
        "handshakes",
        "failed",
        "unfinished",
    ];
    let lines: Vec<Vec<String>> = lines.collect();
    table("Rows side by side", &heads, &lines)
}

fn pictures(body: &mut String, results: &Results) {
    let (mut figures, never) = figures::over_time(&results.timelines);
    if let Some(distribution) = figures::distribution(&results.timelines) {
        figures.insert(figures.len().min(1), distribution);
    }
    if figures.is_empty() {
        return;
    }
    let time = if results.clock == "virtual" { "seconds of virtual time" } else { "seconds" };
    let _ = write!(
        body,
        "<h2>Pictures</h2>\n<p class=\"soft\">Every row from its own beginning, in {time}. A row has the same colour and \
         dashes everywhere.</p>\n<div class=\"plots\">\n"
    );
    figures.iter().for_each(|figure| body.push_str(&figure.html()));
    body.push_str("</div>\n");
    if !never.is_empty() {
        let never: Vec<String> = never.iter().map(|title| title.to_lowercase()).collect();
        let _ = writeln!(
            body,
            "<p class=\"soft\">Nothing to draw, zero all the time: {}.</p>",
            never.join("; ")
        );
    }
}

fn laws(body: &mut String, results: &Results) {
    let lines = results.laws.iter().map(|law| {
        let held = if law.held { "held" } else { "<span class=\"worse\">BROKEN</span>" };
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let checked = number(law.checked as f64);
        vec![escape(&law.law), held.to_owned(), checked, law_title(&law.law).to_owned()]
    });
    let laws = table("Laws", &["law", "", "checks", "in words"], &lines.collect::<Vec<_>>());
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let lines = results.ledger.entries().map(|(name, level)| {
        vec![escape(name), number(level.now as f64), number(level.peak as f64)]
    });
    let ledger = table("Ledger", &["held", "at the end", "at most"], &lines);
    let _ = write!(
        body,
        "<h2>Laws and ledger</h2>\n<p class=\"soft\">What must hold whatever happens, and what the server holds. At the \
         end all must be back.</p>\n<div class=\"plots whole\">{laws}{ledger}</div>\n"
    );
}

fn again(body: &mut String, results: &Results, origin: &Origin<'_>) {
    let machine = &results.machine;
    let processor = machine.cpu.as_deref().unwrap_or("processor unknown");
    let optimised = if machine.optimised { "" } else { ", built without optimisations" };
    let mut facts = vec![
        ("command", format!("<code>{}</code>", escape(origin.command))),
        ("seed", results.seed.to_string()),
        ("commit", escape(machine.commit.as_deref().unwrap_or("unknown"))),
        ("clock", escape(&results.clock)),
        (
            "machine",
            escape(&format!(
                "{} {}, {} processors ({processor}){optimised}",
                machine.os, machine.arch, machine.cpus
            )),
        ),
    ];
    if let Some(profile) = &results.cost_profile {
        facts.push(("cost profile", escape(profile)));
    }
    if let Some(hash) = &results.trace_sha256 {
        facts.push(("trace", format!("SHA-256 <code>{}</code>", escape(hash))));
    }
    body.push_str("<h2>To run it again</h2>\n<dl class=\"facts\">\n");
    for (name, value) in facts {
        let _ = writeln!(body, "<dt>{name}</dt><dd>{value}</dd>");
    }
    let _ = write!(
        body,
        "</dl>\n<details><summary>The scenario, every field filled in</summary><pre tabindex=\"0\">{}</pre></details>\n",
        escape(origin.text)
    );
}

/// The page of two runs side by side.
pub fn comparison(diff: &Comparison, before: &PreviousRun, after: &PreviousRun) -> String {
    let mut body = format!(
        "<h1>Two runs of {}</h1>\n<div class=\"verdict plain\"><p>{}</p>\n\
         <p class=\"soft\">A: <code>{}</code><br>B: <code>{}</code></p></div>\n",
        escape(&after.results.scenario),
        escape(&diff.sentence()),
        escape(&before.path),
        escape(&after.path),
    );
    if !diff.caveats.is_empty() {
        body.push_str("<ul class=\"soft\">\n");
        for caveat in &diff.caveats {
            let _ = writeln!(body, "<li>{}</li>", escape(caveat));
        }
        body.push_str("</ul>\n");
    }
    let lines = diff.told().map(|difference| {
        let word = difference.change.word();
        vec![
            escape(&difference.row),
            difference.what.to_owned(),
            number(difference.before),
            number(difference.after),
            difference.change_text(),
            format!("<span class=\"{word}\">{word}</span>"),
        ]
    });
    let lines: Vec<_> = lines.collect();
    let heads = ["row", "what", "A", "B", "change", ""];
    let _ = write!(
        body,
        "<h2>Number by number</h2>\n<div class=\"whole\">{}</div>\n",
        table("Number by number", &heads, &lines)
    );
    for (place, row) in before.timelines.iter().enumerate() {
        let Some(other) = after.timelines.iter().find(|other| other.name == row.name) else {
            continue;
        };
        let pair = [
            RowTimeline { name: "A".to_owned(), ..row.clone() },
            RowTimeline { name: "B".to_owned(), ..other.clone() },
        ];
        let (figures, _) = figures::over_time(&pair);
        let shown = ["throughput", "p99", "ring", "utilisation"];
        let figures = figures.into_iter().filter(|figure| shown.contains(&figure.id.as_str()));
        let figures = figures::distribution(&pair).into_iter().chain(figures);
        let _ = write!(body, "<h2>Row {}</h2>\n<div class=\"plots\">\n", escape(&row.name));
        for mut figure in figures {
            figure.id = format!("{}-row{place}", figure.id);
            body.push_str(&figure.html());
        }
        body.push_str("</div>\n");
    }
    page("Two runs compared", &body)
}

#[cfg(test)]
mod tests;
