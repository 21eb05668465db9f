//! Virtual time: the same worker and engine as in real time, the same run every time.

use handshake_lab::{
    report::{Progress, Results, verdict},
    run,
    scenario::{BUILTINS, DEFAULT, SWARM, Scenario},
};

fn run(name: &str, overrides: &[&str]) -> Results {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find(name, &overrides).expect("valid");
    run::run(&scenario, &Progress::silent()).expect("runs")
}

const SMALL: [&str; 5] = [
    "clock=virtual",
    "load.connections=16",
    "load.seconds=0.1",
    "device.service=exponential",
    "row.async-1s.latency_ms=50",
];

#[track_caller]
fn is_good(results: &Results) {
    let verdict = verdict(results);
    assert!(verdict.good, "{}: {}", results.scenario, verdict.sentence);
}

#[test]
fn l9_the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let profiled = [&SMALL[..], &["load.handshakes=profiled"]].concat();
    let once = run(DEFAULT, &profiled);
    let twice = run(DEFAULT, &profiled);
    is_good(&once);
    assert!(once.trace_events.is_some_and(|events| events > 1_000));
    assert_eq!(once.trace_sha256, twice.trace_sha256);
    assert_eq!(once.rows, twice.rows);
    let other = run(DEFAULT, &[&profiled[..], &["seed=2"]].concat());
    assert_ne!(once.trace_sha256, other.trace_sha256);
}

#[test]
fn l9_real_tls_has_the_trace_of_its_outline() {
    let small = [&SMALL[..], &["load.connections=4", "load.seconds=0.1"]].concat();
    let real = run(DEFAULT, &small);
    is_good(&real);
    let outline = run(DEFAULT, &[&small[..], &["load.handshakes=profiled"]].concat());
    assert_eq!(real.trace_sha256, outline.trace_sha256);
}

#[test]
fn l11_a_worker_that_blocks_pauses_its_own_job() {
    let results = run(
        DEFAULT,
        &[&SMALL[..], &["load.handshakes=profiled", "server.workers=2", "device.service=fixed"]]
            .concat(),
    );
    is_good(&results);
    let blocking = results.rows.iter().find(|row| row.mode == "blocking").expect("a row");
    let parked = results.rows.iter().find(|row| row.mode == "async").expect("a row");
    // Two workers wait for 10 ms each time; sixteen sessions park at the same time.
    assert!((150.0..201.0).contains(&blocking.handshakes_per_s), "{}", blocking.handshakes_per_s);
    assert!(parked.handshakes_per_s > 4.0 * blocking.handshakes_per_s);
    assert!(results.laws.iter().any(|law| law.law == "L11" && law.checked > 0));
}

#[test]
fn every_fault_scenario_comes_out_as_it_says() {
    for builtin in BUILTINS.iter().filter(|b| ![DEFAULT, SWARM].contains(&b.name)) {
        let results = run(builtin.name, &["load.handshakes=profiled"]);
        is_good(&results);
        assert_eq!(results.clock, "virtual", "{}", builtin.name);
        assert!(results.cost_profile.is_some() && results.trace_sha256.is_some());
    }
}

#[test]
fn l12_a_corrupt_signature_of_a_real_key_does_not_leave_the_engine() {
    let results = run("corrupt-signature", &["load.connections=8"]);
    assert_eq!(results.rows[0].failed, 64 / 25);
    assert!(results.laws.iter().all(|law| law.held), "{:?}", results.laws);
}

#[test]
fn l14_software_signs_for_real_where_the_device_is_too_slow() {
    let results = run(
        "deadline-fallback",
        &[
            "load.connections=8",
            "expect.least_faults=4",
            "expect.least_fallbacks=4",
            "expect.least_late=1",
        ],
    );
    is_good(&results);
    assert_eq!((results.rows[0].handshakes, results.rows[0].failed), (64, 0));
}

#[test]
fn polling_comes_to_the_same_results_as_being_woken_and_wakes_nobody() {
    for handshakes in ["load.handshakes=real", "load.handshakes=profiled"] {
        let of = |wake| {
            let small =
                [&SMALL[..], &["load.rounds=2", "load.seconds=10", handshakes, wake]].concat();
            let results = run(DEFAULT, &small);
            is_good(&results);
            results
        };
        let (woken, polling) = (of("wake=ready"), of("wake=poll"));
        for (woken, polling) in woken.rows.iter().zip(&polling.rows) {
            let came_of = |row: &handshake_lab::report::RowReport| {
                (
                    row.mode.clone(),
                    row.handshakes,
                    row.failed,
                    row.unfinished,
                    row.ops,
                    row.cancelled,
                )
            };
            assert_eq!(came_of(woken), came_of(polling));
            assert_eq!(polling.resumes, polling.unprompted_resumes, "no resume had a wake");
        }
        let left =
            |results: &Results| results.ledger.entries().map(|(name, level)| (name, level.now));
        assert_eq!(left(&woken), left(&polling));
    }
}
