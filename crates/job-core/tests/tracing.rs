//! The events and spans of jobs. In a process of its own, since the maximum level is a setting of the
//! process.

use std::fmt;
use std::sync::{Arc, Mutex};

use job_core::{Job, JobPool, Pause, Step, current, pause};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber, info};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Records spans and events, a line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// The fields of a span, as text.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &match field.name() {
            "message" => format!(" {value:?}"),
            name => format!(" {name}={value:?}"),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        let metadata = attributes.metadata();
        self.note(format!("new {} {}{}", metadata.target(), metadata.name(), fields.0));
        let span = context.span(id).expect("a span that was just made");
        span.extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let at = context.event_span(event).map_or_else(|| "nowhere".into(), |span| named(&span));
        self.note(format!("{}{} in {at}", event.metadata().level(), fields.0));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.note(format!("enter {}", named(&context.span(id).expect("an open span"))));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.note(format!("leave {}", named(&context.span(id).expect("an open span"))));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.note(format!("close {}", named(&context.span(&id).expect("a span being closed"))));
    }
}

/// The name of a span with its fields.
fn named<'a, S: LookupSpan<'a>>(span: &tracing_subscriber::registry::SpanRef<'a, S>) -> String {
    let extensions = span.extensions();
    let fields = extensions.get::<Fields>().map_or("", |fields| &fields.0);
    format!("{}{fields}", span.name())
}

/// Runs `f` with a log of this thread at `level` and above.
fn logged(level: Level, f: impl FnOnce(&Log)) {
    let log = Log::default();
    let filter = tracing_subscriber::filter::LevelFilter::from_level(level);
    let subscriber = tracing_subscriber::registry().with(log.clone().with_filter(filter));
    tracing::subscriber::with_default(subscriber, || f(&log));
}

fn paused<T>(step: Step<T>) -> Job<T> {
    step.paused().expect("the job has paused")
}

fn start_paused<T: 'static>(pool: &JobPool, f: impl FnOnce() -> T + 'static) -> Job<T> {
    paused(pool.start(f).unwrap())
}

#[test]
fn a_job_has_one_span_entered_at_every_resume_and_left_at_every_pause() {
    logged(Level::DEBUG, |log| {
        let pool = JobPool::new();
        let job = start_paused(&pool, || {
            info!("one");
            let _ = pause();
            info!("two");
            let _ = pause();
        });
        let id = job.id();
        let (enter, leave) = (format!("enter job job={id}"), format!("leave job job={id}"));
        let new = format!("new job_core job job={id}");
        let (one, two) = (format!("INFO one in job job={id}"), format!("INFO two in job job={id}"));
        assert_eq!(log.take(), [&new, &enter, &one, &leave].map(String::as_str));
        info!("outside");
        assert_eq!(log.take(), ["INFO outside in nowhere"]);
        let job = paused(job.resume());
        assert_eq!(log.take(), [&enter, &two, &leave].map(String::as_str));
        assert_eq!(job.resume().finished(), Some(()));
        let close = format!("close job job={id}");
        assert_eq!(log.take(), [&enter, &leave, &close].map(String::as_str));
    });
}

#[test]
fn an_event_belongs_to_the_innermost_job_that_runs() {
    logged(Level::DEBUG, |log| {
        let pool = JobPool::new();
        let outer_pool = pool.clone();
        let outer = start_paused(&pool, move || {
            let inner = start_paused(&outer_pool, || {
                let _ = pause();
                info!("inner");
            });
            let (own, inner_id) = (current().unwrap().id(), inner.id());
            assert_ne!(own, inner_id);
            let _ = pause();
            info!("before");
            assert_eq!(inner.resume().finished(), Some(()));
            info!("after");
            inner_id
        });
        let id = outer.id();
        let other = start_paused(&pool, pause);
        log.take();
        let inner = outer.resume().finished().unwrap();
        let events: Vec<_> = log.take().into_iter().filter(|line| line.contains("INFO")).collect();
        let expected = [("before", id), ("inner", inner), ("after", id)];
        assert_eq!(events, expected.map(|(what, id)| format!("INFO {what} in job job={id}")));
        info!("outside");
        assert_eq!(log.take(), ["INFO outside in nowhere"]);
        assert_eq!(other.resume().finished(), Some(Pause::Resumed));
    });
}

#[test]
fn a_cancel_is_logged_and_the_span_ends_with_the_job() {
    logged(Level::DEBUG, |log| {
        let pool = JobPool::new();
        let job = start_paused(&pool, pause);
        let id = job.id();
        log.take();
        assert_eq!(job.cancel(), Some(Pause::Cancelled));
        let expected = [
            format!("DEBUG job.cancel job={id} in nowhere"),
            format!("enter job job={id}"),
            format!("leave job job={id}"),
            format!("close job job={id}"),
        ];
        assert_eq!(log.take(), expected);
    });
}

#[test]
fn a_job_in_quarantine_is_logged_as_a_warning() {
    logged(Level::WARN, |log| {
        let pool = JobPool::new();
        let job = start_paused(&pool, || while pause() != Pause::NotInJob {});
        let id = job.id();
        drop(job);
        let expected = format!(
            "WARN job.quarantined job={id} unwinds=0 reason=\"it paused again and again\" in nowhere"
        );
        assert_eq!(log.take(), [expected]);
        assert_eq!(pool.stats().quarantined, 1);
    });
}

#[test]
fn a_pool_with_less_stack_than_cryptography_needs_is_logged_once() {
    logged(Level::WARN, |log| {
        for bytes in [20_000, 20_000, 128 * 1024, 256 * 1024] {
            drop(JobPool::builder().stack_size(bytes).build().unwrap());
        }
        drop(JobPool::new());
        let expected = "pool.small_stacks stack_size=20000 measured_need=131072";
        assert_eq!(log.take(), [format!("WARN {expected} in nowhere")]);
    });
}

#[test]
fn a_panic_leaves_the_span_and_closes_it() {
    logged(Level::DEBUG, |log| {
        let pool = JobPool::new();
        let job = start_paused(&pool, || {
            let _ = pause();
            std::panic::resume_unwind(Box::new("out"));
        });
        let id = job.id();
        log.take();
        let resumed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.resume()));
        assert!(resumed.is_err());
        let expected = ["enter", "leave", "close"].map(|what| format!("{what} job job={id}"));
        assert_eq!(log.take(), expected);
        info!("outside");
        assert_eq!(log.take(), ["INFO outside in nowhere"]);
    });
}

#[test]
fn without_a_subscriber_at_debug_there_is_no_span() {
    logged(Level::INFO, |log| {
        let pool = JobPool::new();
        let job = start_paused(&pool, || {
            let _ = pause();
            info!("inside");
        });
        drop(job);
        assert_eq!(log.take(), ["INFO inside in nowhere"]);
    });
}
