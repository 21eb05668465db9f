//! The swarm: no law breaks, and a seed that breaks one is replayed and made small.

use std::process::{Command, Output};

fn swarm(arguments: &[&str]) -> (Output, serde_json::Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["sim", "swarm", "--json"])
        .args(arguments)
        .env_remove("RUST_LOG")
        .current_dir(directory.path())
        .output()
        .expect("the binary runs");
    let document = serde_json::from_slice(&output.stdout).expect("one document");
    (output, document)
}

#[test]
fn two_hundred_seeds_break_no_law() {
    let (output, document) = swarm(&["--seeds", "200", "--from", "1"]);
    assert!(output.status.success(), "{:#}", document["failures"]);
    assert_eq!(document["seeds"], 200);
    assert_eq!(document["real_tls_seeds"], 2);
    let count = |key: &str| document[key].as_u64().expect("a count");
    assert!(count("handshakes") >= 200 * 50 && count("faults") >= 400 && count("cancels") > 0);
    let laws: Vec<&str> = document["laws"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|law| law["law"].as_str())
        .collect();
    assert_eq!(
        laws,
        ["L1", "L2", "L3", "L4", "L5", "L7", "L8", "L9", "L11", "L12", "L13", "L14", "L15", "L16"]
    );
}

/// A job that was cancelled when its operation had failed; a worker that went to sleep beside its mail.
#[test]
fn seeds_that_once_broke_a_law_break_none() {
    for seed in ["23458", "27989"] {
        let (output, document) = swarm(&["--seeds", "1", "--from", seed]);
        assert!(output.status.success(), "{seed}: {:#}", document["failures"]);
    }
}

/// The lines of a shard.
fn shard(from: &str, seeds: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["sim", "swarm", "--json-lines", "--from", from, "--seeds", seeds])
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn two_shards_leave_the_lines_of_one_run() {
    let whole = shard("95", "10");
    assert_eq!(shard("95", "4") + &shard("99", "6"), whole);
    let lines: Vec<serde_json::Value> =
        whole.lines().map(|line| serde_json::from_str(line).expect("a document")).collect();
    let seeds: Vec<u64> = lines.iter().filter_map(|line| line["seed"].as_u64()).collect();
    assert_eq!(seeds, (95..105).collect::<Vec<_>>());
    // And the same sums as the document.
    let (_, document) = swarm(&["--from", "95", "--seeds", "10"]);
    for key in ["handshakes", "faults", "cancels"] {
        let sum: u64 = lines.iter().filter_map(|line| line[key].as_u64()).sum();
        assert_eq!(document[key], sum, "{key}");
    }
    let real = lines.iter().filter(|line| line["real_tls"] == true).count();
    assert_eq!(document["real_tls_seeds"], real);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["sim", "--seeds", "5"])
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: unexpected argument '--seeds' found; a similar argument exists: '--seed'; lab sim --help shows what there is\n"
    );
}

#[cfg(feature = "plant")]
#[test]
fn a_failing_seed_is_replayed_by_the_command_that_is_printed() {
    let (_, document) = swarm(&["--plant", "lost-wake", "--seeds", "60", "--from", "1"]);
    let failure = &document["failures"][0];
    let seed = failure["seed"].to_string();
    let (output, again) = swarm(&["--plant", "lost-wake", "--seeds", "1", "--from", &seed]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(again["failures"][0], *failure);
}

#[cfg(feature = "plant")]
#[test]
fn a_failing_seed_shrinks_to_a_file_that_still_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let lab = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["sim", "--json", "--plant", "lifo-queue", "--report", "out"])
            .args(arguments)
            .current_dir(directory.path())
            .env_remove("RUST_LOG")
            .output()
            .expect("the binary runs")
    };
    let output = lab(&["swarm", "--seeds", "20", "--from", "1"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    let (seed, law) = (&document["failures"][0]["seed"], &document["failures"][0]["law"]);
    let file = format!("out/seed-{seed}.toml");
    let text = std::fs::read_to_string(directory.path().join(&file)).expect("written");
    let plan: toml::Table = text.parse().expect("TOML");
    let kept = plan["keep"]["connections"].as_array().expect("a list").len();
    // How few are enough depends on the seed: a queue has to fill behind a full ring.
    let whole = handshake_lab::swarm::SeedPlan::of(seed.as_u64().expect("a number"));
    let whole = whole.connections.len();
    assert!((1..=whole / 2).contains(&kept), "{kept} of {whole}:\n{text}");
    let again = lab(&["swarm", &file]);
    assert_eq!(again.status.code(), Some(1));
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).expect("one document");
    assert_eq!(again["seeds"], 1);
    let failures = again["failures"].as_array().expect("a list");
    assert!(failures.iter().any(|failure| failure["law"] == *law), "{failures:?}");
}

#[cfg(feature = "plant")]
#[test]
fn the_printed_commands_run_as_they_are_and_fail_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let lab = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(arguments)
            .current_dir(directory.path())
            .env_remove("RUST_LOG")
            .output()
            .expect("the binary runs")
    };
    let output = lab(&["sim", "swarm", "--plant", "lifo-queue", "--seeds", "20", "--from", "1"]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let (report, shrunk) = (text(&output.stdout), text(&output.stderr));
    let replay = report.lines().find_map(|line| line.strip_prefix("  cargo xtask "));
    let next = shrunk.lines().find_map(|line| line.strip_prefix("next:    cargo xtask "));
    for command in [replay.expect("a seed's command"), next.expect("the shrunk seed's command")] {
        let again = lab(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(again.status.code(), Some(1), "{command}: {}", text(&again.stderr));
        assert!(command.contains("--plant lifo-queue"), "{command}");
    }
}
