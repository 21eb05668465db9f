//! Everything at once, on real threads: completions, deadlines, fallbacks, cancels and drops, with no gate between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine_core::{
    BreakerPolicy, CheckPolicy, Engine, EngineError, Fallback, OnFull, RequestOptions,
    ThreadPoolBuilder,
};
use job_core::{JobPool, Step};
use wait_ctx::WaitCtx;

use crate::support::{Answer, KINDS, Manual, Negate, Outputs, end};

const PATIENCE: Duration = Duration::from_secs(30);

/// A few bits from a number, so that every run does much the same without a generator.
fn scramble(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

fn answer(n: u64) -> Answer {
    match scramble(n) % 8 {
        0 => Answer::Wrong,
        1 => Answer::Fail,
        2 => Answer::Drop,
        _ => Answer::Right,
    }
}

fn options(n: u64) -> RequestOptions {
    // Around the time that an answer takes, so that either may be first.
    let options = RequestOptions::new().deadline(Duration::from_micros(50 + scramble(n) % 400));
    match scramble(n) % 4 {
        0 => RequestOptions::new(),
        1 => options,
        2 => RequestOptions::new().fallback(Fallback::Standby),
        _ => options.fallback(Fallback::Standby),
    }
}

fn everything_at_once(on_full: OnFull) {
    const ROUNDS: u64 = 60;
    const JOBS: u64 = 16;
    let outputs = Arc::<Outputs>::default();
    let device = Manual::new(4);
    let standby = ThreadPoolBuilder::new().threads(2).ring(4);
    let standby = standby.build(|work: &Negate| Ok(work.right()));
    let engine = Engine::builder(device.clone())
        .standby(Arc::new(standby))
        .checks(CheckPolicy::Always)
        .on_full(on_full)
        .breaker(BreakerPolicy::default().failures(6).pause(Duration::from_micros(300)))
        .build();
    let driver = engine.spawn_driver().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (card, stopped) = (device.clone(), Arc::clone(&stop));
    let hardware = thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            let taken = KINDS.into_iter().find_map(|kind| card.take(kind, 0));
            match taken {
                Some(request) => {
                    let n = request.work().n;
                    end(request, answer(n));
                }
                None => thread::yield_now(),
            }
        }
        for kind in KINDS {
            while card.answer(kind, 0, Answer::Right) {}
        }
    });

    let serving: Vec<_> = (0..2)
        .map(|thread| {
            let (engine, outputs) = (Arc::clone(&engine), Arc::clone(&outputs));
            thread::spawn(move || serve(thread, ROUNDS, JOBS, &engine, &outputs))
        })
        .collect();
    let delivered: u64 = serving.into_iter().map(|thread| thread.join().unwrap()).sum();
    stop.store(true, Ordering::SeqCst);
    hardware.join().unwrap();
    drop(driver);

    assert!(engine.quiesce(PATIENCE), "L8: requests");
    let snapshot = engine.stats();
    assert_eq!(snapshot.waiters.now, 0, "L8: waiters");
    assert_eq!(snapshot.submitted, 2 * ROUNDS * JOBS - snapshot.refused);
    let ended = snapshot.completed + snapshot.failed + snapshot.cancelled;
    assert_eq!(snapshot.submitted, ended, "L8: every request ends once");
    assert_eq!(outputs.made(), outputs.erased() + delivered, "L5: results");
    assert_eq!(outputs.made(), outputs.dropped(), "L8: results");
}

/// Starts jobs, cancels some of them at some time, and sees the others through. Says how many got a result.
fn serve(
    thread: u64,
    rounds: u64,
    jobs: u64,
    engine: &Arc<Engine<Negate>>,
    outputs: &Arc<Outputs>,
) -> u64 {
    let pool = JobPool::new();
    let mut delivered = 0;
    for round in 0..rounds {
        let mut running = Vec::new();
        for job in 0..jobs {
            let n = (thread * rounds + round) * jobs + job;
            let kind = KINDS[n as usize % 2];
            let work = Negate { kind, ..Negate::new(n, outputs) };
            let engine = engine.with_options(options(n));
            let ctx = WaitCtx::new();
            let step = pool.start_with(&ctx, move || engine.run(work));
            running.push((n, ctx, Some(step.unwrap())));
        }
        // Resumed in turn, woken or not (L2); bounded by the patience of the harness only if something hangs.
        while !running.is_empty() {
            for (n, _, step) in &mut running {
                *step = match step.take() {
                    Some(Step::Paused(job)) if scramble(*n ^ round).is_multiple_of(5) => {
                        let outcome = job.cancel().expect("the job returns");
                        assert_eq!(outcome.unwrap_err(), EngineError::Cancelled);
                        None
                    }
                    Some(Step::Paused(job)) => Some(job.resume()),
                    Some(Step::Finished(outcome)) => {
                        if let Ok(output) = outcome {
                            assert_eq!(output.value, !*n, "L1: another one's result");
                            delivered += 1;
                        }
                        None
                    }
                    None => None,
                };
            }
            running.retain(|(_, _, step)| step.is_some());
            thread::yield_now();
        }
    }
    assert_eq!(pool.stats().live, 0, "L8: jobs");
    delivered
}

#[test]
fn l1_l5_l8_l14_completions_deadlines_fallbacks_and_cancels_race_and_every_request_ends_once() {
    everything_at_once(OnFull::Queue);
}

#[test]
fn l1_l5_l8_l14_the_same_with_jobs_that_submit_again_themselves() {
    everything_at_once(OnFull::Notify);
}
