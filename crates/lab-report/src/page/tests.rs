//! What stands in the page of a run, and in which order.

use super::{super::tests::results, *};
use crate::{
    recording::{Quantile, RowTimeline},
    verdict::verdict,
};

const ORIGIN: Origin<'_> = Origin {
    question: "What does <waiting> cost?",
    summary: "One worker.",
    text: "name = \"x\" # a < b\n",
    command: "cargo xtask sim offload-modes --seed 1",
    verdict: Some("Parking served {async.handshakes_per_s:.0} handshakes a second"),
    next: "cargo xtask sim swarm",
};

fn page_of(results: &Results) -> String {
    report(results, &verdict(results, &ORIGIN), &ORIGIN)
}

fn timeline(mode: &str, device: bool) -> RowTimeline {
    let points = 12;
    let count = |of: fn(u64) -> u64| (0..points).map(of).collect::<Vec<_>>();
    let series = |scale: f64| (0..points).map(|n| scale * (10 + n % 3) as f64).collect::<Vec<_>>();
    let of_device = |values: Vec<f64>| if device { values } else { Vec::new() };
    RowTimeline {
        name: mode.to_owned(),
        ring_entries: device.then_some(64),
        units: device.then_some(64),
        at_s: (0..points).map(|n| 0.05 + 0.1 * n as f64).collect(),
        handshakes_per_s: series(400.0),
        failed: count(|_| 0),
        p50_ms: series(10.0).into_iter().map(Some).collect(),
        p99_ms: (0..points).map(|n| (n != 4).then_some(250.0)).collect(),
        in_flight: of_device(series(10.0)),
        waiting: of_device(series(0.0)),
        ring: of_device(series(5.0)),
        ring_most: if device { count(|_| 64) } else { Vec::new() },
        utilisation: of_device(series(0.08)),
        wakes_per_s: of_device(series(400.0)),
        ring_full: if device { count(|n| n) } else { Vec::new() },
        faults: if device { count(|_| 0) } else { Vec::new() },
        distribution: [0.0, 0.5, 0.9, 0.99, 1.0]
            .map(|share| Quantile { share, ms: 10.0 + share })
            .to_vec(),
    }
}

fn whole() -> Results {
    let mut results = results();
    results.timelines = vec![timeline("blocking", true), timeline("free-sign", false)];
    results
}

#[test]
fn the_verdict_comes_first_and_the_command_last() {
    let page = page_of(&whole());
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is in the page"));
    assert!(at("Parking served") < at("Rows side by side"));
    assert!(at("Rows side by side") < at("Throughput"));
    assert!(at("Throughput") < at("--seed 1</code>"));
    assert!(page.contains("a &lt; b") && page.contains("What does &lt;waiting&gt; cost?"));
}

#[test]
fn it_needs_nothing_from_anywhere() {
    let page = page_of(&whole());
    for foreign in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn every_plot_has_a_title_a_description_and_its_data() {
    let page = page_of(&whole());
    let figures: Vec<&str> = page.split("<figure>").skip(1).collect();
    assert!(figures.len() >= 8, "{}", figures.len());
    for figure in figures {
        let figure = figure.split("</figure>").next().expect("split gives one");
        for part in
            ["<title", "<desc", "role=\"img\"", "<polyline", "<details>", "class=\"legend\""]
        {
            assert!(figure.contains(part), "{part} in {}", &figure[..120.min(figure.len())]);
        }
    }
}

#[test]
fn what_only_some_rows_have_is_there_with_its_thousands_apart() {
    let mut results = whole();
    assert!(!page_of(&results).contains("What only some rows have"));
    results.rows[1].turned_away = 12_345;
    assert!(page_of(&results).contains("<td>12,345</td>"));
}

#[test]
fn what_never_happened_is_said_and_not_drawn() {
    let page = page_of(&whole());
    assert!(!page.contains("<h3>Faults so far"));
    assert!(page.contains("requests before a full ring; faults so far; failed handshakes so far."));
}

#[test]
fn many_rows_are_cut_into_plots_of_six() {
    let mut results = results();
    results.timelines = (0..8).map(|n| timeline(&format!("row-{n}"), false)).collect();
    assert_eq!(page_of(&results).matches("<h3>Throughput").count(), 2);
}

#[test]
fn a_broken_law_and_a_run_broken_off_are_seen_at_once() {
    let mut bad = whole();
    bad.laws[0].held = false;
    let page = page_of(&bad);
    assert!(page.contains("<strong>Bad.</strong> Broken law: L8."));
    assert!(page.contains(&format!("Next: <code>RUST_LOG=debug {}</code>", ORIGIN.command)));
    let mut partial = whole();
    partial.partial = true;
    assert!(page_of(&partial).contains("<strong>Partial.</strong>"));
}
