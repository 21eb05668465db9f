//! How fast the laboratory runs in virtual time.

use std::{sync::Arc, time::Instant};

use rustls::{
    ClientConnection, ServerConnection, pki_types::PrivateKeyDer, pki_types::ServerName,
    pki_types::pem::PemObject as _,
};

use super::{Bench, Better, Measured, measure::in_turn_of};
use crate::{
    certs::{SERVER_NAME, TestPki},
    keys,
    load::{Verified, client_config},
    report::Progress,
    scenario::{RowPlan, Scenario, TlsVersion},
    stepped::{self, CostProfile, Watch},
};

/// One session in so many is resumed without a wake, as in every run.
const UNPROMPTED_EVERY: u64 = 64;

const ROUNDS: usize = 5;

/// What a row needs beside its plan.
struct Rig {
    fleet: Vec<TestPki>,
    costs: CostProfile,
}

impl Rig {
    fn new(scenario: &Scenario) -> Self {
        let keys = scenario.plan()[0].mix.keys();
        let fleet = TestPki::fleet(&keys).expect("certificates");
        Self { fleet, costs: CostProfile::reference() }
    }

    /// Seconds for the row, once; the handshakes that came of it; and the mean wait for the device in milliseconds.
    fn seconds(&self, plan: &RowPlan) -> (f64, u64, f64) {
        let begun = Instant::now();
        let progress = Progress::silent();
        let watch = Watch::Repeat(&progress);
        let run = stepped::run_row(plan, &self.fleet, &self.costs, UNPROMPTED_EVERY, watch);
        let evidence = run.expect("it runs").evidence;
        let seconds = begun.elapsed().as_secs_f64();
        let report = evidence.report();
        (seconds, report.handshakes, report.queue_wait_ms.unwrap_or_default())
    }
}

fn plan(name: &str, overrides: &[&str]) -> (Scenario, RowPlan) {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find(name, &overrides).expect("a built-in scenario");
    let plan = scenario.plan().swap_remove(0);
    (scenario, plan)
}

/// A million handshakes in outline on 64 workers, once, as the scenario `million` has them.
pub(super) fn million() -> Vec<Bench> {
    let (scenario, plan) = plan("million", &[]);
    let (seconds, handshakes, wait) = Rig::new(&scenario).seconds(&plan);
    let bench = Bench::figure("sim.million_seconds", "s", Better::Lower, seconds);
    vec![bench.with_note(format!("{handshakes} handshakes, mean wait {wait:.4} ms"))]
}

/// Handshakes with real TLS in virtual time beside plain rustls in memory with the same certificate and checks, both
/// sides in one thread, in turn.
pub(super) fn real_tls_virtual() -> Vec<Bench> {
    const HANDSHAKES: u64 = 1_024;
    let overrides =
        ["clock=virtual", "load.connections=64", "load.rounds=16", "load.hang_up_every=0"];
    let (scenario, _) = plan("offload-modes", &overrides);
    let plan = scenario.plan().into_iter().find(|row| row.name == "async").expect("a row");
    let rig = Rig::new(&scenario);
    let mut ours = || {
        let (seconds, handshakes, _) = rig.seconds(&plan);
        handshakes as f64 / seconds
    };
    let pki = &rig.fleet[0];
    let key = PrivateKeyDer::from_pem_slice(pki.key_pem.as_bytes()).expect("a fresh key");
    let key = keys::software(&key).expect("a fresh key");
    let server = keys::server_config(vec![pki.certificate.clone()], key).expect("a configuration");
    let server = Arc::new(server);
    let verified = Verified::default();
    let client = client_config(Some(&pki.ca), TlsVersion::Tls13, &verified);
    let client = Arc::new(client.expect("a configuration"));
    let mut plain = || {
        let begun = Instant::now();
        for _ in 0..HANDSHAKES {
            let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
            let client = ClientConnection::new(Arc::clone(&client), name).expect("a client");
            let server = ServerConnection::new(Arc::clone(&server)).expect("a server");
            shake(client, server);
        }
        HANDSHAKES as f64 / begun.elapsed().as_secs_f64()
    };
    let (ours, rival): (Measured, Measured) = in_turn_of(ROUNDS, &mut ours, &mut plain);
    let bench = Bench::nanoseconds("sim.real_tls_virtual", ours);
    let bench = Bench { unit: "1/s", better: Better::Higher, ..bench };
    vec![bench.with_rival("plain rustls in memory", rival.median)]
}

/// A handshake from one buffer to the other, and goodbye.
fn shake(mut client: ClientConnection, mut server: ServerConnection) {
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            server.read_tls(&mut sent).expect("memory");
            server.process_new_packets().expect("a good client");
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            client.read_tls(&mut sent).expect("memory");
            client.process_new_packets().expect("a good server");
        }
        wire.clear();
    }
}
