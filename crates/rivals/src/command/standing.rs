//! Where Layby stands beside each rival, in words that are computed.

use super::matrix::QUOTED;
use super::results::{Metric, Results, Row, Spread};

/// Closer than this is level: less than the machine repeats.
const LEVEL: f64 = 1.1;

/// The same in a run of one or two rounds, which cannot disagree enough to show chance.
const LEVEL_OF_FEW: f64 = 2.0;
const FEW: usize = 2;

/// The servers that documents of this command name, by the names in its figures.
pub(crate) const COMPARED: [&str; 12] = [
    "rustls-blocking",
    "threads",
    "pool-64",
    "pool-256",
    "pool-1024",
    "spawn-blocking",
    "block-in-place",
    "s2n-tls",
    "boring",
    "openssl-async",
    "inline",
    "free-sign",
];

/// Layby's ways on mio.
const ON_MIO: [&str; 2] = ["layby-mio", "layby-replay"];

/// Layby's server on tokio, whose figure is told beside the best on mio.
const ON_TOKIO: &str = "layby-tokio";

/// The best of Layby's rows on mio in the quoted setting.
pub(crate) fn best(results: &Results, metric: Metric) -> Option<&Row> {
    let median = |row: &&Row| row.figure(metric).map(|spread| spread.median);
    let rows = ON_MIO.iter().filter_map(|name| results.row(name, QUOTED));
    let mut rows: Vec<&Row> = rows.filter(|row| median(row).is_some()).collect();
    rows.sort_by(|a, b| f64::total_cmp(&median(a).unwrap_or(0.0), &median(b).unwrap_or(0.0)));
    if metric.higher_is_better() { rows.pop() } else { rows.into_iter().next() }
}

/// Where Layby's best stands beside one server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Ahead,
    Level,
    Behind,
}

/// How many times Layby's best is ahead of that server, round by round, and what that comes to.
fn compared(results: &Results, metric: Metric, rival: &str) -> Option<(f64, Standing)> {
    let ours = best(results, metric)?.rounds(metric);
    let theirs = results.row(rival, QUOTED)?.rounds(metric);
    let both = ours.into_iter().zip(theirs).filter_map(|(ours, theirs)| ours.zip(theirs));
    let ratios: Vec<f64> = both.map(|(ours, theirs)| metric.ratio(ours, theirs)).collect();
    // Memory does not depend on what else a machine does, and is measured once.
    let is_few = metric != Metric::Memory && ratios.len() <= FEW;
    standing(ratios, if is_few { LEVEL_OF_FEW } else { LEVEL })
}

/// The median of the rounds' ratios, which are above 1 where Layby is ahead. Level unless it is `level` and more, and the rounds
/// agree.
fn standing(ratios: Vec<f64>, level: f64) -> Option<(f64, Standing)> {
    let Spread { median, min, max, .. } = Spread::of(ratios.into_iter())?;
    let standing = if median >= level && min > 1.0 {
        Standing::Ahead
    } else if median <= 1.0 / level && max < 1.0 {
        Standing::Behind
    } else {
        Standing::Level
    };
    Some((median, standing))
}

/// One line for each metric: ahead of these, level with those, behind others.
pub(crate) fn lines(results: &Results) -> Vec<String> {
    Metric::ALL.into_iter().filter_map(|metric| line(results, metric)).collect()
}

fn line(results: &Results, metric: Metric) -> Option<String> {
    let (mut ahead, mut level, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for rival in COMPARED {
        let Some((ratio, standing)) = compared(results, metric, rival) else { continue };
        let place = match standing {
            Standing::Ahead => &mut ahead,
            Standing::Level => &mut level,
            Standing::Behind => &mut behind,
        };
        place.push(format!("`{rival}` ({})", times(ratio)));
    }
    let ours = best(results, metric)?;
    let mut parts = Vec::new();
    for (word, rivals) in [("ahead of", ahead), ("level with", level), ("behind", behind)] {
        if !rivals.is_empty() {
            parts.push(format!("{word} {}", rivals.join(", ")));
        }
    }
    if parts.is_empty() {
        return None;
    }
    let shown = figure(ours, metric)?;
    let tokio = on_tokio(results, metric)
        .map_or_else(String::new, |figure| format!(" On tokio: {figure}."));
    Some(format!(
        "**{}.** `{}`, {shown}: {}.{tokio}",
        metric.title(),
        ours.server,
        parts.join("; ")
    ))
}

/// The server on tokio with its figure in the quoted setting.
fn on_tokio(results: &Results, metric: Metric) -> Option<String> {
    named(results.row(ON_TOKIO, QUOTED)?, metric)
}

/// A figure behind the name of its server.
fn named(row: &Row, metric: Metric) -> Option<String> {
    Some(format!("`{}` {}", row.server, figure(row, metric)?))
}

/// The median with its unit, as people read it.
pub(crate) fn figure(row: &Row, metric: Metric) -> Option<String> {
    let (unit, size) = metric.shown();
    Some(format!("{} {unit}", number(row.figure(metric)?.median / size)))
}

/// Two or three significant digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn times(ratio: f64) -> String {
    format!("{} times", number(ratio))
}

/// The three lines that the first page quotes, and where they were measured.
pub(crate) fn three_lines(results: &Results) -> Vec<String> {
    let told = |metric: Metric, rivals: &[(&str, &str)]| {
        let best = best(results, metric)?;
        let ours = [named(best, metric), on_tokio(results, metric)];
        let ours: Vec<String> = ours.into_iter().flatten().collect();
        let others = rivals.iter().filter_map(|(rival, words)| {
            Some(format!("{words} {}", figure(results.row(rival, QUOTED)?, metric)?))
        });
        let others: Vec<String> = others.collect();
        Some((ours.join(", "), others.join(", "), best))
    };
    let mut lines = Vec::new();
    if let Some((ours, others, best)) = told(
        Metric::Cpu,
        &[
            ("free-sign", "with a signature for free"),
            ("pool-64", "a pool of 64 threads"),
            ("threads", "a thread for each"),
            ("s2n-tls", "s2n-tls"),
            ("boring", "BoringSSL"),
            ("openssl-async", "OpenSSL"),
        ],
    ) {
        lines.push(format!(
            "CPU time of a handshake whose key takes 10 ms: {ours}; {others}.{}",
            key_thread(results, best)
        ));
    }
    if let Some((ours, others, _)) = told(
        Metric::Memory,
        &[
            ("layby-mio", "on a fiber"),
            ("boring", "BoringSSL"),
            ("s2n-tls", "s2n-tls"),
            ("openssl-async", "OpenSSL"),
            ("threads", "a thread for each"),
        ],
    ) {
        lines.push(format!("Memory of a handshake that waits: {ours}; {others}."));
    }
    if let Some((ours, others, _)) = told(
        Metric::Heartbeat,
        &[
            ("pool-64", "a pool of 64 threads"),
            ("s2n-tls", "s2n-tls"),
            ("boring", "BoringSSL"),
            ("openssl-async", "OpenSSL"),
            ("threads", "a thread for each"),
        ],
    ) {
        lines.push(format!(
            "Lateness (p99) of a task that is due every millisecond on the full processor: {ours}; {others}."
        ));
    }
    lines
}

/// What the CPU time leaves out: the key's own thread, where Layby checks the signature.
fn key_thread(results: &Results, ours: &Row) -> String {
    let answer = |row: &Row| Some(number(row.of(|speed| speed.answer)?.median / 1e3));
    let told = answer(ours).zip(results.row("pool-64", QUOTED).and_then(answer));
    told.map_or_else(String::new, |(ours, pool)| {
        format!(
            " The key's own thread is not counted: there Layby takes {ours} us, its check of the signature included, and a pool \
             of 64 threads {pool} us."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_disagree_are_level() {
        let of = |ratios: [f64; 3]| standing(ratios.into(), LEVEL).map(|(_, standing)| standing);
        assert_eq!(of([1.2, 1.3, 1.01]), Some(Standing::Ahead));
        assert_eq!(of([1.2, 1.3, 0.99]), Some(Standing::Level));
        assert_eq!(of([1.05, 1.05, 1.05]), Some(Standing::Level));
        assert_eq!(of([0.8, 0.7, 0.99]), Some(Standing::Behind));
        assert_eq!(of([0.8, 0.7, 1.01]), Some(Standing::Level));
        assert_eq!(standing(Vec::new(), LEVEL), None);
        let one = |ratio| standing(vec![ratio], LEVEL_OF_FEW).map(|(_, standing)| standing);
        assert_eq!(one(1.9), Some(Standing::Level));
        assert_eq!(one(2.1), Some(Standing::Ahead));
    }
}
