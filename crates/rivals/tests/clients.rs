//! The clients over loopback, as a process of their own: they come again and again, they answer what they are asked, and they
//! end with the turn that started them.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use rivals::{Order, Outcome, Speed, Suite, Transport};
use serde_json::{Value, json};

/// The program, with one of its hidden options.
fn program(option: &str, order: &Value) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rivals"))
        .args([option, &order.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn clients_of(listener: &TcpListener) -> Child {
    let server = listener.local_addr().expect("it is bound");
    program("--clients", &json!({ "server": server, "clients": 2, "verifying": true }))
}

fn ask(process: &mut Child, question: &str) -> String {
    let pipe = process.stdin.as_mut().expect("it is piped");
    writeln!(pipe, "\"{question}\"").expect("the clients read");
    let mut line = String::new();
    let answers = process.stdout.as_mut().expect("it is piped");
    BufReader::new(answers).read_line(&mut line).expect("the clients answer");
    line
}

#[test]
fn clients_that_were_not_served_are_counted_as_failed_and_come_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let mut process = clients_of(&listener);
    for _ in 0..4 {
        // Each is hung up on, and the next one takes its place.
        drop(listener.accept().expect("a client arrives"));
    }
    let answer: Value = serde_json::from_str(&ask(&mut process, "Count")).expect("it is JSON");
    assert_eq!(answer["Ok"]["done"], 0, "{answer}");
    assert!(answer["Ok"]["failed"].as_u64() >= Some(2), "two of four came again: {answer}");
    process.kill().and_then(|()| process.wait()).expect("it ends");
}

#[test]
fn the_clients_end_when_their_turn_has_closed_the_pipe() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let mut process = clients_of(&listener);
    drop(process.stdin.take());
    assert!(process.wait().expect("it ends").success());
}

#[test]
fn a_turn_over_loopback_serves_the_clients_of_the_other_process() {
    // A server with one client finds only a part of a handshake each time it looks.
    for (server, concurrent) in [("free-sign", 1), ("pool-64", 1), ("layby-replay", 8)] {
        let order = Order {
            server: server.to_owned(),
            suite: Suite::P256,
            transport: Transport::Loopback,
            concurrent,
            latency_us: 1000,
            window_ms: 50,
        };
        let order = serde_json::to_value(&order).expect("an order is JSON");
        let said = program("--turn", &order).wait_with_output().expect("the turn ends");
        let outcome: Outcome = serde_json::from_slice(&said.stdout).expect("the outcome is JSON");
        let Outcome::Speed(Speed { rate, p50, .. }) = outcome else {
            panic!("{server} measures speed: {outcome:?}");
        };
        assert!(rate > 0.0 && p50.is_some(), "{server}: {rate} {p50:?}");
    }
}
