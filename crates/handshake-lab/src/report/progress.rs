//! Progress on standard error: a bar on a terminal, plain lines elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// Tells on standard error how far a run is.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// For `rows` rows: a bar if standard error is a terminal, else one line a row.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { shown: Shown::Lines };
        }
        let bar = ProgressBar::new(rows as u64);
        let style =
            ProgressStyle::with_template("{spinner} [{pos}/{len}] {msg}  {elapsed_precise}")
                .expect("the template is a constant");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { shown: Shown::Bar(bar) }
    }

    /// For runs that nobody watches.
    #[must_use]
    pub const fn silent() -> Self {
        Self { shown: Shown::Nothing }
    }

    /// A row begins.
    pub fn begin(&self, row: &str, what: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(format!("{row}: {what}")),
            Shown::Lines => eprintln!("{row}: {what} ..."),
            Shown::Nothing => {}
        }
    }

    /// A row has ended.
    pub fn end(&self, row: &str, outcome: &str) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.inc(1);
                bar.println(format!("{row}: {outcome}"));
            }
            Shown::Lines => eprintln!("{row}: {outcome}"),
            Shown::Nothing => {}
        }
    }

    /// The run is over; nothing of the bar stays.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
