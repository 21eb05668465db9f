//! The scenario `offload-modes`, small: every row runs to its end, every law is checked and holds, nothing is left.

use lab_report::{Progress, Results};

use handshake_lab::{
    run,
    scenario::{DEFAULT, Scenario},
};

/// Runs a small copy of the built-in scenario. The ledger of descriptors is the process's, so the runs of this binary
/// take turns.
fn run(overrides: &[&str]) -> Results {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let small = [
        "load.connections=24",
        "load.seconds=0.6",
        "load.hang_up_every=10",
        "device.latency_ms=5",
        "device.ring=4",
        "device.units=4",
        "row.async-1s.latency_ms=100",
    ];
    let overrides: Vec<String> =
        small.iter().chain(overrides).map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find(DEFAULT, &overrides).expect("valid");
    run::run(&scenario, &Progress::silent()).expect("runs")
}

/// What holds of every good run.
fn is_good(results: &Results) {
    for law in &results.laws {
        assert!(law.held && law.checked > 0, "{law:?}");
    }
    for row in &results.rows {
        assert_eq!(row.failed, 0, "{row:?}");
        assert!(row.handshakes > 0, "{row:?}");
        assert!(row.unfinished == 0 || row.name == "blocking", "{row:?}");
    }
    for (name, level) in results.ledger.entries() {
        assert_eq!(level.now, 0, "{name} left over");
    }
}

/// The laws that each run of it says something about.
const LAWS: [&str; 10] = ["L2", "L3", "L4", "L5", "L7", "L8", "L11", "L12", "L13", "L16"];

fn laws(results: &Results) -> Vec<&str> {
    results.laws.iter().map(|law| law.law.as_str()).collect()
}

#[test]
fn every_law_that_applies_is_checked_and_holds() {
    let results = run(&[]);
    is_good(&results);
    assert_eq!(laws(&results), LAWS);
    let modes: Vec<&str> = results.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        modes,
        [
            "software",
            "blocking",
            "async",
            "async-replay",
            "async-heuristic",
            "free-sign",
            "async-1s"
        ]
    );
}

#[test]
fn all_connections_are_parked_at_once_when_the_device_takes_them_all() {
    // A client that hangs up may end before the last one connects.
    let stay = "load.hang_up_every=0";
    let results = run(&["load.connections=64", "row.async-1s.latency_ms=1000", stay]);
    is_good(&results);
    assert_eq!(results.ledger.jobs.peak, 64);
    // A request may outlive its wake by a moment, and so overlap with the next.
    assert!(results.ledger.requests.peak >= 64);
}

#[test]
fn l16_handshakes_by_replay_take_no_job_and_wait_as_well_as_others() {
    let mixed = [
        "server.parking=replay",
        "load.key=mix",
        "mix.p256=40",
        "mix.p384=20",
        "mix.ed25519=20",
        "mix.rsa2048=20",
        "load.tls=mix",
        "mix.tls12=50",
        "mix.tls13=50",
        "load.resumption=tickets",
        "mix.resumed=30",
    ];
    let results = run(&mixed);
    is_good(&results);
    assert_eq!((results.ledger.jobs.peak, results.ledger.stacks.peak), (0, 0));
    let parked = results.rows.iter().find(|row| row.name == "async-replay").expect("a row");
    assert!(parked.parked_peak > 4 && parked.wakes > 0, "{parked:?}");
    assert!(results.laws.iter().any(|law| law.law == "L16" && law.checked > 0));
}

#[test]
fn every_handshake_ends_behind_a_full_ring() {
    let results = run(&["device.ring=1", "device.units=1", "device.latency_ms=1"]);
    is_good(&results);
    let parked = results.rows.iter().find(|row| row.name == "async").expect("there");
    assert!(parked.ring_full > 0, "{parked:?}");
    assert!(results.ledger.waiters.peak > 0);
}

#[test]
fn every_way_of_polling_comes_to_its_end() {
    for polling in ["interval", "inline"] {
        let results =
            run(&["load.rounds=2", "load.seconds=30", &format!("device.polling={polling}")]);
        is_good(&results);
    }
}

#[test]
fn software_signs_while_few_handshakes_are_under_way_and_the_device_beyond() {
    let results = run(&[
        "load.rounds=2",
        "load.seconds=30",
        "engine.fallback=software",
        "engine.offload_beyond=4",
        "row.async-1s.connections=2",
    ]);
    is_good(&results);
    let of = |name: &str| results.rows.iter().find(|row| row.name == name).expect("a row");
    // Twenty-four connections are more than four, two are not.
    assert!(of("async").ops > of("async").not_offloaded, "{:?}", of("async"));
    let few = of("async-1s");
    assert_eq!((few.ops, few.not_offloaded, few.wakes), (2, 2, 0), "{few:?}");
}

#[test]
fn tls_1_2_and_rsa_hold_the_same_laws() {
    is_good(&run(&["load.tls=1.2", "load.key=rsa2048"]));
}

#[test]
fn several_workers_share_one_device() {
    let results = run(&["server.workers=2", "device.service=exponential"]);
    is_good(&results);
    assert!(results.rows.iter().all(|row| row.workers == 2));
}

#[test]
fn every_way_of_waking_holds_the_same_laws_and_empties_the_same_ledger() {
    for wake in ["ready", "fd", "callback", "poll"] {
        let results = run(&["load.seconds=0.4", &format!("wake={wake}")]);
        is_good(&results);
        assert_eq!(laws(&results), LAWS);
        assert!(results.rows.iter().all(|row| row.wake == wake));
        let parked = results.rows.iter().find(|row| row.name == "async").expect("a row");
        assert_eq!(wake == "poll", parked.resumes == parked.unprompted_resumes, "{parked:?}");
        let fds = results.ledger.fds.peak;
        assert!(wake != "fd" || fds > 0, "{wake}: {fds} descriptors");
    }
}
