//! Lines for standard error that never hold up the thread that writes them.
//!
//! A thread of its own writes them; before it is a queue with a bound. While standard error takes nothing, as a pipe that
//! is not read, lines beyond the bound are lost and counted. The same warning comes at most once a second, and then says
//! how many were left out.

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{Event, Level, Subscriber, callsite::Identifier};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::MakeWriter,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// Lines that wait to be written.
const QUEUE: usize = 1024;

/// The same warning comes at most this often.
const EVERY: Duration = Duration::from_secs(1);

/// The log of the process, once it is started.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    lines: Lines,
    repeats: Arc<Mutex<Repeats<Identifier>>>,
}

/// Starts the log: a thread writes to standard error the events that pass `filter`, and the lines given to [`say`]. Events
/// are coloured on a terminal.
///
/// # Errors
/// When the system has no thread left.
pub(crate) fn start(filter: EnvFilter) -> io::Result<()> {
    let lines = Lines::start(io::stderr())?;
    let repeats = Arc::default();
    let throttle = Throttle { lines: lines.clone(), repeats: Arc::clone(&repeats) };
    let format =
        tracing_subscriber::fmt::layer().with_ansi(is_colourful()).with_writer(lines.clone());
    // Fails only if a subscriber is set already.
    let _ = tracing_subscriber::registry().with(filter).with(throttle).with(format).try_init();
    let _ = LOG.set(Log { lines, repeats });
    Ok(())
}

/// Whether standard error is a terminal whose user has not asked for plain text (<https://no-color.org>).
pub(crate) fn is_colourful() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes one line for people to standard error. Never waits, once the log is started.
pub(crate) fn say(line: &str) {
    match LOG.get() {
        Some(log) => log.lines.send(format!("{line}\n").into_bytes()),
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// Says how many warnings were left out, if that has not been said yet.
pub(crate) fn tell_left_out() {
    if let Some(log) = LOG.get() {
        let told =
            log.repeats.lock().unwrap_or_else(PoisonError::into_inner).overdue(Instant::now());
        for (warning, count) in told {
            log.lines.left_out(&warning, count);
        }
    }
}

/// Waits, for at most `patience`, until what was said before is written.
pub(crate) fn flush(patience: Duration) {
    tell_left_out();
    if let Some(log) = LOG.get() {
        log.lines.flush(patience);
    }
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue of lines before a writer.
#[derive(Debug, Clone)]
struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&lines, out, &counted))?;
        Ok(Self { queue, lost })
    }

    fn send(&self, line: Vec<u8>) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn left_out(&self, warning: &str, count: u64) {
        self.send(format!("{count} more of the same were left out: {warning}\n").into_bytes());
    }

    fn flush(&self, patience: Duration) {
        let (written, wait) = mpsc::sync_channel(1);
        if self.queue.try_send(Message::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn write(lines: &Receiver<Message>, mut out: impl Write, lost: &AtomicU64) {
    for message in lines {
        // There is no other place to report a failed write to standard error.
        match message {
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Flush(written) => drop(written.try_send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines were lost: standard error took nothing");
        }
    }
}

/// One event being written; sent when it is whole.
struct LogLine<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.lines.send(std::mem::take(&mut self.text));
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { lines: self, text: Vec::new() }
    }
}

/// Lets each warning through once in a while.
struct Throttle {
    lines: Lines,
    repeats: Arc<Mutex<Repeats<Identifier>>>,
}

impl<S: Subscriber> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return true;
        }
        let now = Instant::now();
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = repeats.pass(metadata.callsite(), now, || {
            format!("{} at {}", metadata.target(), metadata.line().unwrap_or_default())
        });
        drop(repeats);
        match passes {
            None => false,
            Some((_, 0)) => true,
            Some((warning, count)) => {
                self.lines.left_out(&warning, count);
                true
            }
        }
    }
}

/// When each warning was last let through, and how many were not since then.
#[derive(Debug)]
struct Repeats<K>(HashMap<K, Seen>);

#[derive(Debug)]
struct Seen {
    last: Instant,
    left_out: u64,
    name: String,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: std::hash::Hash + Eq> Repeats<K> {
    /// Lets a warning through, with the number left out before it; `None` to leave it out.
    fn pass(
        &mut self,
        key: K,
        now: Instant,
        name: impl FnOnce() -> String,
    ) -> Option<(String, u64)> {
        let seen = match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(seen) => seen.into_mut(),
            std::collections::hash_map::Entry::Vacant(first) => {
                let name = name();
                first.insert(Seen { last: now, left_out: 0, name: name.clone() });
                return Some((name, 0));
            }
        };
        if now.saturating_duration_since(seen.last) < EVERY {
            seen.left_out += 1;
            return None;
        }
        seen.last = now;
        Some((seen.name.clone(), std::mem::take(&mut seen.left_out)))
    }

    /// What was left out, and came last a while ago.
    fn overdue(&mut self, now: Instant) -> Vec<(String, u64)> {
        let overdue = |seen: &&mut Seen| {
            seen.left_out > 0 && now.saturating_duration_since(seen.last) >= EVERY
        };
        let told = |seen: &mut Seen| (seen.name.clone(), std::mem::take(&mut seen.left_out));
        self.0.values_mut().filter(overdue).map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_warning_comes_once_a_second_with_a_count_of_the_others() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let mut pass = |key, millis| {
            repeats.pass(key, start + Duration::from_millis(millis), || format!("warning {key}"))
        };
        assert_eq!(pass(1, 0), Some(("warning 1".to_owned(), 0)));
        assert_eq!(pass(2, 1), Some(("warning 2".to_owned(), 0)));
        for millis in 2..1000 {
            assert_eq!(pass(1, millis), None);
        }
        assert_eq!(pass(1, 1000), Some(("warning 1".to_owned(), 998)));
        assert_eq!(pass(1, 1001), None);
        assert_eq!(repeats.overdue(start + Duration::from_millis(1500)), []);
        let last = repeats.overdue(start + Duration::from_secs(2));
        assert_eq!(last, [("warning 1".to_owned(), 1)]);
        assert_eq!(repeats.overdue(start + Duration::from_secs(3)), []);
    }

    /// A writer that takes nothing until it is told to.
    struct Stuck(Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error means that everything is taken from now on.
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_takes_nothing_blocks_no_sender_and_the_lost_lines_are_counted() {
        let (open, closed) = mpsc::channel();
        let (written, texts) = mpsc::channel();
        let lines = Lines::start(Stuck(closed, written)).expect("a thread");
        // One is with the writer, or in the queue with the others.
        for _ in 0..QUEUE + 100 {
            lines.send(b"line\n".to_vec());
        }
        drop(open);
        drop(lines);
        let text: String =
            texts.iter().map(|bytes| String::from_utf8(bytes).expect("text")).collect();
        let came = text.lines().filter(|line| *line == "line").count();
        let lost: usize = text
            .lines()
            .filter_map(|line| line.strip_suffix(" lines were lost: standard error took nothing"))
            .map(|count| count.parse::<usize>().expect("a number"))
            .sum();
        assert_eq!(came + lost, QUEUE + 100);
        assert!(lost >= 99, "{lost}");
    }
}
