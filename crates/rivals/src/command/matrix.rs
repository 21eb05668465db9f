//! The settings that are measured, and measuring them: within a setting all servers take turns, so that a machine whose speed
//! drifts slows all.

use std::fmt;
use std::time::Duration;

use rivals::{Order, Outcome, Problem, Suite, Transport};

use super::programs::Found;
use super::results::{Results, Row};

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) suite: Suite,
    pub(crate) transport: Transport,
    pub(crate) concurrent: usize,
    pub(crate) latency: Duration,
}

/// The setting that documents quote.
pub(crate) const QUOTED: Cell = Cell {
    suite: Suite::P256,
    transport: Transport::Memory,
    concurrent: 1024,
    latency: Duration::from_millis(10),
};

impl Cell {
    /// All settings, the quoted one first.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = vec![QUOTED];
        for transport in [Transport::Memory, Transport::Loopback] {
            for suite in [Suite::P256, Suite::Rsa2048] {
                for concurrent in [1, 64, 1024, 10_000] {
                    for milliseconds in [0, 1, 10, 50] {
                        let latency = Duration::from_millis(milliseconds);
                        let cell = Self { suite, transport, concurrent, latency };
                        cells.extend((cell != QUOTED).then_some(cell));
                    }
                }
            }
        }
        cells
    }

    /// Where a server is measured: what its key takes does not matter if it is not asked, but for the quoted setting, whose
    /// turns alternate.
    pub(crate) fn of(self, server: &Found) -> Self {
        if server.server.asks_key || self == QUOTED {
            self
        } else {
            Self { latency: Duration::ZERO, ..self }
        }
    }

    fn order(self, server: &Found, window: Duration) -> Order {
        Order {
            server: server.server.name.clone(),
            suite: self.suite,
            transport: self.transport,
            concurrent: self.concurrent,
            latency_us: self.latency.as_micros() as u64,
            window_ms: window.as_millis() as u64,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, transport, concurrent, latency } = self;
        let transport = match transport {
            Transport::Memory => "in memory",
            Transport::Loopback => "over loopback",
        };
        write!(f, "{suite}, {concurrent} at once, a key of {} ms, {transport}", latency.as_millis())
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
}

/// Measures `servers` in `cell`. A turn that fails is in its row, and the others go on.
pub(crate) fn measure(
    results: &mut Results,
    servers: &[Found],
    cell: Cell,
    effort: Effort,
    say: impl Fn(&str),
) {
    let due: Vec<&Found> = servers
        .iter()
        .filter(|server| results.row(&server.server.name, cell.of(server)).is_none())
        .collect();
    let mut rows: Vec<Row> =
        due.iter().map(|server| Row::new(&server.server.name, cell.of(server))).collect();
    for round in 1..=effort.rounds {
        say(&format!("{cell}: round {round} of {}", effort.rounds));
        for (server, row) in due.iter().zip(&mut rows) {
            if row.problem.is_none() {
                row.push(server.turn(&row.cell.order(server, effort.window)));
            }
        }
    }
    // Memory does not depend on how long the key takes, nor on the transport.
    if cell == QUOTED || (cell.latency.is_zero() && cell.transport == Transport::Memory) {
        say(&format!("{cell}: memory"));
        for (server, row) in due.iter().zip(&mut rows) {
            if server.server.asks_key && row.problem.is_none() {
                row.push_memory(server.turn(&row.cell.order(server, Duration::ZERO)));
            }
        }
    }
    results.rows.append(&mut rows);
}

impl Row {
    fn push(&mut self, outcome: Result<Outcome, Problem>) {
        match outcome {
            Ok(Outcome::Speed(speed)) => self.speeds.push(speed),
            Ok(Outcome::Memory(_)) => self.problem = Some("the wrong outcome".to_owned()),
            Err(problem) => self.problem = Some(problem.to_string()),
        }
    }

    fn push_memory(&mut self, outcome: Result<Outcome, Problem>) {
        match outcome {
            Ok(Outcome::Memory(memory)) => self.memory = Some(memory),
            Ok(Outcome::Speed(_)) => self.problem = Some("the wrong outcome".to_owned()),
            Err(problem) => self.memory_problem = Some(problem.to_string()),
        }
    }
}
