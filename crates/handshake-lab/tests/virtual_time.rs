//! Virtual time: the same worker and engine as in real time, the same run every time.

use std::collections::BTreeSet;

use lab_report::{Origin, Results, RowReport, verdict};

use handshake_lab::scenario::{BUILTINS, DEFAULT, Scenario};
use support::run;

mod support;

const SMALL: [&str; 5] = [
    "clock=virtual",
    "load.connections=16",
    "load.seconds=0.1",
    "device.service=exponential",
    "row.async-1s.latency_ms=50",
];

#[track_caller]
fn is_good(results: &Results) {
    let verdict = verdict(results, &Origin::default());
    assert!(verdict.good, "{}: {}", results.scenario, verdict.sentence);
}

/// The verdict in the words of the scenario.
fn sentence(results: &Results) -> String {
    let scenario = Scenario::find(&results.scenario, &[]).expect("a built-in scenario");
    let origin = Origin { verdict: scenario.verdict.as_deref(), ..Origin::default() };
    verdict(results, &origin).sentence
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
fn l9_real_tls_has_the_trace_of_profiled_handshakes() {
    let small = [&SMALL[..], &["load.connections=4", "load.seconds=0.1"]].concat();
    let real = run(DEFAULT, &small);
    is_good(&real);
    let profiled = run(DEFAULT, &[&small[..], &["load.handshakes=profiled"]].concat());
    assert_eq!(real.trace_sha256, profiled.trace_sha256);
}

#[test]
fn handshakes_by_replay_cost_a_rehearsal_more_and_a_stack_less() {
    let results = run(DEFAULT, &[&SMALL[..], &["load.handshakes=profiled"]].concat());
    is_good(&results);
    let [fiber, replay] = ["async", "async-replay"].map(|name| row(&results, name));
    assert!(replay.server_cpu_us_per_handshake > fiber.server_cpu_us_per_handshake);
    assert_eq!((fiber.parked_peak, replay.parked_peak), (16, 16));
    let [fiber, replay] = [fiber, replay].map(|row| row.parked_bytes.expect("of the profile"));
    assert!(fiber > 4.0 * replay, "{fiber} {replay}");
    // What real TLS does in its passes is seen only there.
    let real = run(DEFAULT, &SMALL);
    let law = real.laws.iter().find(|law| law.law == "L16").expect("checked");
    assert!(law.held && law.checked > 0);
}

#[test]
fn l11_a_worker_that_blocks_pauses_its_own_job() {
    let results = run(
        DEFAULT,
        &[&SMALL[..], &["load.handshakes=profiled", "server.workers=2", "device.service=fixed"]]
            .concat(),
    );
    is_good(&results);
    let blocking = results.rows.iter().find(|row| row.name == "blocking").expect("a row");
    let parked = results.rows.iter().find(|row| row.name == "async").expect("a row");
    // Two workers wait for 10 ms each time; sixteen sessions park at the same time.
    assert!((150.0..201.0).contains(&blocking.handshakes_per_s), "{}", blocking.handshakes_per_s);
    assert!(parked.handshakes_per_s > 4.0 * blocking.handshakes_per_s);
    assert!(results.laws.iter().any(|law| law.law == "L11" && law.checked > 0));
}

#[test]
fn every_scenario_in_virtual_time_comes_out_as_it_says() {
    for builtin in BUILTINS.iter().filter(|b| ![DEFAULT, "million-parked"].contains(&b.name)) {
        // A short form, where the whole takes seconds; the theory of a wait needs many.
        let short: &[&str] = match builtin.name {
            "million" => {
                &["load.total=3000", "expect.wait_within_percent=0", "load.handshakes=profiled"]
            }
            "million-in-flight" => &["load.connections=1024", "load.rounds=4", "device.units=1"],
            "batching" | "opportunistic" | "capacity" => &["load.seconds=0.3"],
            "slow-beside-fast" | "heartbeat" => &["load.seconds=0.3"],
            "polling-policies" | "hsm" | "kms" => &["load.seconds=1"],
            "usb-token" => &["load.seconds=8"],
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
fn l9_every_scenario_of_faults_holds_under_fifty_seeds_and_no_two_seeds_run_alike() {
    const OF_FAULTS: [&str; 9] = [
        "ring-full",
        "device-reset",
        "heartbeat-loss",
        "lost-completion",
        "late-completion",
        "corrupt-signature",
        "reorder",
        "peer-hangup",
        "deadline-fallback",
    ];
    for name in OF_FAULTS {
        let mut traces = BTreeSet::new();
        for seed in 1..=50 {
            let seed = format!("seed={seed}");
            let results = run(name, &["load.handshakes=profiled", &seed]);
            let verdict = verdict(&results, &Origin::default());
            assert!(verdict.good, "{name}, {seed}: {}", verdict.sentence);
            traces.insert(results.trace_sha256.expect("virtual time has a trace"));
        }
        assert_eq!(traces.len(), 50, "{name}: two seeds with one trace");
    }
}

fn row<'a>(results: &'a Results, name: &str) -> &'a RowReport {
    results.rows.iter().find(|row| row.name == name).expect("a row")
}

#[test]
fn a_batch_that_does_not_fill_waits_and_a_full_one_does_not() {
    let results = run("batching", &["load.seconds=1"]);
    let p50 = |name| row(&results, name).latency_ms.p50;
    assert!(p50("light") > 3.0 * p50("light-one-by-one"));
    assert!(p50("half-full") > 1.5 * p50("full"));
    assert!(p50("half-full-no-wait") < p50("half-full"));
    assert_eq!(row(&results, "light-one-by-one").mean_batch, None);
    assert!(row(&results, "full").mean_batch.is_some_and(|mean| mean > 12.0));
    assert!(row(&results, "half-full").mean_batch.is_some_and(|mean| mean < 12.0));
    let sentence = sentence(&results);
    assert!(sentence.starts_with("A batch that does not fill waits"), "{sentence}");
}

#[test]
fn a_full_ring_of_slow_ones_holds_up_the_fast_only_if_it_is_theirs_too() {
    let results = run("slow-beside-fast", &["load.seconds=1"]);
    // One in twenty is slow: the median is that of the fast.
    let p50 = |name| row(&results, name).latency_ms.p50;
    assert!(p50("own-rings") < 1.2 * p50("fast-alone"));
    assert!(p50("shared-ring") > 20.0 * p50("fast-alone"));
    assert!(row(&results, "own-rings").ring_full > 0);
}

#[test]
fn another_task_of_the_thread_is_late_beside_handshakes_that_wait_and_not_beside_parked_ones() {
    let results = run("heartbeat", &["load.seconds=0.3"]);
    let late = |name| row(&results, name).beat_late_ms.expect("there is one").p99;
    // A key takes 20 ms.
    assert!(late("blocking") > 18.0);
    assert!(late("idle") <= late("async") && late("async") < 1.0);
    let sentence = sentence(&results);
    assert!(sentence.starts_with("Another task of the thread was"), "{sentence}");
}

#[test]
fn software_signs_while_it_can_and_is_charged_for_it() {
    let results = run("opportunistic", &["load.seconds=1"]);
    let (always, never) = (row(&results, "always"), row(&results, "never"));
    let beyond = row(&results, "beyond-8");
    assert!(0 < beyond.not_offloaded && beyond.not_offloaded < beyond.ops);
    assert_eq!((always.not_offloaded, never.not_offloaded), (0, 0));
    assert!(beyond.latency_ms.p50 < always.latency_ms.p50);
    assert!(beyond.latency_ms.p99 < never.latency_ms.p99 / 2.0);
    // Each signature of its own costs the thread what it costs in the row of software.
    let sign = never.server_cpu_us_per_handshake - always.server_cpu_us_per_handshake;
    let share = beyond.not_offloaded as f64 / beyond.handshakes as f64;
    let own = beyond.server_cpu_us_per_handshake - always.server_cpu_us_per_handshake;
    assert!((own - share * sign).abs() < 1.0, "{own} {share} {sign}");
}

#[test]
fn heuristic_polling_comes_to_what_interrupts_come_to_without_any() {
    for handshakes in ["load.handshakes=real", "load.handshakes=profiled"] {
        let results = run(DEFAULT, &[&SMALL[..], &["load.rounds=2", handshakes]].concat());
        is_good(&results);
        let (woken, polled) = (row(&results, "async"), row(&results, "async-heuristic"));
        assert_eq!(woken.handshakes, polled.handshakes);
        assert!(polled.latency_ms.p99 < 1.2 * woken.latency_ms.p99, "{polled:?}");
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
fn polling_finds_the_same_results_as_wakes_without_any_wake() {
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
            let came_of = |row: &RowReport| {
                (
                    row.name.clone(),
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
        let row = results.rows.iter().find(|row| row.name == name);
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
        run("capacity", &["load.seconds=0.4", "load.burst=50", &arrivals]).rows[4].latency_ms.p99
    };
    assert!(p99("bursts") > 1.3 * p99("poisson"));
}

#[test]
fn a_ramp_that_ends_above_capacity_is_worse_than_one_that_does_not() {
    let p99 = |to: &str| {
        let to = format!("load.ramp_to_per_s={to}");
        run("kms", &["load.seconds=2", "load.arrivals=ramp", &to]).rows[0].latency_ms.p99
    };
    assert!(p99("3000") > 3.0 * p99("300"));
}
