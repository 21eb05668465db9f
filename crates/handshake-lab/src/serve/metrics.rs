//! Metrics in Prometheus's text format, and health, on an address of their own.
//!
//! The pages are served by threads beside the workers, so that they answer while a worker is stuck. They speak HTTP without
//! TLS: give an address that only the monitoring reaches.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use engine_core::HistogramSnapshot;

use super::offload::Watched;
use crate::server::{
    Cause, LiveCounters,
    http::{self, Content, Parsed, Request, RequestTarget, Status},
};

#[derive(Debug, Clone)]
pub(super) struct MetricsSource {
    pub(super) live: Arc<LiveCounters>,
    /// `None` if the workers sign.
    pub(super) engine: Option<Watched>,
}

/// The listener of the metrics. It ends by [`end`](Self::end), or with the process.
#[derive(Debug)]
pub(super) struct Metrics {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// How long one request may take, answer included.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests answered at the same time; more are closed at once.
const MOST_REQUESTS: usize = 16;

impl Metrics {
    /// Serves the pages on a listening socket.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(listener: TcpListener, source: MetricsSource) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || accept(&listener, &source, &told))?;
        Ok(Self { address, ended, thread })
    }

    /// Closes the listener. Requests under way end by themselves.
    pub(super) fn end(self) {
        self.ended.store(true, Ordering::Release);
        // The thread sees the end with its next connection. Without one it is left to the end of the process.
        if TcpStream::connect_timeout(&self.address, Duration::from_millis(100)).is_ok() {
            // It has panicked if this fails, and the listener is closed as well.
            let _ = self.thread.join();
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn accept(listener: &TcpListener, source: &MetricsSource, ended: &AtomicBool) {
    let running = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if ended.load(Ordering::Acquire) {
            return;
        }
        let Ok((socket, _)) = accepted else {
            // Without descriptors every attempt fails at once.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if running.fetch_add(1, Ordering::AcqRel) >= MOST_REQUESTS {
            running.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (source, counted) = (source.clone(), Arc::clone(&running));
        let answered = thread::Builder::new().name("metrics-request".to_owned()).spawn(move || {
            // A client that is gone, or too slow, has no answer.
            let _ = answer(socket, &source);
            counted.fetch_sub(1, Ordering::AcqRel);
        });
        if answered.is_err() {
            running.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Answers one request and closes the connection.
fn answer(mut socket: TcpStream, source: &MetricsSource) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut received = Vec::new();
    let mut request = loop {
        match http::parse(&received) {
            Parsed::Request(request, _) => break request,
            Parsed::Bad(status) => break Request::refused(status),
            Parsed::Partial => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break Request::refused(Status::RequestTimeout);
                }
                socket.set_read_timeout(Some(left))?;
                let mut buffer = [0; 2048];
                match socket.read(&mut buffer)? {
                    0 => return Ok(()),
                    n => received.extend_from_slice(&buffer[..n]),
                }
            }
        }
    };
    request.keep_alive = false;
    let content = match (request.status, request.target) {
        (Status::Ok, RequestTarget::Metrics) => Content { kind: TEXT_FORMAT, text: page(source) },
        (Status::Ok, RequestTarget::Health) if source.live.is_draining() => {
            request.status = Status::Unavailable;
            Content::plain(String::new())
        }
        (Status::Ok, RequestTarget::Health) => Content::plain("ok\n".to_owned()),
        (Status::Ok, _) => Content::plain("/metrics and /health\n".to_owned()),
        _ => Content::plain(String::new()),
    };
    socket.write_all(&http::respond(&request, &content, SystemTime::now()))
}

/// The media type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn page(source: &MetricsSource) -> String {
    let live = &source.live;
    let timeouts = live.timeouts();
    let mut page = MetricsPage(String::new());
    page.counter("layby_connections_accepted_total", "Connections accepted.", live.accepted());
    page.gauge("layby_sessions", "Sessions there are now.", live.sessions() as u64);
    page.counter("layby_handshakes_total", "Handshakes completed.", live.handshakes());
    page.counter("layby_requests_total", "HTTP requests answered.", live.requests());
    page.head("layby_sessions_failed_total", "Sessions that ended in an error.", "counter");
    for cause in Cause::ALL {
        page.value("layby_sessions_failed_total", &[("cause", cause.name())], live.failures(cause));
    }
    page.head("layby_timeouts_total", "Sessions that waited too long for their peers.", "counter");
    for (phase, count) in [
        ("handshake", timeouts.handshakes),
        ("request", timeouts.requests),
        ("response", timeouts.responses),
        ("idle", timeouts.idle),
    ] {
        page.value("layby_timeouts_total", &[("phase", phase)], count);
    }
    page.counter(
        "layby_accept_pauses_total",
        "Pauses of accepting for want of descriptors.",
        live.accept_pauses(),
    );
    page.gauge("layby_draining", "1 while the server drains.", u64::from(live.is_draining()));
    if let Some(engine) = &source.engine {
        let snapshot = engine.stats();
        for (name, count) in snapshot.counters() {
            let name = format!("layby_engine_{name}_total");
            page.counter(&name, "A counter of the engine; docs/events.md explains it.", count);
        }
        page.gauge("layby_engine_requests", "Requests that exist now.", snapshot.requests.now);
        page.gauge(
            "layby_engine_waiters",
            "Requests that wait for the device.",
            snapshot.waiters.now,
        );
        for (name, help, times) in [
            ("queue_wait", "From submission to the device.", &snapshot.queue_wait),
            ("device_time", "From the device to its answer.", &snapshot.device_time),
            ("resume_delay", "From the answer to the session.", &snapshot.resume_delay),
        ] {
            page.summary(&format!("layby_engine_{name}_seconds"), help, times);
        }
    }
    page.0
}

struct MetricsPage(String);

impl MetricsPage {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let _ = match labels.as_slice() {
            [] => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.value(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.value(name, &[], value);
    }

    fn summary(&mut self, name: &str, help: &str, times: &HistogramSnapshot) {
        self.head(name, help, "summary");
        for (label, quantile) in [("0.5", 0.5), ("0.99", 0.99)] {
            let bound = times.quantile_bound(quantile).as_secs_f64();
            self.value(name, &[("quantile", label)], bound);
        }
        let count = times.count();
        self.value(&format!("{name}_sum"), &[], times.mean().as_secs_f64() * count as f64);
        self.value(&format!("{name}_count"), &[], count);
    }
}

#[cfg(test)]
mod tests {
    use crypto_ops::CryptoOp;
    use engine_core::Engine;

    use super::*;

    /// Whether a line is a sample of the text format: a name, labels, and a number.
    fn is_sample(line: &str) -> bool {
        let Some((series, value)) = line.rsplit_once(' ') else { return false };
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')),
            None => (series, Some("")),
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let is_label = |label: &str| {
            label.split_once('=').is_some_and(|(name, value)| {
                is_name(name) && value.len() > 2 && value.starts_with('"') && value.ends_with('"')
            })
        };
        is_name(name)
            && labels.is_some_and(|labels| labels.is_empty() || labels.split(',').all(is_label))
            && value.parse::<f64>().is_ok()
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_of_the_metric_above() {
        let device =
            engine_core::Inline::new(|op: &CryptoOp| Ok(crypto_ops::testing::fake_output(op)));
        let engine = Engine::builder(Arc::new(device)).build();
        let engine = Some(Watched::Operations(engine));
        let page = page(&MetricsSource { live: Arc::default(), engine });
        let mut metric = String::new();
        let mut seen = Vec::new();
        for line in page.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                metric = typed.split(' ').next().expect("a name").to_owned();
                assert!(!seen.contains(&metric), "{metric} is told twice");
                seen.push(metric.clone());
            } else if !line.starts_with("# HELP ") {
                assert!(is_sample(line), "{line}");
                assert!(line.starts_with(&metric), "{line} under {metric}");
            }
        }
        for name in
            ["layby_handshakes_total", "layby_engine_device_time_seconds", "layby_timeouts_total"]
        {
            assert!(seen.iter().any(|metric| metric == name), "{name} is missing");
        }
        assert!(page.ends_with('\n'));
    }
}
