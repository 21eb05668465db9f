//! Deadlines and what they lead to (law L14), by hand, by driver and by the thread that waits.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use engine_core::{
    DriverError, Engine, EngineError, Fallback, Inline, Offload, Pending, RefusedReason,
    RequestOptions,
};
use job_core::JobPool;
use wait_ctx::WaitCtx;

use crate::support::{Answer, Bench, FAILED, KINDS, Manual, Mode, Negate, Outputs, end};

const DEADLINE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);

const FAIL: RequestOptions = RequestOptions::new().deadline(DEADLINE);
const STANDBY: RequestOptions = FAIL.fallback(Fallback::Standby);

fn bench() -> Bench {
    Bench::with_rings(4, 4)
}

/// Wakes a thread that a test waits in, with what a pending request came to.
fn value(pending: Pending<Negate>) -> Result<u64, EngineError> {
    pending.wait().map(|output| output.value)
}

#[test]
fn l14_an_operation_that_may_fail_fails_at_its_deadline_and_the_late_answer_is_wiped() {
    let bench = bench();
    let engine = bench.builder(FAIL).build();
    let ctx = WaitCtx::new();
    let (asked, work) = (Arc::clone(&engine), bench.work(7));
    ctx.set_callback(|_| {});
    let step = JobPool::new().start_with(&ctx, move || asked.run(work)).unwrap();
    assert_eq!(engine.poll(), Some(DEADLINE), "the next time to call");

    bench.clock.advance(DEADLINE - Duration::from_nanos(1));
    assert_eq!(engine.poll(), Some(DEADLINE));
    assert_eq!(ctx.notifier().counters().callback, 0);
    bench.clock.advance(Duration::from_nanos(1));
    assert_eq!(engine.poll(), None);
    assert_eq!(ctx.notifier().counters().callback, 1, "L4: one wake");

    let outcome = step.paused().unwrap().resume().finished().unwrap();
    assert_eq!(outcome.unwrap_err(), EngineError::Deadline);
    bench.device.answer_first(Answer::Right);
    assert_eq!(ctx.notifier().counters().callback, 1);
    assert_eq!((bench.outputs.made(), bench.outputs.erased()), (1, 1));
    let snapshot = engine.stats();
    assert_eq!((snapshot.deadlines, snapshot.late, snapshot.requests.now), (1, 1, 0));
}

#[test]
fn l14_an_answer_in_time_leaves_no_timer_behind() {
    let bench = bench();
    let engine = bench.builder(FAIL).build();
    let pending = engine.submit(bench.work(7)).unwrap();
    bench.device.answer_first(Answer::Right);
    assert_eq!(engine.poll(), None);
    assert_eq!(value(pending), Ok(!7));
    drop(engine.submit(bench.work(8)).unwrap());
    assert_eq!(engine.poll(), None, "nor does a cancelled request");
}

#[test]
fn l14_the_standby_takes_over_at_the_deadline_and_the_first_good_result_wins() {
    for device_wins in [false, true] {
        let bench = bench();
        let engine = bench.builder(STANDBY).build();
        let pending = engine.submit(bench.work(7)).unwrap();
        bench.clock.advance(DEADLINE);
        assert_eq!(engine.poll(), Some(2 * DEADLINE), "the standby has the same time again");
        assert_eq!(bench.standby.taken(), [7]);
        let (winner, loser) = if device_wins {
            (&bench.device, &bench.standby)
        } else {
            (&bench.standby, &bench.device)
        };
        winner.answer_first(Answer::Right);
        loser.answer_first(Answer::Right);
        assert_eq!(value(pending), Ok(!7));
        assert_eq!((bench.outputs.made(), bench.outputs.erased()), (2, 1));
        assert_eq!((engine.stats().fallbacks, engine.stats().late), (1, 1));
    }
}

/// The device has answered after all: what waits before the standby waits no longer.
#[test]
fn l5_an_answer_leaves_nothing_behind_before_the_standby() {
    let bench = Bench::with_rings(2, 1);
    let engine = bench.builder(STANDBY).build();
    let _first = engine.submit(bench.work(0)).unwrap();
    let second = engine.submit(bench.work(1)).unwrap();
    bench.clock.advance(DEADLINE);
    engine.poll();
    assert_eq!((bench.standby.taken(), engine.stats().waiters.now), (vec![0], 1));
    end(bench.device.find(1).unwrap(), Answer::Right);
    assert_eq!((value(second), engine.stats().waiters.now), (Ok(!1), 0));
}

#[test]
fn l14_a_standby_that_is_too_slow_as_well_ends_it() {
    let bench = bench();
    let engine = bench.builder(STANDBY).build();
    let pending = engine.submit(bench.work(7)).unwrap();
    bench.clock.advance(DEADLINE);
    engine.poll();
    bench.clock.advance(DEADLINE);
    assert_eq!(engine.poll(), None);
    assert_eq!(value(pending), Err(EngineError::Deadline));
    assert_eq!(engine.stats().deadlines, 2);
}

#[test]
fn l14_the_standby_does_what_the_device_fails_refuses_or_does_wrongly() {
    for answer in [Answer::Wrong, Answer::Fail, Answer::Drop] {
        let bench = bench();
        let engine = bench.builder(STANDBY).build();
        let pending = engine.submit(bench.work(7)).unwrap();
        bench.device.answer_first(answer);
        bench.standby.answer_first(Answer::Right);
        assert_eq!(value(pending), Ok(!7), "{answer:?}");
        assert_eq!(bench.outputs.made() - bench.outputs.erased(), 1);
    }
    for mode in [Mode::Away, Mode::Unsupported] {
        let bench = bench();
        let engine = bench.builder(STANDBY).build();
        bench.device.set_mode(mode);
        let pending = engine.submit(bench.work(7)).unwrap();
        bench.standby.answer_first(Answer::Right);
        assert_eq!(value(pending), Ok(!7), "{mode:?}");
    }
}

#[test]
fn l14_the_standby_fails_only_once() {
    let bench = bench();
    let engine = bench.builder(STANDBY).build();
    let pending = engine.submit(bench.work(7)).unwrap();
    bench.device.answer_first(Answer::Drop);
    bench.standby.answer_first(Answer::Fail);
    assert_eq!(value(pending), Err(EngineError::Device(FAILED)));
    assert_eq!((bench.device.taken().len(), bench.standby.taken().len()), (1, 1));
}

#[test]
fn l14_a_full_queue_overflows_onto_the_standby() {
    let bench = bench();
    let engine = bench.builder(STANDBY).queue_bound(1).build();
    bench.device.set_mode(Mode::Stuck);
    let waiting = engine.submit(bench.work(1)).unwrap();
    let beyond = engine.submit(bench.work(2)).unwrap();
    assert_eq!(bench.standby.taken(), [2]);
    // What waits is not stuck with the device either: at its deadline it leaves the queue.
    bench.clock.advance(DEADLINE);
    engine.poll();
    assert_eq!(bench.standby.taken(), [2, 1], "and number 2 has had its time");
    assert_eq!(engine.stats().waiters.now, 0);
    assert_eq!(value(beyond), Err(EngineError::Deadline));
    end(bench.standby.find(1).unwrap(), Answer::Right);
    assert_eq!(value(waiting), Ok(!1));
}

#[test]
fn terms_are_chosen_for_some_operations() {
    let bench = bench();
    let engine = bench.builder(RequestOptions::new()).build();
    let patient = engine.submit(bench.work(1)).unwrap();
    let hurried = engine.with_options(FAIL).submit(bench.work(2)).unwrap();
    bench.clock.advance(DEADLINE);
    engine.poll();
    assert_eq!(value(hurried), Err(EngineError::Deadline));
    bench.device.answer_first(Answer::Right);
    assert_eq!(value(patient), Ok(!1));
}

#[test]
fn an_idle_engine_computes_itself_and_offloads_as_load_builds_up() {
    let bench = bench();
    let engine = bench.builder(STANDBY).offload(Offload::Beyond(2)).build();
    let pending: Vec<_> = (0..4).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    assert_eq!((bench.standby.taken(), bench.device.taken()), (vec![0, 1], vec![2, 3]));
    assert_eq!((engine.stats().not_offloaded, engine.stats().fallbacks), (2, 0));
    drop(pending);
}

#[test]
fn a_standby_that_is_swamped_itself_gives_the_work_back() {
    let bench = Bench::with_rings(8, 1);
    let engine = bench.builder(STANDBY).offload(Offload::Beyond(8)).queue_bound(1).build();
    let pending: Vec<_> = (0..2).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    let refused = engine.submit(bench.work(2)).unwrap_err();
    assert_eq!((refused.work.n, refused.reason), (2, RefusedReason::QueueFull { bound: 1 }));
    assert_eq!(bench.device.taken(), []);
    drop(pending);
}

#[test]
fn an_engine_that_computes_where_it_is_called_goes_by_the_handshakes_it_is_told_of() {
    let bench = bench();
    let soft = Arc::new(Inline::new(|work: &Negate| Ok(work.right())));
    let engine = bench.builder(STANDBY).standby(soft).offload(Offload::Beyond(2)).build();
    // Whatever is computed at once is never under way when the next begins.
    for n in 0..4 {
        assert_eq!(value(engine.submit(bench.work(n)).unwrap()), Ok(!n));
    }
    engine.set_active(2);
    assert_eq!(value(engine.submit(bench.work(4)).unwrap()), Ok(!4));
    assert_eq!(bench.device.taken(), []);
    // Two others beside the one that asks.
    engine.set_active(3);
    let offloaded = engine.submit(bench.work(5)).unwrap();
    assert_eq!(bench.device.taken(), [5]);
    assert_eq!(engine.stats().not_offloaded, 5);
    drop(offloaded);
    engine.set_active(0);
    assert_eq!(value(engine.submit(bench.work(6)).unwrap()), Ok(!6));
}

#[test]
fn l14_a_thread_that_blocks_keeps_its_own_deadline() {
    let (device, outputs) = (Manual::new(4), Arc::default());
    let options = RequestOptions::new().deadline(Duration::from_millis(1));
    let engine = Engine::builder(device).options(options).build();
    // No thread polls, no device answers.
    assert_eq!(engine.run(Negate::new(7, &outputs)).unwrap_err(), EngineError::Deadline);
}

#[test]
fn l14_a_driver_keeps_deadlines_when_no_other_thread_polls() {
    let (device, outputs) = (Manual::new(8), Arc::<Outputs>::default());
    let soft = Arc::new(Inline::new(|work: &Negate| Ok(work.right())));
    let engine = Engine::builder(device.clone()).standby(soft).build();
    let driver = engine.spawn_driver().unwrap();
    assert!(matches!(engine.spawn_driver(), Err(DriverError::Running)));

    let (wake, woken) = mpsc::channel::<usize>();
    let pool = JobPool::new();
    let options = RequestOptions::new().fallback(Fallback::Standby);
    // Later deadlines first: each wakes the driver out of a longer sleep.
    let mut jobs = Vec::new();
    for (i, ms) in [3_000_000, 30, 20, 10, 1].into_iter().enumerate() {
        let ctx = WaitCtx::new();
        let wake = wake.clone();
        ctx.set_callback(move |_| wake.send(i).unwrap());
        let asked = engine.with_options(options.deadline(Duration::from_millis(ms)));
        let work = Negate::new(i as u64, &outputs);
        let step = pool.start_with(&ctx, move || asked.run(work).unwrap().value).unwrap();
        jobs.push((ctx, step.paused()));
    }
    for _ in 0..4 {
        let i = woken.recv_timeout(PATIENCE).expect("the driver has fired");
        let job = jobs[i].1.take().expect("one wake each");
        assert_eq!(job.resume().finished(), Some(!(i as u64)));
    }
    assert_eq!(engine.stats().deadlines, 4);
    end(device.find(0).unwrap(), Answer::Right);
    assert_eq!(woken.recv_timeout(PATIENCE), Ok(0));
    drop(driver);
    assert!(engine.spawn_driver().is_ok(), "another may follow");
}

#[test]
fn a_driver_ends_with_its_engine_and_keeps_none_alive() {
    let device = Manual::new(1);
    let engine = Engine::builder(device.clone()).build();
    let driver = engine.spawn_driver().unwrap();
    drop(engine);
    // The driver may be in the middle of a poll; it must not be in the middle of another.
    let gone = (0..1_000_000).any(|_| {
        thread::yield_now();
        Arc::strong_count(&device) == 1
    });
    assert!(gone, "the engine has let go of its device");
    drop(driver);
    assert!(device.ring(KINDS[0]).is_empty());
}

#[test]
fn the_histograms_tell_the_wait_for_room_the_device_and_the_resume_apart() {
    let bench = Bench::with_rings(1, 1);
    let engine = bench.builder(RequestOptions::new()).build();
    let pending: Vec<_> = (0..2).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    for ms in [4, 8] {
        bench.clock.advance(Duration::from_millis(ms));
        bench.device.answer_first(Answer::Right);
    }
    bench.clock.advance(Duration::from_millis(2));
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(value(pending), Ok(!n));
    }
    let snapshot = engine.stats();
    let parts = [&snapshot.queue_wait, &snapshot.device_time, &snapshot.resume_delay];
    // The first waited for 0, 4 and 10 ms, the second for 4, 8 and 2.
    assert_eq!(parts.map(|part| part.mean().as_millis()), [2, 6, 6]);
    assert_eq!(parts.map(|part| part.count()), [2, 2, 2]);
}

/// It has waited for the device before, and gets its whole time again.
#[test]
fn l14_a_request_that_a_full_queue_sends_to_the_standby_has_a_deadline_there() {
    let bench = bench();
    let engine = bench.builder(STANDBY).queue_bound(0).build();
    bench.device.set_mode(Mode::Stuck);
    let clock = Arc::clone(&bench.clock);
    bench.device.during_offer(move || clock.advance(DEADLINE / 2));
    let pending =
        engine.submit(Negate { copies: false, ..bench.work(7) }).expect("the standby takes it");
    assert_eq!(bench.standby.taken(), [7]);
    assert_eq!(engine.poll(), Some(DEADLINE + DEADLINE / 2));
    bench.clock.advance(DEADLINE - Duration::from_nanos(1));
    engine.poll();
    assert_eq!(engine.stats().deadlines, 0);
    bench.clock.advance(Duration::from_nanos(1));
    engine.poll();
    assert_eq!(value(pending), Err(EngineError::Deadline));
}

#[test]
fn l14_a_request_whose_deadline_comes_while_the_device_refuses_it_is_not_sent_to_the_standby() {
    let bench = bench();
    let engine = bench.builder(STANDBY).queue_bound(0).build();
    bench.device.set_mode(Mode::Stuck);
    let (clock, polled) = (Arc::clone(&bench.clock), Arc::clone(&engine));
    bench.device.during_offer(move || {
        clock.advance(DEADLINE);
        polled.poll();
    });
    let pending = engine.submit(Negate { copies: false, ..bench.work(7) }).unwrap();
    assert_eq!(bench.standby.taken(), []);
    assert_eq!(value(pending), Err(EngineError::Deadline));
    assert_eq!(engine.stats().fallbacks, 0);
}

#[test]
fn l5_a_request_whose_session_is_dropped_before_it_counts_as_cancelled() {
    let bench = bench();
    let engine = bench.builder(FAIL).build();
    let ctx = WaitCtx::new();
    let pending = engine.submit_on(ctx.notifier(), bench.work(7)).unwrap();
    drop(ctx);
    drop(pending);
    let stats = engine.stats();
    assert_eq!((stats.submitted, stats.cancelled, stats.completed + stats.failed), (1, 1, 0));
}
