//! `trace.json`: a run in the Trace Event Format, for Perfetto (ui.perfetto.dev) and `chrome://tracing`.
//!
//! ```text
//!   process = row      handshakes       nestable spans: the handshake, and in it the times that its job was parked
//!                      ring 0, 1, ...   requests from submission until the software has taken the response
//!                      unit 0, 1, ...   requests at work; an arrow leads there from the submission
//!                      faults           instants
//!                      counters         the series of the report
//! ```
//!
//! Handshakes, requests and faults are the first ones of each row, and only in virtual time, where tracing costs the run
//! nothing; the label of the process says how many are left out. In real time there are only the counters.

use std::time::Duration;

use serde_json::{Value, json};

use super::results::Results;
use crate::recording::{Entry, HandshakeEnd, HandshakeTrace, RowTimeline};

/// Track of the handshakes.
const HANDSHAKES: u64 = 1;
/// Tracks of ring entries; a trace has at most [`HandshakeTrace::MOST`] requests.
const RINGS: u64 = 10_000;
/// Tracks of units.
const UNITS: u64 = 20_000;

/// Writes a run in the Trace Event Format, the document `trace.json`.
pub fn trace(results: &Results) -> Value {
    let mut events = Vec::new();
    for (row, timeline) in results.timelines.iter().enumerate() {
        let process = Process { pid: row as u64 + 1, prefix: row };
        let mut timed = Vec::new();
        process.counters(timeline, &mut timed);
        let label = match results.handshake_traces.get(row) {
            Some(first) => {
                process.handshakes(first, &mut events, &mut timed);
                left_out(first)
            }
            None => "real time: counters only; --clock virtual traces each handshake".to_owned(),
        };
        events.push(process.named("process_name", 0, &timeline.name));
        events.push(json!({"ph": "M", "name": "process_labels", "pid": process.pid, "tid": 0,
            "args": {"labels": label}}));
        events.push(json!({"ph": "M", "name": "process_sort_index", "pid": process.pid, "tid": 0,
            "args": {"sort_index": row}}));
        // Stable: of things at one time, the order is that in which they were told.
        timed.sort_by_key(|(at, _)| *at);
        events.extend(timed.into_iter().map(|(_, event)| event));
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {"scenario": results.scenario, "seed": results.seed, "clock": results.clock},
        "traceEvents": events,
    })
}

fn left_out(first: &HandshakeTrace) -> String {
    let told = [
        ("handshakes", first.handshakes.len(), first.handshakes_left_out),
        ("requests", first.entries.len(), first.entries_left_out),
        ("faults", first.strikes.len(), first.strikes_left_out),
    ];
    let parts: Vec<String> = told
        .into_iter()
        .map(|(what, told, left_out)| match left_out {
            0 => format!("all {told} {what}"),
            _ => format!("the first {told} {what}, {left_out} left out"),
        })
        .collect();
    parts.join("; ")
}

type Timed = Vec<(Duration, Value)>;

#[derive(Debug, Clone, Copy)]
struct Process {
    pid: u64,
    /// Makes identities unique among rows.
    prefix: usize,
}

impl Process {
    fn named(self, what: &str, tid: u64, name: &str) -> Value {
        json!({"ph": "M", "name": what, "pid": self.pid, "tid": tid, "args": {"name": name}})
    }

    fn counters(self, row: &RowTimeline, timed: &mut Timed) {
        let percent = |share: &Vec<f64>| share.iter().map(|share| 100.0 * share).collect();
        let series: [(&str, Vec<f64>); 4] = [
            ("handshakes a second", row.handshakes_per_s.clone()),
            ("requests in flight", row.in_flight.clone()),
            ("ring entries in use", row.ring.clone()),
            ("units at work, %", percent(&row.utilisation)),
        ];
        for (name, values) in series {
            for (at, value) in row.at_s.iter().zip(values) {
                let at = Duration::from_secs_f64(*at);
                let event = json!({"ph": "C", "name": name, "pid": self.pid, "tid": 0,
                    "ts": micros(at), "args": {"value": value}});
                timed.push((at, event));
            }
        }
    }

    fn handshakes(self, first: &HandshakeTrace, names: &mut Vec<Value>, timed: &mut Timed) {
        let end = first.end();
        for (number, handshake) in first.handshakes.iter().enumerate() {
            let id = format!("{}.{number}", self.prefix);
            let (ended, how) = match handshake.ended {
                Some((at, HandshakeEnd::Done)) => (at, "done"),
                Some((at, HandshakeEnd::Failed)) => (at, "failed"),
                Some((at, HandshakeEnd::HungUp)) => (at, "hung up"),
                None => (end, "not over"),
            };
            let mut edge = |phase: &str, name: &str, at: Duration, args: Value| {
                let event = json!({"ph": phase, "cat": "handshake", "name": name, "id": id,
                    "pid": self.pid, "tid": HANDSHAKES, "ts": micros(at), "args": args});
                timed.push((at, event));
            };
            // The client may be done before the server's job is; it is shown as long as either is.
            let parked = handshake.parked.iter().map(|(from, to)| (*from, to.unwrap_or(ended)));
            let parked: Vec<_> = parked.map(|(from, to)| (from, to.max(from))).collect();
            let ended = parked.iter().map(|(_, to)| *to).fold(ended, Duration::max);
            let ended = ended.max(handshake.opened);
            let args = json!({"connection": number, "worker": handshake.worker, "end": how});
            // What is inside ends first, also at the same time: of things at one time the order stays.
            edge("b", "handshake", handshake.opened, args);
            for (from, to) in parked {
                edge("b", "job parked", from, json!({}));
                edge("e", "job parked", to, json!({}));
            }
            edge("e", "handshake", ended, json!({}));
        }
        if !first.handshakes.is_empty() {
            names.push(self.named("thread_name", HANDSHAKES, "handshakes"));
        }
        self.requests(first, end, names, timed);
        for strike in &first.strikes {
            let event = json!({"ph": "i", "s": "p", "cat": "fault", "name": strike.what,
                "pid": self.pid, "tid": 0, "ts": micros(strike.at)});
            timed.push((strike.at, event));
        }
    }

    fn requests(
        self,
        first: &HandshakeTrace,
        end: Duration,
        names: &mut Vec<Value>,
        timed: &mut Timed,
    ) {
        let (mut rings, mut units) = (Lanes::default(), Lanes::default());
        // Lanes are given in the order of time. Devices tell of theirs one after the other, and work starts in the order of
        // submission within a class only.
        let mut started: Vec<(Duration, &Entry, u64)> = Vec::new();
        let mut submitted: Vec<(usize, &Entry)> = first.entries.iter().enumerate().collect();
        submitted.sort_by_key(|(number, entry)| (entry.submitted, *number));
        for (number, entry) in submitted {
            let to = entry.drained.unwrap_or(end).max(entry.submitted);
            let ring = RINGS + rings.take(entry.submitted, to);
            let id = (self.prefix * 2 * HandshakeTrace::MOST + number) as u64;
            let name = format!("request {}", entry.tag);
            let args = json!({"device": entry.device, "instance": entry.instance});
            self.slice(timed, ring, &name, entry.submitted, to, args);
            if let Some(at) = entry.started {
                self.arrow(timed, "s", id, ring, entry.submitted);
                started.push((at, entry, id));
            }
        }
        started.sort_by_key(|(at, _, id)| (*at, *id));
        for (at, entry, id) in started {
            let to = entry.finished.or(entry.drained).unwrap_or(end).max(at);
            let unit = UNITS + units.take(at, to);
            self.slice(timed, unit, &format!("work on {}", entry.tag), at, to, json!({}));
            self.arrow(timed, "f", id, unit, at);
        }
        for (base, lanes, what) in [(RINGS, &rings, "ring"), (UNITS, &units, "unit")] {
            for lane in 0..lanes.0.len() as u64 {
                names.push(self.named("thread_name", base + lane, &format!("{what} {lane}")));
            }
        }
    }

    fn slice(
        self,
        timed: &mut Timed,
        tid: u64,
        name: &str,
        from: Duration,
        to: Duration,
        args: Value,
    ) {
        let event = json!({"ph": "X", "cat": "device", "name": name, "pid": self.pid, "tid": tid,
            "ts": micros(from), "dur": (to - from).as_secs_f64() * 1e6, "args": args});
        timed.push((from, event));
    }

    fn arrow(self, timed: &mut Timed, phase: &str, id: u64, tid: u64, at: Duration) {
        let event = json!({"ph": phase, "bp": "e", "cat": "device", "name": "submit", "id": id,
            "pid": self.pid, "tid": tid, "ts": micros(at)});
        timed.push((at, event));
    }
}

/// Tracks on which slices do not overlap; each has the time from which it is free.
#[derive(Debug, Default)]
struct Lanes(Vec<Duration>);

impl Lanes {
    /// The first track that is free from `from` on, taken until `to`.
    fn take(&mut self, from: Duration, to: Duration) -> u64 {
        let lane = self.0.iter().position(|free| *free <= from).unwrap_or_else(|| {
            self.0.push(Duration::ZERO);
            self.0.len() - 1
        });
        self.0[lane] = to;
        lane as u64
    }
}

/// A moment in microseconds. A quarter of a nanosecond is put on top, because Perfetto cuts down to whole ones: a moment
/// that came out one too early would lie inside the slice that ends there, and of two slices that overlap it drops one.
#[expect(clippy::cast_precision_loss, reason = "a double has nanoseconds for 100 days")]
fn micros(time: Duration) -> f64 {
    (time.as_nanos() as f64 + 0.25) / 1e3
}
