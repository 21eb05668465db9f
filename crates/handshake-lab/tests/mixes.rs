//! Mixes of keys, versions and resumption: the same draws under both clocks, in TLS and profiled.

use std::collections::BTreeMap;

use lab_report::{KindReport, Origin, Progress, Results, RowReport, verdict};

use handshake_lab::{run, scenario::Scenario};

fn run(overrides: &[&str]) -> Results {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find("mixed-fleet", &overrides).expect("valid");
    run::run(&scenario, &Progress::silent()).expect("runs")
}

/// Few enough connections for real TLS without optimisations, and every kind of key among them.
const SMALL: [&str; 8] = [
    "load.connections=8",
    "load.rounds=12",
    "load.seconds=60",
    "mix.p256=40",
    "mix.rsa2048=20",
    "mix.p384=20",
    "mix.ed25519=20",
    "mix.resumed=50",
];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [&SMALL[..], more].concat()
}

#[track_caller]
fn is_good(results: &Results) {
    let verdict = verdict(results, &Origin::default());
    assert!(verdict.good, "{}", verdict.sentence);
}

fn count(row: &RowReport, of: impl Fn(&&KindReport) -> bool) -> u64 {
    row.kinds.iter().filter(of).map(|kind| kind.handshakes).sum()
}

/// Handshakes by key and version, whether resumed or not.
fn by_key_and_version(row: &RowReport) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for kind in &row.kinds {
        *counts.entry((kind.key.clone(), kind.tls.clone())).or_default() += kind.handshakes;
    }
    counts
}

#[test]
fn l9_real_tls_of_every_kind_has_the_trace_of_profiled_handshakes() {
    let real = run(&with(&["load.handshakes=real"]));
    is_good(&real);
    let profiled = run(&with(&[]));
    is_good(&profiled);
    assert_eq!(real.trace_sha256, profiled.trace_sha256);
    let [software, blocking, parked] = &real.rows[..] else { panic!("three rows") };
    for row in [software, blocking, parked] {
        assert_eq!(count(row, |_| true), 96, "{}", row.name);
        assert_eq!(by_key_and_version(row).len(), 8, "{}", row.name);
        let resumed = count(row, |kind| kind.resumed);
        assert!((20..60).contains(&resumed), "{resumed} of 96 resumed");
        // A resumed handshake needs no signature.
        let signed = if row.name == "software" { 0 } else { 96 - resumed };
        assert_eq!(row.ops, signed, "{}", row.name);
    }
}

#[test]
fn l12_a_mix_is_verified_handshake_by_handshake_in_real_time() {
    let mut overrides = with(&[
        "clock=real",
        "load.handshakes=real",
        "device.profile=custom",
        "device.latency_ms=1",
        "row.blocking.rounds=2",
    ]);
    overrides.push("server.workers=2");
    let results = run(&overrides);
    is_good(&results);
    let row = results.rows.iter().find(|row| row.name == "async").expect("a row");
    // The same numbers get the same kinds as in virtual time.
    let drawn = run(&with(&[]));
    let drawn = drawn.rows.iter().find(|row| row.name == "async").expect("a row");
    assert_eq!(by_key_and_version(row), by_key_and_version(drawn));
    let resumed = count(row, |kind| kind.resumed);
    assert!(resumed > 10, "{resumed} of {} resumed", row.handshakes);
    assert_eq!(row.ops, row.handshakes - resumed);
}

#[test]
fn another_seed_draws_another_mix_with_the_same_shares() {
    let overrides = ["load.seconds=0.3", "seed=1"];
    let (one, other) = (run(&overrides), run(&["load.seconds=0.3", "seed=2"]));
    is_good(&one);
    assert_ne!(one.trace_sha256, other.trace_sha256);
    for results in [one, other] {
        let row = results.rows.iter().find(|row| row.name == "async").expect("a row");
        let share = |of: fn(&&KindReport) -> bool| {
            let of_all = count(row, of) as f64 / row.handshakes as f64;
            (of_all * 100.0).round()
        };
        assert!((67.0..=73.0).contains(&share(|kind| kind.key == "p256")));
        assert!((12.0..=18.0).contains(&share(|kind| kind.tls == "1.2")));
        assert!((36.0..=42.0).contains(&share(|kind| kind.resumed)));
        // One signature by RSA takes the card longer, and over TLS 1.2 there is one more way there and back.
        let p50 = |key: &str, tls: &str, resumed: bool| {
            let is = |kind: &&KindReport| {
                (kind.key.as_str(), kind.tls.as_str(), kind.resumed) == (key, tls, resumed)
            };
            row.kinds.iter().find(is).expect("drawn").latency_ms.p50
        };
        assert!(p50("p256", "1.2", false) > p50("p256", "1.3", false));
        assert!(p50("rsa2048", "1.3", false) > p50("rsa2048", "1.3", true));
    }
}

#[test]
fn a_row_of_one_kind_has_no_table_of_kinds() {
    let results = run(&[
        "load.rounds=1",
        "load.key=rsa2048",
        "mix.p256=0",
        "mix.rsa2048=0",
        "load.tls=1.2",
        "mix.tls12=0",
        "mix.tls13=0",
        "load.resumption=none",
        "mix.resumed=0",
    ]);
    is_good(&results);
    assert!(results.rows.iter().all(|row| row.kinds.is_empty()));
}
