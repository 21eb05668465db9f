//! The trace is what a viewer takes for granted: times in order, ends for beginnings, nothing overlapping.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    report::{Progress, SCHEMA},
    run,
    scenario::Scenario,
};

fn run(name: &str, overrides: &[&str]) -> Results {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find(name, &overrides).expect("valid");
    run::run(&scenario, &Progress::silent()).expect("runs")
}

fn events(document: &Value) -> &Vec<Value> {
    document["traceEvents"].as_array().expect("a list")
}

/// Everything that a viewer takes for granted.
#[track_caller]
fn is_sound(document: &Value) {
    let mut last: BTreeMap<u64, f64> = BTreeMap::new();
    let mut open: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut busy: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    let mut arrows: BTreeMap<u64, i64> = BTreeMap::new();
    let named = |event: &Value| event["ph"] == "M";
    for event in events(document).iter().filter(|event| !named(event)) {
        let pid = event["pid"].as_u64().expect("a process");
        let ts = event["ts"].as_f64().expect("a time");
        let before = last.insert(pid, ts).unwrap_or_default();
        assert!(ts >= before, "time goes back: {event}");
        match event["ph"].as_str().expect("a phase") {
            phase @ ("b" | "e") => {
                let id = event["id"].as_str().expect("an identity").to_owned();
                let name = event["name"].as_str().expect("a name").to_owned();
                let spans = open.entry(id).or_default();
                if phase == "b" {
                    spans.push(name);
                } else {
                    let innermost = spans.iter().rposition(|span| *span == name);
                    spans.remove(innermost.unwrap_or_else(|| panic!("never began: {event}")));
                }
            }
            "X" => {
                let dur = event["dur"].as_f64().expect("a duration");
                let track = (pid, event["tid"].as_u64().expect("a track"));
                let free = busy.insert(track, ts + dur).unwrap_or_default();
                // Both were rounded to a double of microseconds.
                assert!(dur >= 0.0 && ts >= free - 1e-6, "overlaps on its track: {event}");
            }
            "s" => *arrows.entry(event["id"].as_u64().expect("one")).or_default() += 1,
            "f" => *arrows.entry(event["id"].as_u64().expect("one")).or_default() -= 1,
            "C" => assert!(event["args"]["value"].is_number()),
            "i" => {}
            phase => panic!("unknown phase {phase}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "spans that never end");
    assert!(arrows.values().all(|balance| *balance == 0), "arrows that lead nowhere");
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
fn every_row_is_a_process_and_the_size_is_bounded() {
    let overrides = ["clock=virtual", "load.handshakes=profiled", "load.seconds=0.5"];
    let results = run("offload-modes", &overrides);
    let document = trace(&results);
    is_sound(&document);
    let rows = events(&document).iter().filter(|event| event["name"] == "process_name");
    assert_eq!(rows.count(), results.rows.len());
    // Handshakes with one pause, requests with work and arrow, counters, names of tracks.
    assert!(events(&document).len() < results.rows.len() * 12 * Story::MOST);
    let labels: Vec<&str> =
        events(&document).iter().filter_map(|event| event["args"]["labels"].as_str()).collect();
    assert!(labels.iter().any(|label| label.contains("left out")), "{labels:?}");
}

#[test]
fn in_real_time_there_are_counters_and_a_word_why() {
    let mut results = crate::report::tests::results();
    results.timelines = vec![RowTimeline {
        mode: "async".to_owned(),
        at_s: vec![0.5, 1.5],
        handshakes_per_s: vec![10.0, 20.0],
        ..RowTimeline::default()
    }];
    let document = trace(&results);
    assert_eq!(results.schema, SCHEMA);
    is_sound(&document);
    assert_eq!(phases(&document), BTreeSet::from(["C", "M"]));
    assert!(document.to_string().contains("--clock virtual"));
}
