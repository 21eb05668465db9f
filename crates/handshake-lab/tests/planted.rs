//! Each planted bug makes the run fail, and by the law that it breaks.
#![cfg(feature = "plant")]

use std::process::Command;

/// Runs a small `offload-modes` with a bug in it; the broken laws in the order of their numbers.
fn broken_by(bug: &str, overrides: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.current_dir(directory.path()).args(["sim", "--json", "--plant", bug]);
    let small = [
        "load.connections=48",
        "load.seconds=0.6",
        "load.hang_up_every=10",
        "device.latency_ms=3",
        "device.ring=4",
        "device.units=4",
        "row.async-1s.latency_ms=50",
    ];
    for set in small.iter().chain(overrides) {
        command.args(["--set", set]);
    }
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{bug}: {said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    let laws = document["laws"].as_array().expect("a list");
    let broken = laws.iter().filter(|law| law["held"] == false);
    let broken: Vec<String> =
        broken.map(|law| law["law"].as_str().expect("a name").to_owned()).collect();
    // The verdict names them too.
    assert!(broken.iter().all(|law| said.contains(law.as_str())), "{bug}: {said}");
    broken
}

#[test]
fn l2_trusting_a_wake_is_caught() {
    assert!(broken_by("trust-wake", &[]).contains(&"L2".to_owned()));
}

#[test]
fn l3_a_lost_wake_is_caught() {
    assert!(broken_by("lost-wake", &["server.drain_seconds=1"]).contains(&"L3".to_owned()));
}

#[test]
fn l4_a_double_wake_is_caught() {
    assert_eq!(broken_by("double-wake", &[]), ["L4"]);
}

#[test]
fn l7_a_spinning_loop_is_caught() {
    assert_eq!(broken_by("spin-resume", &[]), ["L7"]);
}

#[test]
fn l8_a_leaked_request_is_caught() {
    assert!(broken_by("leak-request", &["server.drain_seconds=1"]).contains(&"L8".to_owned()));
}

#[test]
fn l12_an_unchecked_result_is_caught() {
    assert_eq!(broken_by("skip-check", &[]), ["L12"]);
}

#[test]
fn l13_an_unfair_queue_is_caught() {
    assert_eq!(broken_by("lifo-queue", &[]), ["L13"]);
}
