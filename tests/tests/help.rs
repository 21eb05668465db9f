//! The help of `cargo xtask` is what the lab would say, though nothing is built for it.
//!
//! The lab's texts are kept in `xtask/help` (a test of `lab-bench` compares that of `bench`). After a change of the lab's
//! command line, `LAYBY_BLESS=1 cargo test --package layby-tests --test help` writes them anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use layby_tests::{lab, run, xtask_binary};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_path_buf()
}

#[test]
fn the_texts_that_xtask_keeps_are_those_of_the_lab() {
    let bless = env::var_os("LAYBY_BLESS").is_some();
    let mut stale = Vec::new();
    for (name, args, usage) in [
        ("serve", &["serve", "--help"][..], "cargo xtask serve"),
        ("lab", &["--help"], "cargo xtask lab"),
    ] {
        let spoken = lab(&root(), args).stdout;
        let ours = if name == "lab" { "lab".to_owned() } else { format!("lab {name}") };
        let spoken = spoken.replacen(&format!("Usage: {ours}"), &format!("Usage: {usage}"), 1);
        let path = root().join("xtask/help").join(name).with_extension("txt");
        if bless {
            fs::write(&path, spoken).expect("the file is written");
        } else if fs::read_to_string(&path).expect("the file is there") != spoken {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "xtask/help is behind the lab: {stale:?}; \
         LAYBY_BLESS=1 cargo test --package layby-tests --test help"
    );
}

#[test]
fn xtask_and_the_lab_know_the_same_options_of_sim() {
    let of_the_lab = lab(&root(), &["sim", "--help"]).stdout;
    let mut xtask = Command::new(xtask_binary());
    xtask.args(["sim", "--help"]).current_dir(root());
    let of_xtask = run(&mut xtask, b"").stdout;
    let (of_xtask, of_the_lab) = (options(&of_xtask), options(&of_the_lab));
    assert!(of_xtask.len() > 5, "the help lists options: {of_xtask:?}");
    assert_eq!(of_xtask, of_the_lab);
}

/// The long options that a help text explains.
fn options(help: &str) -> BTreeSet<&str> {
    let explained = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
    explained.flat_map(str::split_whitespace).filter(|word| word.starts_with("--")).collect()
}
