//! The machine that a bench or a run measures, and how much of it that had: other processes and the host of a virtual machine take
//! time away, which the figures cannot tell from our own.

use core::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

/// What was measured on, and when.
#[derive(Clone, Debug, Serialize)]
pub struct BenchMachine {
    date: String,
    processor: String,
    processors: usize,
    kernel: String,
    /// Of the whole run.
    pub taken: Option<Taken>,
}

impl BenchMachine {
    /// This machine today.
    #[must_use]
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            date: time::OffsetDateTime::now_utc().date().to_string(),
            processor: model.unwrap_or("a processor without a name").to_owned(),
            processors: thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", std::env::consts::OS, release.trim()),
            taken: None,
        }
    }
}

impl fmt::Display for BenchMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, processors, kernel, taken } = self;
        write!(f, "{date}, {processors} x {processor}, {}, {kernel}", std::env::consts::ARCH)?;
        taken.map_or(Ok(()), |taken| write!(f, "; {taken}"))
    }
}

/// The machine's time that a run did not get, in percent of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Taken {
    /// By the host of a virtual machine.
    pub(crate) stolen: f64,
    /// By other processes.
    pub(crate) others: f64,
}

/// The least ticks of all processors that say something: the kernel's counts of one process and of the machine differ by a
/// few.
const ENOUGH: f64 = 300.0;

impl Taken {
    /// Whether figures suffer.
    #[must_use]
    pub fn is_much(self) -> bool {
        self.stolen > 1.0 || self.others > 10.0
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stolen, others } = self;
        write!(
            f,
            "other processes had {others:.0} % of the machine's time, and its host {stolen:.1} %"
        )
    }
}

/// The kernel's counts of time, in its ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticks {
    all: f64,
    idle: f64,
    /// In interrupts, which also serve us: the kernel does not say whom.
    interrupts: f64,
    stolen: f64,
    /// This process and its children.
    ours: f64,
}

impl Ticks {
    /// `None` where the kernel does not say.
    #[must_use]
    pub fn now() -> Option<Self> {
        let read = |path| fs::read_to_string(path).ok();
        Self::parse(&read("/proc/stat")?, &read("/proc/self/stat")?)
    }

    fn parse(machine: &str, process: &str) -> Option<Self> {
        let numbers = |text: &str| -> Vec<f64> {
            text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        // user, nice, system, idle, waiting for disks, two kinds of interrupts, stolen; guests are in the first two.
        let machine = numbers(machine.lines().next()?.strip_prefix("cpu ")?);
        // The name of the process may have spaces, and is in parentheses. Then come its state and 10 other fields.
        let process = numbers(process.rsplit_once(')')?.1);
        Some(Self {
            all: machine.get(..8)?.iter().sum(),
            idle: machine[3] + machine[4],
            interrupts: machine[5] + machine[6],
            stolen: machine[7],
            ours: process.get(10..14)?.iter().sum(),
        })
    }

    /// What was taken between `before` and this; `None` if that is too short to tell.
    #[must_use]
    pub fn taken_since(self, before: Self) -> Option<Taken> {
        let of = |field: fn(&Self) -> f64| (field(&self) - field(&before)).max(0.0);
        let (all, stolen) = (of(|t| t.all), of(|t| t.stolen));
        if all < ENOUGH {
            return None;
        }
        let others = all - of(|t| t.idle) - of(|t| t.interrupts) - stolen - of(|t| t.ours);
        let percent = |ticks: f64| ticks.max(0.0) / all * 100.0;
        Some(Taken { stolen: percent(stolen), others: percent(others) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_neither_idle_nor_ours_nor_an_interrupt() {
        let process = |own| format!("7 (a (name) b) S 1 7 7 0 -1 0 0 0 0 0 {own} 0 0 0 20 0 1 0");
        let before = Ticks::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0", &process(50)).unwrap();
        let after = Ticks::parse("cpu  500 0 150 1200 0 20 30 100 0 0\n", &process(250)).unwrap();
        let taken = after.taken_since(before).unwrap();
        assert_eq!(taken, Taken { stolen: 10.0, others: 25.0 });
        assert!(taken.is_much());
        let soon = Ticks::parse("cpu  799 0 150 1200 0 20 30 100 0 0\n", &process(250)).unwrap();
        assert_eq!(soon.taken_since(after), None);
        assert_eq!(Ticks::parse("intr 1", ""), None);
    }
}
