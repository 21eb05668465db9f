//! Several devices in one scenario: which signs for which connection, and which stands in.

use lab_report::{DeviceRow, Origin, Progress, Results, RowReport, verdict};

use handshake_lab::{run, scenario::Scenario};

fn go(scenario: &Scenario) -> Results {
    let results = run::run(scenario, &Progress::silent()).expect("runs");
    let verdict = verdict(&results, &Origin::default());
    assert!(verdict.good, "{}", verdict.sentence);
    results
}

fn built_in(name: &str, overrides: &[&str]) -> Results {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    go(&Scenario::find(name, &overrides).expect("valid"))
}

/// One row in virtual time, 320 profiled handshakes, with these devices.
fn with(devices: &str) -> Results {
    let head = "name = \"x\"\nquestion = \"q\"\nsummary = \"s\"\nclock = \"virtual\"\n";
    let load = "[load]\nhandshakes = \"profiled\"\nconnections = 32\nrounds = 10\nseconds = 60\n";
    let row = "[[row]]\nname = \"async\"\nmode = \"async\"\n";
    let text = format!("{head}{load}{devices}{row}");
    go(&Scenario::parse("x.toml", &text, &[]).expect("valid"))
}

fn device<'a>(row: &'a RowReport, name: &str) -> &'a DeviceRow {
    row.devices.iter().find(|device| device.name == name).expect("in the row")
}

#[test]
fn a_standby_does_what_the_device_that_is_away_cannot() {
    let results = built_in("device-standby", &[]);
    let row = &results.rows[0];
    assert_eq!((row.handshakes, row.failed), (48 * 12, 0));
    let (card, hsm) = (device(row, "card"), device(row, "hsm"));
    assert!(hsm.ops >= 30 && card.ops >= 300, "{card:?} {hsm:?}");
    assert!(hsm.utilisation > 0.0 && card.utilisation > 0.0);
    // The faults are the card's, and it is its engine that fell back.
    assert_eq!((card.faults, hsm.faults, hsm.fallbacks), (1, 0, 0));
    assert_eq!(card.fallbacks, row.fallbacks);
    let profiled = built_in("device-standby", &["load.handshakes=profiled"]);
    assert_eq!(results.trace_sha256, profiled.trace_sha256);
}

#[test]
fn each_device_gets_the_connections_whose_key_it_serves() {
    let mut mixed = String::from("key = \"mix\"\n[mix]\np256 = 60\nrsa2048 = 40\n");
    mixed.push_str("[[device]]\nname = \"card\"\nserves = \"p256\"\nlatency_ms = 1\n");
    mixed.push_str("[[device]]\nname = \"hsm\"\nserves = \"rsa2048\"\nlatency_ms = 5\n");
    let results = with(&mixed);
    let row = &results.rows[0];
    for (name, key) in [("card", "p256"), ("hsm", "rsa2048")] {
        let of_key: u64 =
            row.kinds.iter().filter(|kind| kind.key == key).map(|kind| kind.handshakes).sum();
        assert_eq!(device(row, name).ops, of_key);
    }
}

#[test]
fn devices_for_the_same_key_get_connections_in_turn_or_by_worker() {
    let two = "[[device]]\nname = \"a\"\n[[device]]\nname = \"b\"\n";
    let row = with(two).rows.swap_remove(0);
    assert_eq!((device(&row, "a").ops, device(&row, "b").ops), (160, 160));
    // Three workers: the first and the third have the first device.
    let by_worker = format!("[server]\nworkers = 3\nspread = \"workers\"\n{two}");
    let row = with(&by_worker).rows.swap_remove(0);
    assert_eq!((device(&row, "a").ops, device(&row, "b").ops), (107 + 106, 107));
}

#[test]
fn a_card_of_four_instances_does_four_times_as_much() {
    let rate = |instances: u32| {
        let device =
            format!("[[device]]\nlatency_ms = 10\nring = 2\nunits = 1\ninstances = {instances}\n");
        with(&device).rows[0].handshakes_per_s
    };
    let (one, four) = (rate(1), rate(4));
    assert!((3.9..4.1).contains(&(four / one)), "{one} {four}");
}

#[test]
fn a_card_of_two_instances_serves_in_real_time() {
    let results = built_in(
        "offload-modes",
        &[
            "load.connections=8",
            "load.rounds=4",
            "load.seconds=60",
            "device.instances=2",
            "device.latency_ms=1",
            "row.async-1s.latency_ms=5",
        ],
    );
    assert!(results.rows.iter().all(|row| row.failed == 0));
}
