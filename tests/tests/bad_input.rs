//! Bad input is answered with one line that names the field, the value and the remedy, and status 2.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use layby_tests::{Identity, KeyType, Run, lab, run, xtask_binary};

/// What the lab says to each command line, after `error: `.
///
/// It runs beside `cert.pem` and its `key.pem`, and `other.pem`, the key of somebody else. `IN_USE`
/// stands for an address where somebody else listens.
#[rustfmt::skip]
const LAB: &[(&str, &str)] = &[
    ("sim offlod-modes",
     r#"unknown scenario "offlod-modes"; did you mean "offload-modes"?"#),
    ("sim zzz",
     r#"unknown scenario "zzz"; known here: offload-modes, ring-full, device-reset, heartbeat-loss, lost-completion, late-completion, corrupt-signature, reorder, peer-hangup, deadline-fallback, device-standby, polling-policies, batching, slow-beside-fast, heartbeat, opportunistic, hsm, kms, usb-token, capacity, million, million-in-flight, million-parked, published-shapes, mixed-fleet, swarm"#),
    ("sim nowhere.toml",
     "scenario file nowhere.toml: No such file or directory (os error 2); give a readable TOML file"),
    ("sim --seed x",
     "--seed x: not a whole number; give 0 to 9223372036854775807"),
    ("sim --clock sundial",
     r#"clock = "sundial": not one of the words known here; give "real" or "virtual""#),
    ("sim --set load.conections=3",
     r#"unknown key "load.conections"; did you mean "load.connections"?"#),
    ("sim --set lod.connections=1",
     r#"unknown key "lod.connections"; did you mean "load.connections"?"#),
    ("sim --set load.connections",
     "--set load.connections: no value; write --set KEY=VALUE, for example --set load.connections=256"),
    ("sim --set load.connections=many",
     r#"load.connections = "many": not a whole number; give 1 to 1000000 connections"#),
    ("sim --set load.connections=0",
     "load.connections = 0: below the smallest value 1; give 1 to 1000000 connections"),
    ("sim --set device.ring=0",
     "device.ring = 0: below the smallest value 1; give 1 to 65536 requests"),
    ("sim --set latency_ms=-1",
     "latency_ms = -1: below the smallest value 0; give 0 to 60000 ms"),
    ("sim --set latency_ms=nan",
     "latency_ms = nan: not a number; give 0 to 60000 ms"),
    ("sim --set load.key=dsa",
     r#"load.key = "dsa": not one of the words known here; give "p256" or "p384" or "ed25519" or "rsa2048" or "mix""#),
    ("sim --set server.workers=0",
     "server.workers = 0: below the smallest value 1; give 1 to 64 threads"),
    ("sim --sed 1",
     "unexpected argument '--sed' found; a similar argument exists: '--seed'; lab sim --help shows what there is"),
    ("sim --plant lost-wake",
     "--plant lost-wake: this build has no planted bugs; build it with --features plant (cargo xtask sim --plant does)"),
    ("simulate",
     "unrecognized subcommand 'simulate'; a similar subcommand exists: 'sim'; lab --help shows what there is"),
    ("",
     "no command; give one of sim, serve, diff, soak (lab --help)"),
    ("serve",
     "the following required arguments were not provided: --listen <ADDR>; lab serve --help shows what there is"),
    ("serve --listen nowhere",
     "--listen nowhere: not an address; give HOST:PORT, for example 127.0.0.1:8443"),
    ("serve --listen :8443",
     "--listen :8443: not an address; give HOST:PORT, for example 127.0.0.1:8443"),
    ("serve --listen 127.0.0.1:70000",
     "--listen 127.0.0.1:70000: not an address; give HOST:PORT, for example 127.0.0.1:8443"),
    ("serve --listen 127.0.0.1:0 --metrics 9100",
     "--metrics 9100: not an address; give HOST:PORT, for example 127.0.0.1:8443"),
    ("serve --listen 127.0.0.1:0 --idle-seconds 0",
     "--idle-seconds 0: below the smallest value 1; give 1 to 3600 seconds"),
    ("serve --listen 127.0.0.1:0 --request-seconds soon",
     "--request-seconds soon: not a whole number; give 1 to 3600 seconds"),
    ("serve --listen 127.0.0.1:0 --drain-seconds -1",
     "--drain-seconds -1: not a whole number; give 0 to 3600 seconds"),
    ("serve --listen localhost:0 --metrics IN_USE --cert cert.pem --key key.pem",
     "--metrics IN_USE: the port is in use; stop the program that uses it or give port 0"),
    ("serve --listen 127.0.0.1:0",
     "--cert is missing; give --cert PEM and --key PEM, or --self-signed"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem",
     "--key is missing; give --cert PEM and --key PEM, or --self-signed"),
    ("serve --listen 127.0.0.1:0 --cert missing.pem --key key.pem",
     "--cert missing.pem: No such file or directory (os error 2); give a readable PEM file"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key missing.pem",
     "--key missing.pem: No such file or directory (os error 2); give a readable PEM file"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key other.pem",
     "--key other.pem: not the key of the certificate in cert.pem; give the key that the certificate was made for"),
    ("serve --listen 127.0.0.1:0 --cert key.pem --key key.pem",
     "--cert key.pem: no certificate in it: found PRIVATE KEY; give a file with -----BEGIN CERTIFICATE-----"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key cert.pem",
     "--key cert.pem: no private key in the PEM text: found CERTIFICATE; accepted are PRIVATE KEY (PKCS #8), RSA PRIVATE KEY (PKCS #1) and EC PRIVATE KEY (SEC 1); give the private key that the certificate was made for"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --self-signed",
     "--self-signed: makes its own certificate and key; leave out --cert, --key and --cert-dir"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --engine smi",
     "--engine smi: no such engine; give inline, threads, sim or pkcs11"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --engine inline --latency-ms 5",
     "--latency-ms 5: --engine inline has no device; leave it out or give --engine threads or sim"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --workers 0",
     "--workers 0: below the smallest value 1; give 1 to 64 threads"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --workers two",
     "--workers two: not a whole number; give 1 to 64 threads"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --latency-ms -5",
     "--latency-ms -5: out of range; give 0 to 60000 ms"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --ring 0",
     "--ring 0: below the smallest value 1; give 1 to 65536 requests"),
    ("serve --listen 127.0.0.1:0 --cert cert.pem --key key.pem --units 70000",
     "--units 70000: above the largest value 65536; give 1 to 65536 units"),
    ("serve --listen IN_USE --cert cert.pem --key key.pem",
     "--listen IN_USE: the port is in use; stop the program that uses it or give port 0"),
];

/// What xtask says, without building the lab.
#[rustfmt::skip]
const XTASK: &[(&str, &str)] = &[
    ("sim offlod-modes",
     r#"unknown scenario "offlod-modes"; did you mean "offload-modes"? (cargo xtask sim --list shows all)"#),
    ("sim zzz", r#"unknown scenario "zzz" (cargo xtask sim --list shows all)"#),
    ("sim nowhere.toml",
     "scenario file nowhere.toml: No such file or directory (os error 2); give a readable TOML file"),
    ("sim --sed 1",
     "unexpected argument '--sed' found; tip: a similar argument exists: '--seed' (see --help)"),
    ("sim --plant lost-wak",
     "--plant lost-wak: unknown bug; did you mean lost-wake?"),
    ("simulate",
     "unrecognized subcommand 'simulate'; tip: a similar subcommand exists: 'sim' (see --help)"),
    ("ci clipy", r#"unknown step "clipy" (cargo xtask ci --list shows all)"#),
];

/// Why an answer is not what the table promises.
fn complaint(line: &str, expected: &str, answer: &Run) -> Option<String> {
    let promised = format!("error: {expected}\n");
    let kept =
        answer.status.code() == Some(2) && answer.stdout.is_empty() && answer.stderr == promised;
    (!kept).then(|| {
        let Run { status, stdout, stderr } = answer;
        format!("{line}\n  expected  {promised}  found     {stderr}  {status}, stdout {stdout:?}")
    })
}

#[test]
fn the_lab_answers_bad_input_in_one_line_with_status_2() {
    let identity = Identity::new(KeyType::P256);
    let stranger = Identity::new(KeyType::Rsa2048);
    fs::copy(stranger.key(), identity.dir().join("other.pem")).expect("the file is copied");
    let neighbour = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let in_use = neighbour.local_addr().expect("a bound listener").to_string();
    let complaints: Vec<String> = LAB
        .iter()
        .map(|(line, expected)| {
            (line.replace("IN_USE", &in_use), expected.replace("IN_USE", &in_use))
        })
        .filter_map(|(line, expected)| {
            let args: Vec<&str> = line.split_whitespace().collect();
            complaint(&line, &expected, &lab(identity.dir(), &args))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn xtask_answers_bad_input_in_one_line_with_status_2() {
    let complaints: Vec<String> = XTASK
        .iter()
        .filter_map(|(line, expected)| {
            let mut xtask = Command::new(xtask_binary());
            xtask.args(line.split_whitespace());
            complaint(line, expected, &run(&mut xtask, b""))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
