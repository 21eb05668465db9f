//! The binary as a stranger meets it: what it prints where, and with which exit status.

use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(arguments)
        .current_dir(directory.path())
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary runs")
}

/// The arguments of a run that takes a second.
const SMALL: [&str; 14] = [
    "sim",
    "--seed",
    "7",
    "--set",
    "load.connections=8",
    "--set",
    "load.seconds=0.3",
    "--set",
    "device.ring=2",
    "--set",
    "latency_ms=2",
    "--set",
    "row.async-1s.latency_ms=20",
    "--json",
];

#[track_caller]
fn refused(arguments: &[&str], line: &str) {
    let output = lab(arguments);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said, format!("error: {line}\n"), "{arguments:?}");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn json_is_one_document_and_nothing_else() {
    let output = lab(&SMALL);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(document["schema"], "layby.results/1");
    assert_eq!(document["seed"], 7);
    assert_eq!(document["rows"].as_array().map(Vec::len), Some(7));
    assert!(document["trace_sha256"].is_null());
}

#[test]
fn a_printed_scenario_can_be_run_as_a_file() {
    let output = lab(&["sim", "--print", "--set", "load.seconds=0.5"]);
    assert!(output.status.success());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("mine.toml");
    std::fs::write(&file, output.stdout).expect("written");
    let again = lab(&["sim", file.to_str().expect("text"), "--print"]);
    let text = String::from_utf8(again.stdout).expect("text");
    assert!(text.contains("seconds = 0.5"), "{text}");
}

#[test]
fn listing_names_every_scenario() {
    let output = lab(&["sim", "--list"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("offload-modes"));
}

#[test]
fn bad_input_is_one_line_with_status_two() {
    refused(
        &["sim", "offlod-modes"],
        "unknown scenario \"offlod-modes\"; did you mean \"offload-modes\"?",
    );
    refused(
        &["sim", "--set", "ring=0"],
        "ring = 0: below the smallest value 1; give 1 to 65536 requests",
    );
    refused(&["sim", "--seed", "x"], "--seed x: not a whole number; give 0 to 9223372036854775807");
    refused(
        &["sim", "--clock", "vitual"],
        "clock = \"vitual\": not one of the words known here; give \"real\" or \"virtual\"",
    );
    refused(
        &["sim", "swarm", "--seeds", "0"],
        "--seeds 0: below the smallest value 1; give 1 to 100000000 seeds",
    );
    refused(
        &["sim", "--seed", "1", "swarm"],
        "sim swarm: draws its scenarios from seeds; leave out --print, --seed, --clock, --profile and --set",
    );
    refused(
        &["soak", "--handshakes", "0"],
        "--handshakes 0: below the smallest value 1; give 1 to 100000000 handshakes",
    );
    refused(
        &["serve", "--listen", "here"],
        "--listen here: not an address; give HOST:PORT, for example 127.0.0.1:8443",
    );
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let with = |more: &[&'static str]| [&serve, more].concat();
    refused(&with(&[]), "--cert is missing; give --cert PEM and --key PEM, or --self-signed");
    refused(
        &with(&["--engine", "pkcs11"]),
        "--engine pkcs11: 0 keys; give --key 'pkcs11:token=NAME;object=NAME?module-path=FILE&pin-source=file:FILE'",
    );
    refused(
        &with(&["--cert", "a.pem", "--key", "pkcs11:object=a"]),
        "--key pkcs11:object=a: is used by --engine pkcs11; add it",
    );
    refused(
        &with(&["--engine", "pkcs11", "--key", "pkcs11:tokn=a"]),
        "--key: the URI's attribute tokn is unknown: did you mean token?",
    );
    refused(
        &with(&["--engine", "threads", "--units", "2000"]),
        "--units 2000: above the largest value 1024; give 1 to 1024 threads",
    );
    refused(
        &with(&["--engine", "simm"]),
        "--engine simm: no such engine; did you mean sim? give inline, threads, sim or pkcs11",
    );
    refused(
        &with(&["--ring", "0"]),
        "--ring 0: below the smallest value 1; give 1 to 65536 requests",
    );
    refused(&with(&["--latency-ms", "-5"]), "--latency-ms -5: out of range; give 0 to 60000 ms");
    refused(
        &with(&["--cert", "absent.pem", "--key", "absent.pem"]),
        "--cert absent.pem: No such file or directory (os error 2); give a readable PEM file",
    );
    refused(
        &with(&["--cert", "a.pem", "--cert", "b.pem", "--key", "a.key"]),
        "--cert is given 2 times and --key 1 times; give a --key for each --cert, in the same order",
    );
    refused(
        &with(&["--cert-dir", "absent"]),
        "--cert-dir absent: No such file or directory (os error 2); give one with NAME.pem and NAME.key, or \
         NAME/fullchain.pem and NAME/privkey.pem",
    );
    refused(
        &with(&["--cert-dir", "absent", "--key", "a.key"]),
        "--cert-dir: has all certificates and keys; leave out --cert and --key",
    );
    refused(
        &with(&["--self-signed", "--cert-dir", "absent"]),
        "--self-signed: makes its own certificate and key; leave out --cert, --key and --cert-dir",
    );
    refused(
        &with(&["--frobnicate"]),
        "unexpected argument '--frobnicate' found; lab serve --help shows what there is",
    );
    refused(&[], "no command; give one of sim, serve, diff, soak (lab --help)");
}

#[cfg(not(feature = "plant"))]
#[test]
fn a_build_without_planted_bugs_says_so() {
    refused(
        &["sim", "--plant", "lost-wake"],
        "--plant lost-wake: this build has no planted bugs; build it with --features plant (cargo xtask sim --plant does)",
    );
}

#[test]
fn a_run_leaves_files_that_compare_with_another_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("text").to_owned();
    for (name, ring) in [("a", "ring=4"), ("b", "ring=8")] {
        let output = lab(&["sim", "ring-full", "--set", ring, "--report", &path(name)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for file in ["results.json", "timeline.json", "trace.json", "report.html"] {
            assert!(directory.path().join(name).join(file).exists(), "{file}");
        }
    }
    let output = lab(&["diff", &path("a"), &path("b"), "--report", &path("diff")]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && said.contains("full rings"), "{said}");
    let page = std::fs::read_to_string(directory.path().join("diff/diff.html")).expect("there");
    assert!(page.contains("<svg") && page.contains("Two runs of ring-full"));
    refused(
        &["diff", "absent", "absent"],
        "absent: No such file or directory (os error 2); give the directory that a run has written (sim --report DIR)",
    );
}

#[test]
fn a_machine_is_measured_and_virtual_time_charges_what_was_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("text").to_owned();
    let output = lab(&["calibrate", "--handshakes", "5", "--name", "mine", "--report", &path("")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(path("mine.toml")).expect("there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), text);
    let profile: toml::Table = text.parse().expect("TOML");
    assert_eq!(profile["schema"].as_str(), Some("layby.cost/3"));
    let positive = |value: &toml::Value| value.as_float().is_some_and(|us| us > 0.0);
    for station in ["hello_us", "answer_us", "finish_us"] {
        assert!(positive(&profile["tls13"][station]), "{text}");
    }
    assert!(positive(&profile["sign_us"]["p256"]) && positive(&profile["sign_us"]["rsa2048"]));

    // A profile whose hello takes a second shows that it is charged.
    let slow = profile["tls13"]["hello_us"].to_string();
    std::fs::write(path("slow.toml"), text.replace(&slow, "1e6")).expect("written");
    let run = |file: &str| {
        let short = ["--set", "load.connections=1", "--set", "load.rounds=1", "--json"];
        let run = ["sim", "ring-full", "--profile", file, "--set", "expect.least_ring_full=0"];
        let output = lab(&[&run[..], &short[..]].concat());
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let profile = document["cost_profile"].as_str().expect("a name").to_owned();
        (profile, document["rows"][0]["latency_ms"]["p50"].as_f64().expect("a number"))
    };
    let ((name, fast), (_, slow)) = (run(&path("mine.toml")), run(&path("slow.toml")));
    assert!(name.starts_with("mine-"), "{name}");
    assert!(slow > fast && slow > 990.0, "{fast} {slow}");
}

#[test]
fn a_profile_that_cannot_be_charged_is_refused() {
    refused(
        &["sim", "--profile", "absent.toml"],
        "--profile absent.toml: in real time everything costs what it costs; give --clock virtual",
    );
    refused(
        &["sim", "swarm", "--profile", "absent.toml"],
        "unexpected argument '--profile' found; lab sim swarm --help shows what there is",
    );
    refused(
        &["sim", "ring-full", "--profile", "absent.toml"],
        "cost profile absent.toml: No such file or directory (os error 2); give a file that lab calibrate has written",
    );
    refused(
        &["calibrate", "--handshakes", "0"],
        "--handshakes 0: below the smallest value 1; give 1 to 1000000 handshakes",
    );
    refused(
        &["calibrate", "--name", "../x"],
        "--name ../x: not a name for a file; give letters, digits, -, _ and .",
    );
}

/// What a run says when Ctrl-C comes as soon as it has said `after` on standard error.
fn broken_off(arguments: &[&str], after: &str) -> Output {
    use std::io::{BufRead as _, BufReader, Read as _};
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(arguments)
        .current_dir(directory.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut said = String::new();
    while !said.contains(after) {
        assert!(stderr.read_line(&mut said).expect("text") > 0, "it never said {after}: {said}");
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
    stderr.read_to_string(&mut said).expect("text");
    child.wait_with_output().expect("it ends")
}

#[test]
fn ctrl_c_ends_a_run_with_what_there_is() {
    for clock in ["real", "virtual"] {
        // Longer than any test waits.
        let run = ["sim", "--clock", clock, "--set", "load.seconds=600", "--json"];
        let run = [&run[..], &["--set", "load.connections=8"]].concat();
        let output = broken_off(&run, "software:");
        assert_eq!(output.status.code(), Some(130), "{clock}");
        let document: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("one document");
        assert_eq!(document["partial"], true, "{clock}");
        assert_eq!(document["rows"].as_array().map(Vec::len), Some(1), "{clock}");
    }
}

#[test]
fn ctrl_c_ends_a_swarm_with_what_there_is() {
    let output = broken_off(&["sim", "swarm", "--seeds", "100000000", "--json"], "swarm:");
    assert_eq!(output.status.code(), Some(130));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(document["partial"], true);
}

#[test]
fn an_installed_program_says_its_commit_and_brings_completions_and_manual_pages() {
    let said = |arguments: &[&str]| String::from_utf8(lab(arguments).stdout).expect("text");
    assert!(said(&["--version"]).starts_with(concat!("lab ", env!("CARGO_PKG_VERSION"))));
    assert!(said(&["completions", "bash"]).contains("complete -F _lab"));
    assert!(said(&["completions", "zsh"]).starts_with("#compdef lab"));

    let directory = tempfile::tempdir().expect("a directory");
    let pages = directory.path().join("man1");
    assert!(lab(&["man", pages.to_str().expect("text")]).status.success());
    for page in ["lab.1", "lab-sim.1", "lab-sim-swarm.1", "lab-serve.1", "lab-diff.1"] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let refused = lab(&["man", file.to_str().expect("text")]);
    assert_eq!(refused.status.code(), Some(2));
}
