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
fn every_scenario_in_virtual_time_comes_out_as_it_says() {
    for builtin in BUILTINS.iter().filter(|b| ![DEFAULT, SWARM].contains(&b.name)) {
        // A short form, where the whole takes seconds; the theory of a wait needs many.
        let short: &[&str] = match builtin.name {
            "million" => {
                &["load.total=20000", "expect.wait_within_percent=0", "load.handshakes=profiled"]
            }
            "polling-policies" | "hsm" | "kms" | "capacity" => &["load.seconds=2"],
            "usb-token" => &["load.seconds=20"],
            "published-shapes" | "mixed-fleet" => &["load.seconds=0.3"],
            _ => &["load.handshakes=profiled"],
        };
        let results = run(builtin.name, short);
        is_good(&results);
        assert!(results.laws.iter().any(|law| law.law == "L9" && law.checked > 0));
        assert!(results.ledger.entries().iter().all(|(_, level)| level.now == 0));
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

#[test]
fn the_published_order_of_ways_to_offload_comes_out() {
    let results = run("published-shapes", &["load.seconds=0.5"]);
    let rate = |name: &str| {
        let row = results.rows.iter().find(|row| row.mode == name);
        row.expect("a row").handshakes_per_s
    };
    assert!(rate("blocking") < 2.0 * rate("software"));
    assert!(rate("async") > 3.0 * rate("software") && rate("async") > 3.0 * rate("blocking"));
}

#[test]
fn clients_that_find_all_connections_open_are_turned_away() {
    let small = ["load.connections=4", "load.seconds=1", "latency_ms=50", "rate_per_s=500"];
    let results = run("polling-policies", &small);
    for row in &results.rows {
        assert!(row.turned_away > 0 && row.failed == 0, "{row:?}");
        assert!(row.handshakes + row.turned_away > 400);
    }
    assert!(results.ledger.jobs.peak <= 4);
}

#[test]
fn bursts_wait_longer_than_single_clients_at_the_same_rate() {
    let p99 = |arrivals: &str| {
        let arrivals = format!("load.arrivals={arrivals}");
        run("capacity", &["load.seconds=2", "load.burst=50", &arrivals]).rows[4].latency_ms.p99
    };
    assert!(p99("bursts") > 1.3 * p99("poisson"));
}

#[test]
fn a_ramp_that_ends_above_capacity_is_worse_than_one_that_does_not() {
    let p99 = |to: &str| {
        let to = format!("load.ramp_to_per_s={to}");
        run("kms", &["load.seconds=4", "load.arrivals=ramp", &to]).rows[0].latency_ms.p99
    };
    assert!(p99("3000") > 3.0 * p99("300"));
}
