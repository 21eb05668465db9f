//! Every planted bug is found by the general swarm, which knows none of them, and named by the law that it breaks.
//!
//! The bugs are those of `docs/plants.toml`, from which the map of the laws is written too.
#![cfg(feature = "plant")]

use std::{collections::BTreeSet, process::Command};

use serde::Deserialize;

/// The most seeds that finding a bug may take.
const SEEDS: u64 = 5_000;

#[derive(Deserialize)]
struct Table {
    plant: Vec<Plant>,
}

/// A line of the table; those without a bug are found by other tests.
#[derive(Deserialize)]
struct Plant {
    bug: Option<String>,
    law: u8,
    seeds: Option<u64>,
}

/// The bugs, with the law of each and the seeds that it may take.
fn bugs() -> Vec<(String, u8, u64)> {
    let table = include_str!("../../../docs/plants.toml");
    let table: Table = toml::from_str(table).expect("a table");
    let bug = |plant: Plant| Some((plant.bug?, plant.law, plant.seeds.expect("of each bug")));
    table.plant.into_iter().filter_map(bug).collect()
}

/// The seed that failed, with the laws that it broke.
type Failure = (u64, Vec<String>);

/// What a swarm says: its exit status, its failure, and its last words.
fn swarm(from: u64, seeds: u64, more: &[&str]) -> (Option<i32>, Option<Failure>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["sim", "swarm", "--json", "--fail-fast"])
        .args(["--from", &from.to_string(), "--seeds", &seeds.to_string()])
        .args(more)
        .env_remove("RUST_LOG")
        .current_dir(directory.path())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{more:?}: {error}: {said}"));
    let failures = document["failures"].as_array().expect("a list");
    let seed = failures.first().map(|failure| failure["seed"].as_u64().expect("a seed"));
    let laws = failures.iter().map(|failure| failure["law"].as_str().expect("a law").to_owned());
    (output.status.code(), seed.map(|seed| (seed, laws.collect())), said)
}

/// Runs the swarm with a bug in it; says how many seeds it took to name the law, or what happened instead.
fn hunt(bug: &str, law: u8) -> Result<u64, String> {
    let law = format!("L{law}");
    let mut from = 1;
    while from <= SEEDS {
        let (status, failure, said) = swarm(from, SEEDS + 1 - from, &["--plant", bug]);
        let Some((seed, laws)) = failure.filter(|_| status == Some(1)) else {
            return Err(format!("{bug}: exit status {status:?}: {said}"));
        };
        if laws.contains(&law) {
            return Ok(seed);
        }
        // It has shown in another way first.
        from = seed + 1;
    }
    Err(format!("{bug}: no seed has named {law}"))
}

#[test]
fn every_planted_bug_is_found_by_the_swarm_and_named_by_its_law() {
    let mut wrong = Vec::new();
    for (bug, law, most) in bugs() {
        match hunt(&bug, law) {
            Ok(took) => {
                println!("{bug:<24} L{law:<3} within {took} seeds");
                if took > most {
                    wrong.push(format!("{bug}: it took {took} seeds, and the table says {most}"));
                }
            }
            Err(fault) => wrong.push(fault),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_bug_the_same_swarm_finds_nothing() {
    // As many seeds as the slowest bug may take.
    let most = bugs().into_iter().map(|(_, _, most)| most).max().expect("bugs");
    let (status, failure, said) = swarm(1, most, &[]);
    assert_eq!((status, failure), (Some(0), None), "{said}");
}

#[test]
fn the_table_has_every_bug_that_can_be_planted_and_the_law_that_it_breaks() {
    let listed: BTreeSet<(String, u8)> =
        bugs().into_iter().map(|(bug, law, _)| (bug, law)).collect();
    let built = handshake_lab::plant::bugs().into_iter();
    assert_eq!(listed, built.map(|(bug, law)| (bug.to_owned(), law)).collect());
}
