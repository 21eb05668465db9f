//! How fast the laboratory runs in virtual time.

use std::{num::NonZeroUsize, ops::Range, sync::Arc, time::Instant};

use handshake_lab::{
    certs::TestPki,
    evidence::RowEvidence,
    keys,
    load::{Verified, client_config},
    run,
    scenario::{RowPlan, Scenario, TlsVersion},
    stepped::CostProfile,
    swarm::{SeedSubset, Swarm},
};

use crate::{
    measure::{Measured, in_turn_of},
    paused::{most_resident, numbers_of_child, print_numbers},
    report::{Bench, Better},
    tls::{Client, Plain, Server as _, Stood, Wire},
};

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

    /// Runs the row once; also says how many seconds that took.
    fn run(&self, plan: &RowPlan) -> (f64, RowEvidence) {
        let begun = Instant::now();
        let evidence = run::run_row_once(plan, &self.fleet, &self.costs).expect("it runs");
        (begun.elapsed().as_secs_f64(), evidence)
    }
}

fn plan(name: &str, overrides: &[&str]) -> (Scenario, RowPlan) {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find(name, &overrides).expect("a built-in scenario");
    let plan = scenario.plan().swap_remove(0);
    (scenario, plan)
}

/// A million profiled handshakes on 64 workers, once, as the scenario `million` has them: by Poisson.
pub(crate) fn million() -> Vec<Bench> {
    vec![in_child("sim.million_seconds", "sim-million")]
}

/// The same in a closed loop with 65,536 in flight, as the scenario `million-in-flight` has them.
pub(crate) fn million_in_flight() -> Vec<Bench> {
    vec![in_child("sim.million_in_flight", "sim-million-in-flight")]
}

/// A scenario in a process of its own, for its memory; the seconds are those of the run alone.
fn in_child(name: &str, arm: &str) -> Bench {
    match numbers_of_child(arm, 1).as_deref() {
        Ok(&[seconds, handshakes, in_flight, bytes, wait, theory]) => {
            let note = format!(
                "{handshakes} handshakes, {in_flight} requests at most, {:.0} MB at most, mean wait {wait:.4} ms, {:+.2} % \
                 off theory",
                bytes / 1e6,
                (wait / theory - 1.0) * 100.0
            );
            Bench::figure(name, "s", Better::Lower, seconds).with_note(note)
        }
        Ok(numbers) => Bench::missing(name, "s", format!("it said {numbers:?}")),
        Err(why) => Bench::missing(name, "s", why.clone()),
    }
}

/// The first row of a scenario, once: prints seconds, handshakes, requests at most, bytes at most, and the mean wait and
/// its theory in milliseconds.
pub(crate) fn child(arm: &str) -> Result<(), String> {
    let name = arm.trim_start_matches("sim-");
    let (scenario, plan) = plan(name, &[]);
    let (seconds, evidence) = Rig::new(&scenario).run(&plan);
    let (report, bytes) = (evidence.report(), most_resident()?);
    let (wait, theory) = (report.queue_wait_ms, report.queue_wait_theory_ms);
    let (wait, theory) = (wait.unwrap_or_default(), theory.unwrap_or_default());
    let requests = evidence.ledger.requests.peak;
    let handshakes = report.handshakes;
    print_numbers(format_args!("{seconds} {handshakes} {requests} {bytes} {wait} {theory}"))
}

/// Seeds of the swarm in a second, on every processor and on one: each twice, every hundredth with real TLS.
pub(crate) fn swarm_seeds() -> Vec<Bench> {
    const SEEDS: Range<u64> = 1..1_001;
    let bench = |name, swarm: Swarm| {
        let report = swarm.run(SEEDS).expect("it runs");
        assert!(report.is_good(), "{}", report.text());
        Bench::figure(name, "1/s", Better::Higher, report.seeds_per_s).with_note(report.on())
    };
    let swarm = || Swarm::new(SeedSubset::default()).expect("keys");
    vec![
        bench("sim.swarm_seeds", swarm()),
        bench("sim.swarm_seeds.one_thread", swarm().threads(NonZeroUsize::MIN)),
    ]
}

/// Handshakes with real TLS in virtual time beside plain rustls in memory with the same certificate and checks, both
/// sides in one thread, in turn.
pub(crate) fn real_tls_virtual() -> Vec<Bench> {
    const HANDSHAKES: u64 = 1_024;
    let overrides =
        ["clock=virtual", "load.connections=64", "load.rounds=16", "load.hang_up_every=0"];
    let (scenario, _) = plan("offload-modes", &overrides);
    let plan = scenario.plan().into_iter().find(|row| row.name == "async").expect("a row");
    let rig = Rig::new(&scenario);
    let mut ours = || {
        let (seconds, evidence) = rig.run(&plan);
        evidence.report().handshakes as f64 / seconds
    };
    let pki = &rig.fleet[0];
    let key = pki.software_key().expect("a fresh key");
    let server = keys::server_config(vec![pki.certificate.clone()], key).expect("a configuration");
    let client = client_config(Some(&pki.ca), TlsVersion::Tls13, &Verified::default());
    let (server, client) = (Arc::new(server), Arc::new(client.expect("a configuration")));
    let mut plain = || {
        let begun = Instant::now();
        for _ in 0..HANDSHAKES {
            shake(Client::new(&client), Plain::new(&server, Wire::default()));
        }
        HANDSHAKES as f64 / begun.elapsed().as_secs_f64()
    };
    let (ours, rival): (Measured, Measured) = in_turn_of(ROUNDS, &mut ours, &mut plain);
    let bench = Bench::nanoseconds("sim.real_tls_virtual", ours);
    let bench = Bench { unit: "1/s", better: Better::Higher, ..bench };
    vec![bench.with_rival("plain rustls in memory", rival.median)]
}

/// A handshake from one buffer to the other, and goodbye.
fn shake(mut client: Client, mut server: Plain) {
    client.step(server.wire());
    while server.step() != Stood::Done {
        client.step(server.wire());
    }
    // The client reads what comes with the end.
    client.step(server.wire());
}
