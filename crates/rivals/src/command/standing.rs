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

/// Rivals on tokio, which are compared with [`ON_TOKIO`], too.
const RIVALS_ON_TOKIO: [&str; 4] = ["spawn-blocking", "block-in-place", "s2n-tls", "boring"];

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

/// How many times `ours` is ahead of that server, round by round, and what that comes to.
fn compared(results: &Results, metric: Metric, ours: &Row, rival: &str) -> Option<(f64, Standing)> {
    let theirs = results.row(rival, QUOTED).filter(|theirs| theirs.is_comparable(metric))?;
    let both = ours.rounds(metric).into_iter().zip(theirs.rounds(metric));
    let ratios = both.filter_map(|(ours, theirs)| Some(metric.ratio(ours?, theirs?)));
    let ratios: Vec<f64> = ratios.collect();
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
    let ours = best(results, metric)?;
    let (shown, stands) = (named(ours, metric)?, beside(results, metric, ours, &COMPARED)?);
    let on_tokio = results.row(ON_TOKIO, QUOTED).and_then(|ours| {
        let stands = beside(results, metric, ours, &RIVALS_ON_TOKIO)?;
        Some(format!(" On tokio: {}, {stands}.", named(ours, metric)?))
    });
    Some(format!("**{}.** {shown}: {stands}.{}", metric.title(), on_tokio.unwrap_or_default()))
}

/// Where `ours` stands: ahead of these rivals, level with those, behind others.
fn beside(results: &Results, metric: Metric, ours: &Row, rivals: &[&str]) -> Option<String> {
    let compared: Vec<(&str, f64, Standing)> = rivals
        .iter()
        .filter_map(|rival| {
            let (ratio, standing) = compared(results, metric, ours, rival)?;
            Some((*rival, ratio, standing))
        })
        .collect();
    let groups = [
        (Standing::Ahead, "ahead of"),
        (Standing::Level, "level with"),
        (Standing::Behind, "behind"),
    ];
    let parts: Vec<String> = groups
        .into_iter()
        .filter_map(|(group, words)| {
            let members = compared.iter().filter(|(_, _, standing)| *standing == group);
            let members: Vec<String> =
                members.map(|(rival, ratio, _)| format!("`{rival}` ({})", times(*ratio))).collect();
            (!members.is_empty()).then(|| format!("{words} {}", members.join(", ")))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
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
    use rivals::{Memory, Speed};

    use super::*;

    /// A row of three rounds of this rate, and this many handshakes of a kilobyte that waited at once.
    fn row(server: &str, rate: f64, in_flight: u64) -> Row {
        let speed = Speed {
            rate,
            cpu: Some(1e9 / rate),
            answer: Some(0.0),
            p50: None,
            p99: None,
            p999: None,
            heartbeat_p99: None,
            heartbeat_worst: None,
            threads: 1,
        };
        let memory = Some(Memory { in_flight, bytes: 1024.0 });
        Row { speeds: vec![speed; 3], memory, ..Row::new(server, QUOTED) }
    }

    fn results(rows: Vec<Row>) -> Results {
        Results { rows, ..Results::new(&[]) }
    }

    #[test]
    fn a_row_that_failed_in_a_later_round_has_no_figures() {
        let failed =
            |server| Row { problem: Some("it ended".to_owned()), ..row(server, 9000.0, 1024) };
        let sound = [row("layby-replay", 2000.0, 1024), row("pool-64", 1000.0, 64)];
        let failed = [failed("layby-mio"), failed("threads")];
        let results = results(sound.into_iter().chain(failed).collect());
        let line = line(&results, Metric::Rate).unwrap();
        assert!(
            line.contains("`layby-replay` 2000 1/s: ahead of `pool-64` (2.00 times)."),
            "{line}"
        );
        assert!(!line.contains("threads"), "{line}");
    }

    #[test]
    fn answers_on_the_keys_thread_count_where_the_metric_says_so() {
        let ours = row("layby-replay", 2000.0, 1024);
        let mut dear = row("boring", 2000.0, 1024);
        dear.speeds[0].answer = Some(500_000.0);
        dear.speeds = vec![dear.speeds[0].clone(); 3];
        let results = results(vec![ours, dear]);
        assert!(line(&results, Metric::Cpu).unwrap().contains("level with `boring` (1.00 times)"));
        let line = line(&results, Metric::CpuWithAnswers).unwrap();
        assert!(line.contains("ahead of `boring` (2.00 times)"), "{line}");
    }

    #[test]
    fn memory_of_a_few_in_flight_is_not_compared() {
        let rivals = [row("rustls-blocking", 1.0, 1), row("pool-64", 1000.0, 64)];
        let ours = row("layby-replay", 2000.0, 1024);
        let results = results([ours].into_iter().chain(rivals).collect());
        let line = line(&results, Metric::Memory).unwrap();
        assert!(line.contains("pool-64") && !line.contains("rustls-blocking"), "{line}");
    }

    #[test]
    fn rivals_on_tokio_are_compared_with_ours_on_tokio_too() {
        let ours = [row("layby-replay", 2000.0, 1024), row("layby-tokio", 1000.0, 1024)];
        let results = results(ours.into_iter().chain([row("boring", 1000.0, 1024)]).collect());
        let line = line(&results, Metric::Cpu).unwrap();
        assert!(line.contains("ahead of `boring` (2.00 times)"), "{line}");
        assert!(line.ends_with("level with `boring` (1.00 times)."), "{line}");
    }

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
