//! What all turns came to.

use lab_report::BenchMachine;
use rivals::program::Description;
use rivals::{Memory, Speed};

use super::matrix::Cell;
use super::programs::Found;

/// One server in one setting.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) cell: Cell,
    /// Round by round.
    pub(crate) speeds: Vec<Speed>,
    pub(crate) memory: Option<Memory>,
    /// Why there are no more rounds.
    pub(crate) problem: Option<String>,
    pub(crate) memory_problem: Option<String>,
}

/// Memory is compared if at least this number of handshakes waited at once.
const FEWEST_IN_FLIGHT: u64 = 16;

/// A median, and the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// `None` if there is no value at all.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, min, max, rounds: values.len() })
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Rate,
    Cpu,
    CpuWithAnswers,
    Memory,
    P99,
    Heartbeat,
}

impl Metric {
    pub(crate) const ALL: [Self; 6] =
        [Self::Rate, Self::Cpu, Self::CpuWithAnswers, Self::Memory, Self::P99, Self::Heartbeat];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Cpu => "cpu",
            Self::CpuWithAnswers => "cpu-with-answers",
            Self::Memory => "memory",
            Self::P99 => "p99",
            Self::Heartbeat => "heartbeat",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Rate => "Handshakes a second",
            Self::Cpu => "CPU time of the server for a handshake",
            Self::CpuWithAnswers => {
                "CPU time for a handshake, with the answers on the key's thread"
            }
            Self::Memory => "Memory of a handshake that waits for its key",
            Self::P99 => "p99 of the handshake",
            Self::Heartbeat => "p99 lateness of a heartbeat beside the handshakes",
        }
    }

    pub(crate) const fn higher_is_better(self) -> bool {
        matches!(self, Self::Rate)
    }

    /// The base unit.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Rate => "1/s",
            Self::Memory => "bytes",
            Self::Cpu | Self::CpuWithAnswers | Self::P99 | Self::Heartbeat => "ns",
        }
    }

    /// The unit that people read, and how many base units it has.
    pub(crate) const fn shown(self) -> (&'static str, f64) {
        match self {
            Self::Rate => ("1/s", 1.0),
            Self::Memory => ("KiB", 1024.0),
            Self::Cpu | Self::CpuWithAnswers => ("us", 1e3),
            Self::P99 | Self::Heartbeat => ("ms", 1e6),
        }
    }

    /// Above 1 if `ours` is ahead of `theirs`.
    pub(crate) fn ratio(self, ours: f64, theirs: f64) -> f64 {
        if self.higher_is_better() { ours / theirs } else { theirs / ours }
    }
}

impl Row {
    pub(crate) fn new(server: &str, cell: Cell) -> Self {
        let server = server.to_owned();
        Self { server, cell, speeds: Vec::new(), memory: None, problem: None, memory_problem: None }
    }

    /// A figure in base units.
    pub(crate) fn figure(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.rounds(metric).into_iter().flatten())
    }

    /// The figure of each round, in base units; none of a server that failed in any.
    pub(crate) fn rounds(&self, metric: Metric) -> Vec<Option<f64>> {
        if self.problem.is_some() {
            return Vec::new();
        }
        let each = |figure: fn(&Speed) -> Option<f64>| self.speeds.iter().map(figure).collect();
        match metric {
            Metric::Rate => each(|speed| Some(speed.rate)),
            Metric::Cpu => each(|speed| speed.cpu),
            Metric::CpuWithAnswers => each(|speed| Some(speed.cpu? + speed.answer?)),
            Metric::P99 => each(|speed| speed.p99),
            Metric::Heartbeat => each(|speed| speed.heartbeat_p99),
            Metric::Memory => vec![self.memory.as_ref().map(|memory| memory.bytes)],
        }
    }

    /// Any other figure of the rounds.
    pub(crate) fn of(&self, figure: impl Fn(&Speed) -> Option<f64>) -> Option<Spread> {
        let speeds = self.speeds.iter().filter(|_| self.problem.is_none());
        Spread::of(speeds.filter_map(figure))
    }

    /// Whether the figure says something about a handshake: with few in flight, memory is mostly that of the server itself.
    pub(crate) fn is_comparable(&self, metric: Metric) -> bool {
        let enough = |held: &Memory| held.in_flight >= FEWEST_IN_FLIGHT;
        metric != Metric::Memory || self.memory.as_ref().is_some_and(enough)
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) machine: BenchMachine,
    pub(crate) servers: Vec<Description>,
    pub(crate) rows: Vec<Row>,
    /// Servers that could not be built, with the reason.
    pub(crate) skipped: Vec<String>,
}

impl Results {
    pub(crate) fn new(servers: &[Found]) -> Self {
        let servers = servers.iter().map(|found| found.server.clone()).collect();
        Self { machine: BenchMachine::this(), servers, rows: Vec::new(), skipped: Vec::new() }
    }

    pub(crate) fn row(&self, server: &str, cell: Cell) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server && row.cell == cell)
    }

    pub(crate) fn server(&self, name: &str) -> Option<&Description> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// CPU time of a server as a multiple of that with its own free signature, from the medians.
    pub(crate) fn over_own_free(&self, server: &str, cell: Cell) -> Option<f64> {
        let own_free = &self.server(server)?.own_free;
        let free = self.rows.iter().find(|row| {
            row.server == *own_free && (row.cell == cell || row.cell == cell.with_any_key())
        })?;
        let cpu = |row: &Row| Some(row.figure(Metric::Cpu)?.median);
        Some(cpu(self.row(server, cell)?)? / cpu(free)?)
    }
}

impl Cell {
    /// The same for servers that do not ask their key.
    pub(crate) fn with_any_key(self) -> Self {
        Self { latency: std::time::Duration::ZERO, ..self }
    }
}

/// The versions of what was built, from the lock file.
pub(crate) fn versions() -> String {
    const NAMED: [&str; 9] = [
        "rustls",
        "aws-lc-rs",
        "tokio",
        "tokio-rustls",
        "mio",
        "s2n-tls",
        "boring",
        "tokio-boring",
        "openssl",
    ];
    let lock = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let entry = lock
            .split("[[package]]\n")
            .find(|entry| entry.lines().next() == Some(format!("name = \"{name}\"").as_str()))?;
        let version = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
        Some(format!("{name} {}", version.trim_matches('"')))
    };
    NAMED.into_iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_means_that_ours_is_ahead() {
        assert_eq!(Metric::Rate.ratio(20.0, 10.0), 2.0);
        assert_eq!(Metric::Cpu.ratio(20.0, 10.0), 0.5);
    }

    #[test]
    fn a_spread_has_the_median_the_least_and_the_most() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter()).unwrap();
        assert_eq!((spread.median, spread.min, spread.max, spread.rounds), (2.0, 1.0, 3.0, 3));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0].into_iter()).unwrap().median, 3.0);
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let versions = versions();
        for name in ["rustls 0.23.", "s2n-tls 0.3.", "boring 5.", "tokio 1."] {
            assert!(versions.contains(name), "{versions}");
        }
    }
}
