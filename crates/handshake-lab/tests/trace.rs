//! The trace is what a viewer takes for granted: times in order, ends for beginnings, nothing overlapping.

use std::collections::{BTreeMap, BTreeSet};

mod support;

use lab_report::{
    recording::{HandshakeTrace, RowTimeline},
    trace,
};
use serde_json::Value;

use support::run;

fn events(document: &Value) -> &Vec<Value> {
    document["traceEvents"].as_array().expect("a list")
}

/// Nanoseconds as Perfetto reads a number of microseconds: cut down (CoerceToTs in its importer of JSON).
#[track_caller]
fn nanos(value: &Value) -> i64 {
    let micros = value.as_f64().expect("a number");
    assert!(micros >= 0.0 && micros.is_finite(), "{micros}");
    (micros * 1_000.0) as i64
}

/// Everything that a viewer takes for granted: the rules of the Trace Event Format, and those by which Perfetto drops what
/// it cannot place.
#[track_caller]
fn is_sound(document: &Value) {
    let mut last: BTreeMap<u64, i64> = BTreeMap::new();
    let mut open: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut busy: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    let mut arrows: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
    let names = metadata(document);
    for event in events(document).iter().filter(|event| event["ph"] != "M") {
        let pid = event["pid"].as_u64().expect("a process");
        let tid = event["tid"].as_u64().expect("a track");
        assert!(names.contains(&(pid, None)), "a process without a name: {event}");
        assert!(event["name"].as_str().is_some_and(|name| !name.is_empty()), "{event}");
        let ts = nanos(&event["ts"]);
        let before = last.insert(pid, ts).unwrap_or_default();
        assert!(ts >= before, "time goes back: {event}");
        let phase = event["ph"].as_str().expect("a phase");
        if ["b", "e", "X", "s", "f", "i"].contains(&phase) {
            assert!(event["cat"].is_string(), "no category: {event}");
        }
        if ["b", "e", "X", "s", "f"].contains(&phase) {
            assert!(names.contains(&(pid, Some(tid))), "a track without a name: {event}");
        }
        match phase {
            "b" | "e" => {
                let id = event["id"].as_str().expect("an identity").to_owned();
                let name = event["name"].as_str().expect("a name").to_owned();
                let spans = open.entry(id).or_default();
                if phase == "b" {
                    spans.push(name);
                } else {
                    assert_eq!(spans.pop(), Some(name), "not the innermost: {event}");
                }
            }
            "X" => {
                let dur = nanos(&event["dur"]);
                let free = busy.insert((pid, tid), ts + dur).unwrap_or_default();
                assert!(ts >= free, "overlaps by {} ns on its track: {event}", free - ts);
            }
            "s" | "f" => {
                let end = busy.get(&(pid, tid)).expect("a slice that it is bound to");
                assert!(ts <= *end, "bound to no slice: {event}");
                let arrow = arrows.entry(event["id"].as_u64().expect("one")).or_default();
                let (change, at) = if phase == "s" { (1, ts) } else { (-1, arrow.1) };
                assert!(ts >= at, "leads back in time: {event}");
                *arrow = (arrow.0 + change, at);
            }
            "C" => assert!(event["args"]["value"].is_number()),
            "i" => {
                assert!(event["s"].as_str().is_some_and(|scope| ["g", "p", "t"].contains(&scope)))
            }
            phase => panic!("unknown phase {phase}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "spans that never end");
    assert!(arrows.values().all(|(balance, _)| *balance == 0), "arrows that lead nowhere");
}

/// The processes and tracks that have names.
#[track_caller]
fn metadata(document: &Value) -> BTreeSet<(u64, Option<u64>)> {
    let mut names = BTreeSet::new();
    for event in events(document).iter().filter(|event| event["ph"] == "M") {
        let pid = event["pid"].as_u64().expect("a process");
        let tid = event["tid"].as_u64().expect("a track");
        let args = &event["args"];
        match event["name"].as_str().expect("a name") {
            "process_name" => {
                assert!(args["name"].is_string() && names.insert((pid, None)), "{event}");
            }
            "thread_name" => {
                assert!(args["name"].is_string() && names.insert((pid, Some(tid))), "{event}");
            }
            "process_labels" => assert!(args["labels"].is_string(), "{event}"),
            "process_sort_index" => assert!(args["sort_index"].is_u64(), "{event}"),
            unknown => panic!("unknown metadata {unknown}"),
        }
    }
    names
}

fn phases(document: &Value) -> BTreeSet<&str> {
    events(document).iter().filter_map(|event| event["ph"].as_str()).collect()
}

#[test]
fn a_trace_in_virtual_time_has_every_kind_of_event_and_is_sound() {
    let document = trace(&run("device-reset", &["load.handshakes=profiled"]));
    is_sound(&document);
    assert_eq!(phases(&document), BTreeSet::from(["C", "M", "X", "b", "e", "f", "i", "s"]));
    let parked = events(&document).iter().filter(|event| event["name"] == "job parked");
    assert!(parked.count() > 100);
}

#[test]
fn slices_that_touch_do_not_overlap_in_a_viewer_that_cuts_to_nanoseconds() {
    // One unit that is never idle: each operation begins when the one before ends, at times that no double has exactly.
    let overrides = ["load.handshakes=profiled", "device.units=1", "device.latency_ms=0.123457"];
    is_sound(&trace(&run("device-reset", &[&overrides[..], &NOTHING_EXPECTED].concat())));
}

const NOTHING_EXPECTED: [&str; 3] =
    ["expect.least_failed=0", "expect.least_faults=0", "expect.most_failed=1000"];

#[test]
fn several_devices_and_kinds_make_a_sound_trace() {
    is_sound(&trace(&run("device-standby", &["load.handshakes=profiled"])));
    is_sound(&trace(&run("mixed-fleet", &["load.seconds=0.1"])));
}

#[test]
fn every_row_is_a_process_and_the_size_is_bounded() {
    let overrides = ["clock=virtual", "load.handshakes=profiled", "load.seconds=0.5"];
    let results = run("offload-modes", &overrides);
    let document = trace(&results);
    is_sound(&document);
    let rows = events(&document).iter().filter(|event| event["name"] == "process_name");
    assert_eq!(rows.count(), results.rows.len());
    // Handshakes with one pause, requests with work and arrow, counters, names of tracks.
    assert!(events(&document).len() < results.rows.len() * 12 * HandshakeTrace::MOST);
    let labels: Vec<&str> =
        events(&document).iter().filter_map(|event| event["args"]["labels"].as_str()).collect();
    assert!(labels.iter().any(|label| label.contains("left out")), "{labels:?}");
}

#[test]
fn in_real_time_there_are_counters_and_a_word_why() {
    let mut results = run("offload-modes", &["clock=virtual", "load.rounds=1"]);
    results.clock = "real".to_owned();
    results.handshake_traces.clear();
    results.timelines = vec![RowTimeline {
        name: "async".to_owned(),
        at_s: vec![0.5, 1.5],
        handshakes_per_s: vec![10.0, 20.0],
        ..RowTimeline::default()
    }];
    let document = trace(&results);
    is_sound(&document);
    assert_eq!(phases(&document), BTreeSet::from(["C", "M"]));
    assert!(document.to_string().contains("--clock virtual"));
}
