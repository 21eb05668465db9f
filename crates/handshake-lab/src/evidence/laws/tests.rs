//! Each law can fail: one counter wrong in a healthy row, and exactly that law is broken.

use std::{sync::Arc, time::Duration};

use crypto_ops::SoftwareKeys;
use job_core::PoolStats;
use lab_report::{Ledger, LedgerLevel};

use super::*;
use crate::{
    evidence::Harm,
    load::LoadReport,
    run::Device,
    scenario::Scenario,
    server::{SessionChecks, WorkerReport},
};

/// A row in which everything went well, ten handshakes of it.
fn healthy(mode: &str) -> RowEvidence {
    let plans = Scenario::find("offload-modes", &[]).expect("built in").plan();
    let plan = plans.into_iter().find(|plan| plan.name == mode).expect("a row of it");
    let started =
        Device::start(plan.device(), &[], 1, 8, Arc::new(SoftwareKeys::new()), &plan.engine);
    let mut device = started.expect("a valid device").end(Duration::from_secs(5));
    let engine = &mut device.engine;
    let parks = plan.mode == Mode::Async;
    let given_up = u64::from(parks);
    let asked = 10 + given_up;
    (engine.submitted, engine.accepted, engine.completed) = (asked, asked, 10);
    (engine.checked, engine.in_order, engine.ring_full) = (10, 6, 6);
    let parked = if parks { 10 } else { 0 };
    (engine.wakes, engine.resumes) = (parked, parked);
    (engine.cancelled, engine.late) = (given_up, given_up);
    let mut pool = PoolStats::default();
    pool.cancelled = given_up;
    let worker = WorkerReport {
        accepted: 10,
        handshakes: 10,
        parks: parked,
        parked_peak: parked,
        dropped: given_up,
        tokens: parked,
        resumes: parked,
        unprompted_resumes: 1,
        sessions: SessionChecks { unprompted: parked.min(1), parked, ..SessionChecks::default() },
        pool,
        ..WorkerReport::default()
    };
    RowEvidence {
        plan,
        load: LoadReport { handshakes: 10, hung_up: 1, ..LoadReport::default() },
        verified: 10,
        answers: None,
        calls: None,
        replays: None,
        parked_bytes: None,
        shortened: None,
        asked,
        workers: vec![worker],
        stuck: 0,
        devices: vec![device],
        harm: Harm { polls: 20, ..Harm::default() },
        ledger: Ledger { jobs: LedgerLevel { now: 0, peak: 10 }, ..Ledger::default() },
    }
}

fn engine(row: &mut RowEvidence) -> &mut engine_core::EngineStats {
    &mut row.devices[0].engine
}

fn broken(row: &RowEvidence) -> Vec<String> {
    let mut laws = Laws::default();
    laws.check(row);
    laws.reports().into_iter().filter(|law| !law.held).map(|law| law.law).collect()
}

#[track_caller]
fn breaks(law: &str, mode: &str, harm: impl FnOnce(&mut RowEvidence)) {
    let mut row = healthy(mode);
    harm(&mut row);
    assert_eq!(broken(&row), [law]);
}

#[test]
fn a_healthy_row_breaks_no_law_and_checks_each_that_applies() {
    for (mode, expected) in [
        ("async", vec!["L2", "L3", "L4", "L5", "L7", "L8", "L12", "L13"]),
        ("blocking", vec!["L2", "L3", "L8", "L11", "L12", "L13"]),
    ] {
        let mut laws = Laws::default();
        laws.check(&healthy(mode));
        let reports = laws.reports();
        assert!(reports.iter().all(|law| law.held && law.checked > 0), "{reports:?}");
        assert_eq!(reports.into_iter().map(|law| law.law).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn l2_is_broken_by_a_session_that_a_resume_harmed() {
    breaks("L2", "async", |row| row.workers[0].sessions.unprompted_harmed = 1);
}

#[test]
fn l2_is_broken_by_a_second_submission() {
    breaks("L2", "async", |row| engine(row).accepted = 12);
    breaks("L2", "async", |row| row.asked = 9);
}

#[test]
fn l3_is_broken_by_an_unfinished_handshake() {
    breaks("L3", "async", |row| row.load.unfinished = 1);
    breaks("L3", "async", |row| row.workers[0].abandoned = 1);
    breaks("L3", "blocking", |row| row.stuck = 1);
    breaks("L3", "async", |row| row.devices[0].quiet = false);
}

#[test]
fn l4_is_broken_by_a_wake_too_many() {
    breaks("L4", "async", |row| row.workers[0].sessions.wakes_beyond = 1);
    breaks("L4", "async", |row| row.workers[0].tokens = 11);
    breaks("L4", "async", |row| engine(row).wakes = 11);
}

#[test]
fn l4_is_broken_by_a_second_outcome_and_by_a_call_too_late_or_untrue() {
    breaks("L4", "async", |row| engine(row).cancelled = 2);
    let calls = Calls { begun: 10, ..Calls::default() };
    breaks("L4", "async", |row| row.calls = Some(Calls { after_unset: 1, ..calls }));
    breaks("L4", "async", |row| row.calls = Some(Calls { misinformed: 1, ..calls }));
}

#[test]
fn l4_is_broken_by_foreign_code_on_the_stack_of_a_job() {
    let calls = Calls { begun: 10, on_job_stack: 1, ..Calls::default() };
    breaks("L4", "async", |row| row.calls = Some(calls));
    breaks("L4", "async", |row| row.workers[0].calls_on_job_stack = 1);
    breaks("L4", "async", |row| engine(row).on_job_stack = 1);
}

#[test]
fn l4_allows_a_wake_for_each_time_that_there_is_room_to_retry() {
    let mut row = healthy("async");
    row.workers[0].tokens = 13;
    row.workers[0].sessions.wakes_beyond = 3;
    assert_eq!(broken(&row), ["L4"]);
    engine(&mut row).retry_wakes = 3;
    assert_eq!(broken(&row), Vec::<String>::new());
}

#[test]
fn l1_is_broken_by_the_result_of_another() {
    breaks("L1", "async", |row| {
        let answers = Answers { computed: 10, received: 10, ..Answers::default() };
        row.answers = Some(Answers { foreign: 1, ..answers });
    });
}

#[test]
fn l4_holds_when_a_wake_came_before_the_descriptor_that_it_was_kept_for() {
    let early = |row: &mut RowEvidence, wake| {
        row.plan.wake = wake;
        engine(row).wakes = 9;
    };
    let mut row = healthy("async");
    early(&mut row, Wake::Fd);
    assert!(broken(&row).is_empty());
    breaks("L4", "async", |row| early(row, Wake::Ready));
    breaks("L4", "async", |row| {
        early(row, Wake::Fd);
        row.workers[0].tokens = 11;
    });
}

#[test]
fn l5_is_broken_by_a_job_that_would_not_be_cancelled() {
    breaks("L5", "async", |row| row.workers[0].pool.quarantined = 1);
    breaks("L5", "async", |row| row.workers[0].pool.swallowed_panics = 1);
    breaks("L5", "async", |row| engine(row).late = 2);
    breaks("L5", "async", |row| row.workers[0].pool.cancelled = 3);
    breaks("L5", "async", |row| {
        row.answers = Some(Answers { computed: 10, received: 9, ..Answers::default() });
    });
}

/// An answer that is there when its session is dropped is not late: it was not collected.
#[test]
fn l5_tells_answers_that_were_not_collected_from_those_that_came_late() {
    let mut row = healthy("async");
    (engine(&mut row).cancelled, engine(&mut row).late) = (0, 0);
    assert_eq!(broken(&row), ["L5"], "a job was cancelled, and no operation");
    engine(&mut row).uncollected = 1;
    assert_eq!(broken(&row), Vec::<String>::new());
    engine(&mut row).late = 1;
    assert_eq!(broken(&row), ["L5"], "no operation was given up before its answer");
}

#[test]
fn l16_is_broken_by_a_replay_that_shows() {
    let healthy = Replays { handed: 10, resolved: 10, ..Replays::default() };
    breaks("L16", "async", |row| row.replays = Some(Replays { unasked: 1, ..healthy }));
    breaks("L16", "async", |row| row.replays = Some(Replays { resolved: 11, ..healthy }));
    breaks("L16", "async", |row| row.replays = Some(Replays { misled: 1, ..healthy }));
    breaks("L16", "async", |row| row.replays = Some(Replays { refused_early: 1, ..healthy }));
    let mut row = healthy_replay(healthy);
    row.asked += 1;
    assert_eq!(broken(&row), ["L2", "L16"]);
}

#[test]
fn l16_allows_what_was_done_on_purpose() {
    let told =
        Replays { handed: 10, resolved: 12, retried: 2, contradicted: 1, ..Replays::default() };
    let mut row = healthy_replay(told);
    row.asked += 1;
    (row.workers[0].failed, row.load.failed) = (1, 1);
    assert_eq!(broken(&row), Vec::<String>::new());
}

fn healthy_replay(replays: Replays) -> RowEvidence {
    RowEvidence { replays: Some(replays), ..healthy("async") }
}

#[test]
fn l7_is_broken_by_a_resume_that_nothing_asked_for() {
    breaks("L7", "async", |row| row.workers[0].sessions.too_many_resumes = 1);
}

#[test]
fn l7_is_broken_by_asking_a_full_ring_without_end() {
    breaks("L7", "async", |row| engine(row).ring_full = 1_000);
}

#[test]
fn l14_is_broken_by_an_operation_that_outlives_its_deadline() {
    breaks("L14", "async", |row| {
        row.harm.deadlines = true;
        row.harm.overdue = 1;
    });
    breaks("L14", "async", |row| {
        row.harm.deadlines = true;
        row.harm.unnoticed = 1;
    });
}

#[test]
fn l15_is_broken_by_a_failure_without_a_fault_or_without_a_word_to_the_client() {
    let failed = |row: &mut RowEvidence| {
        row.workers[0].failed = 1;
        engine(row).failed = 1;
        engine(row).completed -= 1;
    };
    breaks("L15", "async", |row| {
        failed(row);
        row.load.failed = 1;
    });
    breaks("L15", "async", |row| {
        failed(row);
        row.load.hung_up = 0;
        row.harm.failing = 1;
    });
    breaks("L15", "async", |row| row.load.failed = 1);
}

#[test]
fn l13_is_broken_by_a_ring_with_room_that_somebody_waits_for() {
    breaks("L13", "async", |row| row.harm.starved = 1);
}

#[test]
fn l8_is_broken_by_whatever_is_left_over() {
    breaks("L8", "async", |row| row.ledger.jobs.now = 1);
    breaks("L8", "blocking", |row| row.ledger.requests.now = 1);
    breaks("L8", "async", |row| row.ledger.fds.now = 1);
}

#[test]
fn l11_is_broken_by_a_job_where_there_should_be_none() {
    breaks("L11", "blocking", |row| row.workers[0].pool.started = 1);
}

#[test]
fn l12_is_broken_by_a_result_unchecked_or_a_client_that_did_not_verify() {
    breaks("L12", "async", |row| engine(row).checked = 9);
    breaks("L12", "async", |row| engine(row).check_failures = 1);
    breaks("L12", "async", |row| row.verified = 9);
}

#[test]
fn l13_is_broken_by_a_request_that_overtook_another() {
    breaks("L13", "async", |row| engine(row).out_of_order = 1);
}

#[test]
fn a_broken_law_stays_broken_and_says_in_which_row() {
    let mut laws = Laws::default();
    let mut bad = healthy("async");
    engine(&mut bad).out_of_order = 2;
    laws.check(&bad);
    laws.check(&healthy("async"));
    let report = laws.reports().into_iter().find(|law| law.law == "L13").expect("checked");
    assert!(!report.held);
    assert_eq!(report.detail.as_deref(), Some("row async: 2 requests overtook an older one"));
}
