//! The help of `cargo xtask` is what the lab would say, though nothing is built for it.
//!
//! The lab's texts are kept in `xtask/help` (a test of `lab-bench` compares that of `bench`). After a change of the lab's
//! command line, `LAYBY_RECORD=1 cargo test --package layby-tests --test help` writes them anew.

use std::path::{Path, PathBuf};
use std::{env, fs};

use layby_tests::lab;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_path_buf()
}

#[test]
fn the_texts_that_xtask_keeps_are_those_of_the_lab() {
    let bless = env::var_os("LAYBY_RECORD").is_some();
    let mut stale = Vec::new();
    for (name, args, usage) in [
        ("sim", &["sim", "--help"][..], "cargo xtask sim"),
        ("swarm", &["sim", "swarm", "--help"], "cargo xtask sim swarm"),
        ("serve", &["serve", "--help"], "cargo xtask serve"),
        ("lab", &["--help"], "cargo xtask lab"),
    ] {
        let spoken = lab(&root(), args).stdout;
        let ours = usage.replacen("cargo xtask", "lab", 1).replacen("lab lab", "lab", 1);
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
         LAYBY_RECORD=1 cargo test --package layby-tests --test help"
    );
}
