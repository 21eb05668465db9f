//! The shape of `results.json`, and what is said of a run.

use super::*;

pub(super) fn results() -> Results {
    let row = |mode: &str, rate: f64, cpu: f64| RowReport {
        name: mode.to_owned(),
        workers: 1,
        threads: 2,
        wake: "ready".to_owned(),
        handshakes: 100,
        elapsed_s: 2.0,
        handshakes_per_s: rate,
        latency_ms: LatencyMs { p50: 1.0, p99: 2.0, p999: 3.0, max: 4.0 },
        server_cpu_us_per_handshake: cpu,
        device_utilisation: Some(0.5),
        ..RowReport::default()
    };
    Results {
        schema: SCHEMA.to_owned(),
        machine: Machine {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 2,
            cpu: None,
            optimised: true,
            commit: Some("0123456789ab".to_owned()),
        },
        scenario: "offload-modes".to_owned(),
        seed: 1,
        clock: "real".to_owned(),
        rows: vec![
            row("blocking", 100.0, 200.0),
            row("async", 4_000.0, 120.0),
            row("free-sign", 4_400.0, 100.0),
        ],
        ledger: Ledger { jobs: LedgerLevel { now: 0, peak: 7 }, ..Ledger::default() },
        laws: vec![LawReport { law: "L8".to_owned(), checked: 18, held: true, detail: None }],
        ..Results::default()
    }
}

#[test]
fn the_schema_is_as_committed() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&results()).expect("plain data"));
}

#[test]
fn a_document_reads_back_as_itself() {
    let text = serde_json::to_string(&results()).expect("plain data");
    assert_eq!(serde_json::from_str::<Results>(&text).expect("its own shape"), results());
}

#[test]
fn the_table_is_as_committed() {
    insta::assert_snapshot!(table(&results()));
}

#[test]
fn a_good_run_is_praised_with_its_gain() {
    let words = "Parking served {async/blocking.handshakes_per_s:.0} times as many at \
                 {async/free-sign.server_cpu_us_per_handshake} times the serving CPU";
    let origin = Origin { verdict: Some(words), next: "next", ..Origin::default() };
    let verdict = verdict(&results(), &origin);
    assert!(verdict.good);
    assert_eq!(verdict.next.as_deref(), Some("next"));
    let begin =
        "Parking served 40 times as many at 1.20 times the serving CPU; none failed and all ";
    assert!(verdict.sentence.starts_with(begin), "{}", verdict.sentence);
}

#[test]
fn a_verdict_may_name_the_size_of_batches() {
    let mut batched = results();
    batched.rows[1].batch = 16;
    let origin = Origin { verdict: Some("at most {async.batch:.0} at once"), ..Origin::default() };
    assert!(verdict(&batched, &origin).sentence.starts_with("at most 16 at once; "));
}

#[test]
fn a_verdict_whose_figures_are_missing_counts_handshakes() {
    for words in ["{nowhere.ops}", "{async.nothing}", "{async/nowhere.ops}", "{async", "{async}"] {
        let origin = Origin { verdict: Some(words), ..Origin::default() };
        let sentence = verdict(&results(), &origin).sentence;
        assert!(sentence.contains(" handshakes, none failed, and all "), "{words}: {sentence}");
    }
}

#[test]
fn a_broken_law_is_named_before_failed_handshakes() {
    let mut bad = results();
    bad.rows[1].failed = 3;
    assert_eq!(
        verdict(&bad, &Origin::default()).sentence,
        "3 of 103 handshakes failed in row \"async\", and none should."
    );
    bad.laws[0].held = false;
    bad.laws[0].detail = Some("row async: 1 jobs left over".to_owned());
    let verdict = verdict(&bad, &Origin::default());
    assert!(!verdict.good);
    assert_eq!(verdict.sentence, "Broken law: L8 (row async: 1 jobs left over).");
}

#[test]
fn results_go_where_they_are_asked_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = ReportDir::create(Some(&directory.path().join("new")), "unused").expect("made");
    let origin = Origin { question: "?", ..Origin::default() };
    let file = made.write(&results(), &verdict(&results(), &origin), &origin).expect("written");
    let page = std::fs::read_to_string(&file).expect("there");
    assert!(page.starts_with("<!doctype html>"));
    let text = std::fs::read_to_string(file.with_file_name("results.json")).expect("there");
    assert_eq!(serde_json::from_str::<Results>(&text).expect("its own shape"), results());

    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").expect("written");
    let error = ReportDir::create(Some(&blocked), "unused").expect_err("a file is in the way");
    assert!(error.to_string().contains("--report"), "{error}");
}
