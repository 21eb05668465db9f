//! Progress on standard error: a bar on a terminal, plain lines elsewhere; and the flag that interrupts a run.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::eprint_line;

/// Shows the progress of a run on standard error, and carries the flag that interrupts it. Clones share both.
#[derive(Debug, Clone)]
pub struct Progress {
    shown: Shown,
    interrupted: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone)]
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

#[derive(Debug)]
struct State {
    parts: usize,
    /// Parts that are done.
    done: usize,
    begun: Instant,
    part_begun: Instant,
    told: Instant,
    name: String,
    /// What is counted.
    noun: &'static str,
}

/// Parts of the bar for each part of the run.
const STEPS: u64 = 1_000;

/// How often the bar is drawn anew.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// How often a plain line is printed.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// A progress that shows nothing and shares the interrupt flag: for a step that is only a part of what is shown.
    #[must_use]
    pub fn quiet(&self) -> Self {
        Self { interrupted: Arc::clone(&self.interrupted), ..Self::silent() }
    }

    /// For `parts` parts: a bar if standard error is a terminal, else a line when a part begins and ends, and every ten
    /// seconds.
    #[must_use]
    pub fn new(parts: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::with(Shown::Lines, parts);
        }
        let bar = ProgressBar::new(parts as u64 * STEPS);
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} [{bar:20}] {msg}")
            .expect("the template is a constant")
            .progress_chars("=> ");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::with(Shown::Bar(bar), parts)
    }

    #[must_use]
    pub fn silent() -> Self {
        Self::with(Shown::Nothing, 1)
    }

    fn with(shown: Shown, parts: usize) -> Self {
        let now = Instant::now();
        let name = String::new();
        let (done, noun) = (0, "handshakes");
        let state = State { parts, done, begun: now, part_begun: now, told: now, name, noun };
        Self { shown, interrupted: Arc::default(), state: Arc::new(Mutex::new(state)) }
    }

    /// Names the items that are counted, instead of handshakes.
    #[must_use]
    pub fn counting(self, noun: &'static str) -> Self {
        self.change(|state| state.noun = noun);
        self
    }

    /// The flag that interrupts the run, for a signal handler to set.
    pub fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub fn begin(&self, name: &str, what: &str) {
        self.change(|state| {
            name.clone_into(&mut state.name);
            state.part_begun = Instant::now();
            state.told = state.part_begun;
        });
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(format!("{name}: {what}")),
            Shown::Lines => eprint_line(format_args!("{name}: {what} ...")),
            Shown::Nothing => {}
        }
    }

    /// Reports `done` items of the current part, which are `share` of it (0 to 1). May be called often.
    pub fn at(&self, done: u64, share: f64) {
        let every = match self.shown {
            Shown::Bar(_) => BAR_EVERY,
            Shown::Lines => LINE_EVERY,
            Shown::Nothing => return,
        };
        let Some(line) = self.change(|state| {
            let now = Instant::now();
            (now - state.told >= every).then(|| {
                state.told = now;
                state.line(now, done, share.clamp(0.0, 1.0))
            })
        }) else {
            return;
        };
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(line.position);
                bar.set_message(line.text);
            }
            Shown::Lines => eprint_line(line.text),
            Shown::Nothing => {}
        }
    }

    pub fn end(&self, name: &str, outcome: &str) {
        let done = self.change(|state| {
            state.done += 1;
            state.done
        });
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(done as u64 * STEPS);
                bar.println(format!("{name}: {outcome}"));
            }
            Shown::Lines => eprint_line(format_args!("{name}: {outcome}")),
            Shown::Nothing => {}
        }
    }

    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is shown of a state.
#[derive(Debug, PartialEq, Eq)]
struct ProgressLine {
    position: u64,
    text: String,
}

impl State {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown to people, and not negative"
    )]
    fn line(&self, now: Instant, done: u64, share: f64) -> ProgressLine {
        let rate = done as f64 / (now - self.part_begun).as_secs_f64().max(1e-3);
        let parts = self.parts.max(1) as f64;
        let whole = ((self.done as f64 + share) / parts).clamp(1e-6, 1.0);
        let left = (now - self.begun).as_secs_f64() * (1.0 - whole) / whole;
        let remaining =
            if share <= 0.0 { String::new() } else { format!(", about {:.0} s left", left.ceil()) };
        let Self { name, noun, .. } = self;
        let text = format!("{name}: {done} {noun}, {rate:.0} a second{remaining}");
        ProgressLine { position: (whole * parts * STEPS as f64) as u64, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_remaining_time_come_from_what_has_been_done() {
        let now = Instant::now();
        let begun = now - Duration::from_secs(6);
        let state = State {
            parts: 4,
            done: 1,
            begun,
            part_begun: now - Duration::from_secs(2),
            told: begun,
            name: "async".to_owned(),
            noun: "handshakes",
        };
        let line = state.line(now, 9_000, 0.5);
        // A part and a half of four took six seconds, so ten are left.
        assert_eq!(line.text, "async: 9000 handshakes, 4500 a second, about 10 s left");
        assert_eq!(line.position, 1_500);
        assert!(!state.line(now, 0, 0.0).text.contains("left"));
    }

    #[test]
    fn clones_share_the_interruption() {
        let progress = Progress::silent();
        let clone = progress.clone();
        assert!(!clone.is_interrupted());
        progress.interrupt().store(true, Ordering::Relaxed);
        assert!(clone.is_interrupted());
    }
}
