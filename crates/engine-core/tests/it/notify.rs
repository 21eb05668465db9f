//! `OnFull::Notify`: the job keeps its request, gets a permit when there may be room, and submits it itself.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use engine_core::{
    BreakerPolicy, Engine, EngineBuilder, EngineError, Fallback, Kind, OnFull, RefusedReason,
    RequestOptions,
};
use job_core::{Job, JobPool, Step};
use wait_ctx::{Reason, Route, Status, WaitCtx};

use crate::support::{Answer, Bench, Counter, KINDS, Mode, Negate, Outputs, Secret};

type Outcome = Result<Secret, EngineError>;

/// A session: the calls of its callback, and its job.
struct Session {
    ctx: WaitCtx,
    told: Arc<Mutex<Vec<(Reason, Status)>>>,
    job: Option<Job<Outcome>>,
}

/// The jobs of one engine that notifies.
struct Jobs {
    engine: Arc<Engine<Negate>>,
    pool: JobPool,
    outputs: Arc<Outputs>,
}

fn notifying(depth: usize, bound: usize) -> (Bench, Jobs) {
    let bench = Bench::with_rings(depth, 1);
    let jobs = Jobs::of(&bench, bench.builder(RequestOptions::new()).queue_bound(bound));
    (bench, jobs)
}

impl Jobs {
    fn of(bench: &Bench, builder: EngineBuilder<Negate>) -> Self {
        let engine = builder.on_full(OnFull::Notify).build();
        Self { engine, pool: JobPool::new(), outputs: Arc::clone(&bench.outputs) }
    }

    fn session(&self, n: u64) -> Session {
        self.session_of(KINDS[0], n)
    }

    fn session_of(&self, kind: Kind, n: u64) -> Session {
        self.session_for(Negate { kind, ..Negate::new(n, &self.outputs) })
    }

    fn session_for(&self, work: Negate) -> Session {
        let ctx = WaitCtx::new();
        let told = Arc::<Mutex<Vec<_>>>::default();
        let tell = Arc::clone(&told);
        ctx.set_callback(move |note| tell.lock().unwrap().push((note.reason, note.status)));
        let engine = Arc::clone(&self.engine);
        let job = self.pool.start_with(&ctx, move || engine.run(work)).unwrap().paused();
        Session { ctx, told, job }
    }
}

impl Session {
    fn told(&self) -> Vec<(Reason, Status)> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    fn resume(&mut self) -> Option<Outcome> {
        match self.job.take().expect("a paused job").resume() {
            Step::Paused(job) => {
                self.job = Some(job);
                None
            }
            Step::Finished(outcome) => Some(outcome),
        }
    }
}

const RETRY: (Reason, Status) = (Reason::Retry, Status::Again);
const SETTLED: (Reason, Status) = (Reason::Settled, Status::Ok);

#[test]
fn l4_one_wake_for_the_retry_with_status_again_and_one_for_the_completion() {
    let (bench, jobs) = notifying(1, 8);
    let mut first = jobs.session(0);
    let mut second = jobs.session(1);
    assert_eq!((first.ctx.status(), second.ctx.status()), (Status::Ok, Status::Again));

    // L2: resumes without a reason submit nothing, however often.
    for _ in 0..10 {
        assert!(second.resume().is_none());
    }
    assert_eq!(bench.device.taken(), [0]);

    bench.device.answer_first(Answer::Right);
    assert_eq!((first.told(), second.told()), (vec![SETTLED], vec![RETRY]));
    assert_eq!(bench.device.taken(), [0], "the job submits, not the engine");
    assert_eq!(first.resume().unwrap().unwrap().value, !0);

    assert!(second.resume().is_none());
    assert_eq!(bench.device.taken(), [0, 1]);
    assert_eq!(second.ctx.status(), Status::Ok);
    bench.device.answer_first(Answer::Right);
    assert_eq!(second.told(), [SETTLED]);
    assert_eq!(second.resume().unwrap().unwrap().value, !1);
    let snapshot = jobs.engine.stats();
    assert_eq!((snapshot.retries, snapshot.retry_wakes, snapshot.wakes), (1, 1, 2));
    assert_eq!((snapshot.resumes, snapshot.spurious_resumes), (13, 10));
    assert_eq!((snapshot.requests.now, snapshot.waiters.now), (0, 0));
}

#[test]
fn l13_permits_come_in_the_order_of_asking_and_new_requests_do_not_overtake() {
    let (bench, jobs) = notifying(1, 8);
    let mut sessions: Vec<_> = (0..4).map(|n| jobs.session(n)).collect();
    bench.device.answer_first(Answer::Right);
    assert_eq!(sessions[1].told(), [RETRY]);
    assert!(sessions[2].told().is_empty());
    // The ring has room, but a permit reserves it.
    let late = jobs.session(4);
    assert_eq!(bench.device.taken(), [0]);
    for session in &mut sessions[1..] {
        assert!(session.resume().is_none());
        bench.device.answer_first(Answer::Right);
    }
    assert_eq!(late.told(), [RETRY]);
    assert_eq!(bench.device.taken(), [0, 1, 2, 3]);
    drop((late, sessions));
    assert_eq!(jobs.engine.stats().waiters.now, 0);
}

/// No job waits any more, and the room is reserved for the job with the permit.
#[test]
fn l13_a_new_request_takes_no_room_that_was_promised_but_any_other() {
    let (bench, jobs) = notifying(1, 8);
    let mut sessions: Vec<_> = (0..2).map(|n| jobs.session(n)).collect();
    bench.device.answer_first(Answer::Right);
    let _late = jobs.session(2);
    assert_eq!(bench.device.taken(), [0]);
    assert!(sessions[1].resume().is_none());
    assert_eq!(bench.device.taken(), [0, 1]);

    let (bench, jobs) = notifying(3, 8);
    bench.device.tell_credits();
    bench.device.set_mode(Mode::Stuck);
    let session = jobs.session(0);
    bench.device.set_mode(Mode::Take);
    jobs.engine.poll();
    assert_eq!(session.told(), [RETRY]);
    let _more: Vec<_> = (1..4).map(|n| jobs.session(n)).collect();
    assert_eq!(bench.device.taken(), [1, 2], "a permit reserves one of three entries");
}

#[test]
fn a_turn_that_finds_the_ring_full_again_stays_the_next() {
    let (bench, jobs) = notifying(1, 8);
    let mut sessions: Vec<_> = (0..3).map(|n| jobs.session(n)).collect();
    bench.device.answer_first(Answer::Right);
    bench.device.set_mode(Mode::Stuck);
    assert_eq!(sessions[1].told(), [RETRY]);
    assert!(sessions[1].resume().is_none());
    assert_eq!((sessions[1].ctx.status(), sessions[2].told()), (Status::Again, vec![]));
    bench.device.set_mode(Mode::Take);
    bench.device.announce_room();
    assert_eq!((sessions[1].told(), sessions[2].told()), (vec![RETRY], vec![]));
    assert!(sessions[1].resume().is_none());
    assert_eq!(bench.device.taken(), [0, 1]);
}

#[test]
fn a_job_that_goes_away_passes_its_turn_on() {
    let (bench, jobs) = notifying(1, 8);
    let mut sessions: Vec<_> = (0..4).map(|n| jobs.session(n)).collect();
    drop(sessions.remove(2));
    bench.device.answer_first(Answer::Right);
    drop(sessions.remove(1));
    assert_eq!(sessions[1].told(), [RETRY], "number 3, after 1 and 2 have gone");
    assert!(sessions[1].resume().is_none());
    assert_eq!(bench.device.taken(), [0, 3]);
}

#[test]
fn with_credits_as_many_are_told_as_there_is_room_for() {
    let (bench, jobs) = notifying(3, 8);
    bench.device.tell_credits();
    bench.device.set_mode(Mode::Stuck);
    let sessions: Vec<_> = (0..5).map(|n| jobs.session(n)).collect();
    jobs.engine.poll();
    assert!(sessions.iter().all(|session| session.told().is_empty()));
    bench.device.set_mode(Mode::Take);
    jobs.engine.poll();
    let told: Vec<_> = sessions.iter().map(|session| session.told().len()).collect();
    assert_eq!(told, [1, 1, 1, 0, 0]);
    jobs.engine.poll();
    assert!(sessions.iter().all(|session| session.told().is_empty()), "once is enough");
}

#[test]
fn l7_a_device_that_refuses_although_it_tells_of_room_is_not_asked_again_before_something_changes()
{
    let (bench, jobs) = notifying(2, 8);
    bench.device.tell_credits();
    bench.device.set_mode(Mode::Lying);
    let mut sessions: Vec<_> = (0..2).map(|n| jobs.session(n)).collect();
    let refusals = jobs.engine.stats().ring_full;
    assert!(refusals <= 4, "{refusals} for two requests");
    for session in &mut sessions {
        assert!(session.resume().is_none());
    }
    jobs.engine.poll();
    assert!(jobs.engine.stats().ring_full <= refusals + 2, "not again for nothing");
    bench.device.set_mode(Mode::Take);
    bench.device.announce_room();
    for session in &mut sessions {
        assert!(session.resume().is_none());
    }
    assert_eq!(bench.device.taken(), [0, 1]);
}

/// Kinds may share a ring: a completion of one is a reason to believe the device of another again.
#[test]
fn l3_a_completion_of_another_kind_makes_the_word_of_the_device_count_again() {
    let (bench, jobs) = notifying(2, 8);
    bench.device.tell_credits();
    let other = Negate { kind: KINDS[1], ..bench.work(0) };
    let other = jobs.engine.submit(other).unwrap();
    bench.device.set_mode(Mode::Lying);
    let mut session = jobs.session(1);
    assert!(session.resume().is_none());
    session.told();
    bench.device.set_mode(Mode::Take);
    assert!(bench.device.answer(KINDS[1], 0, Answer::Right));
    assert_eq!(session.told(), [RETRY]);
    assert!(session.resume().is_none());
    assert_eq!(bench.device.taken(), [0, 1]);
    assert_eq!(other.wait().unwrap().value, !0);
}

/// The ring of the first kind is full and others wait for it. Nothing was ever refused to the second.
#[test]
fn l3_a_kind_that_was_never_offered_does_not_wait_for_another() {
    for tells in [false, true] {
        let (bench, jobs) = notifying(1, 8);
        if tells {
            bench.device.tell_credits();
        }
        let _slow: Vec<_> = (0..2).map(|n| jobs.session(n)).collect();
        // Its ring is empty. It sees that before it pauses, so no wake is needed.
        let fast = jobs.session_of(KINDS[1], 2);
        assert_eq!(bench.device.taken(), [0, 2], "tells: {tells}");
        assert!(fast.told().is_empty());
    }
}

/// Whatever of the device's word is known: one ring for all kinds, and only another kind is on it.
#[test]
fn l3_a_completion_of_another_kind_is_told_to_who_was_refused() {
    for tells in [false, true] {
        let (bench, jobs) = notifying(1, 8);
        if tells {
            bench.device.tell_credits();
        }
        let first = jobs.session_of(KINDS[1], 0);
        bench.device.set_mode(Mode::Stuck);
        let mut second = jobs.session(1);
        assert!(second.told().is_empty());
        bench.device.set_mode(Mode::Take);
        assert!(bench.device.answer(KINDS[1], 0, Answer::Right));
        assert_eq!((first.told(), second.told()), (vec![SETTLED], vec![RETRY]), "tells: {tells}");
        assert!(second.resume().is_none());
        assert_eq!(bench.device.taken(), [0, 1]);
    }
}

/// Its deadline sends it to the standby just while the pump asks whether there is room for it.
#[test]
fn l13_a_turn_whose_operation_went_to_the_standby_meanwhile_is_passed_on() {
    let bench = Bench::with_rings(1, 1);
    let deadline = Duration::from_millis(1);
    let options = RequestOptions::new().deadline(deadline).fallback(Fallback::Standby);
    let jobs = Jobs::of(&bench, bench.builder(options));
    let mut first = jobs.session(0);
    let mut second = jobs.session(1);
    let (clock, engine) = (Arc::clone(&bench.clock), Arc::clone(&jobs.engine));
    bench.device.tell_credits();
    bench.device.meanwhile(move || {
        clock.advance(deadline);
        engine.poll();
    });
    bench.device.answer_first(Answer::Right);
    assert_eq!(first.resume().unwrap().unwrap().value, !0);
    assert_eq!(bench.standby.taken(), [1]);
    bench.standby.answer_first(Answer::Right);
    assert_eq!(second.resume().unwrap().unwrap().value, !1);

    let _third = jobs.session(2);
    assert_eq!(bench.device.taken(), [0, 2], "no other request has reserved the room");
    assert_eq!(jobs.engine.stats().waiters.now, 0);
}

/// The job has the only copy of the work, so it cannot go to another device.
#[test]
fn l14_a_turn_whose_work_has_no_copy_outlives_a_trip_of_the_breaker() {
    let bench = Bench::with_rings(1, 1);
    let breaker = BreakerPolicy::default().failures(1).pause(Duration::from_millis(1));
    let builder = bench.builder(RequestOptions::new().fallback(Fallback::Standby)).breaker(breaker);
    let jobs = Jobs::of(&bench, builder);
    let mut first = jobs.session_for(Negate { copies: false, ..bench.work(0) });
    let mut second = jobs.session_for(Negate { copies: false, ..bench.work(1) });
    bench.device.answer_first(Answer::Fail);
    assert_eq!(jobs.engine.stats().trips, 1);
    bench.standby.answer_first(Answer::Right);
    assert_eq!(first.resume().unwrap().unwrap().value, !0);

    assert!(second.resume().is_none());
    assert_eq!(bench.device.taken(), [0, 1], "its permit came");
    bench.device.answer_first(Answer::Right);
    assert_eq!(second.resume().unwrap().unwrap().value, !1);
}

/// It has a permit, and never uses it.
#[test]
fn l13_the_turn_of_a_session_that_has_gone_is_passed_on() {
    let (bench, jobs) = notifying(1, 8);
    let _first = jobs.session(0);
    let ctx = WaitCtx::new();
    let mut second = jobs.engine.submit_on(ctx.notifier(), bench.work(1)).unwrap();
    assert!(second.poll_result().is_pending());
    bench.device.answer_first(Answer::Right);
    drop(ctx);
    drop(second);
    let _third = jobs.session(2);
    assert_eq!(bench.device.taken(), [0, 2]);
    assert_eq!(jobs.engine.stats().waiters.now, 0);
}

/// The same where the request itself waits.
#[test]
fn l5_the_request_of_a_session_that_has_gone_waits_no_longer() {
    let bench = Bench::with_rings(1, 1);
    let engine = bench.builder(RequestOptions::new()).build();
    let _first = engine.submit(bench.work(0)).unwrap();
    let ctx = WaitCtx::new();
    let second = engine.submit_on(ctx.notifier(), bench.work(1)).unwrap();
    drop(ctx);
    assert_eq!(engine.stats().waiters.now, 1);
    drop(second);
    assert_eq!((engine.stats().waiters.now, engine.stats().requests.now), (0, 1));
}

/// A job that waits for another request does not use its permit; the room goes to the next request.
#[test]
fn l13_an_unused_permit_holds_no_other_request_up() {
    let (bench, jobs) = notifying(1, 8);
    let _first = jobs.session(0);
    let mut second = jobs.engine.submit(bench.work(1)).unwrap();
    let mut third = jobs.engine.submit(bench.work(2)).unwrap();
    assert!(third.poll_result().is_pending());
    bench.device.answer_first(Answer::Right);
    assert!(third.poll_result().is_pending());
    assert_eq!(bench.device.taken(), [0, 2]);
    assert!(second.poll_result().is_pending(), "the room went to the one that took it");
    bench.device.answer_first(Answer::Right);
    assert!(matches!(third.poll_result(), Poll::Ready(Ok(Secret { value, .. })) if value == !2));
    assert!(second.poll_result().is_pending());
    assert_eq!(bench.device.taken(), [0, 2, 1]);
    bench.device.answer_first(Answer::Right);
    assert!(second.poll_result().is_ready());
}

#[test]
fn l5_permits_of_a_dropped_engine_are_gone() {
    let (bench, jobs) = notifying(1, 8);
    let first = jobs.engine.submit(bench.work(0)).unwrap();
    let [parked, waiting] = [WaitCtx::new(), WaitCtx::new()];
    let wakes = Arc::new(Counter::default());
    parked.notifier().set_route(Route::Waker(wakes.waker()));
    let mut second = jobs.engine.submit_on(parked.notifier(), bench.work(1)).unwrap();
    let mut third = jobs.engine.submit_on(waiting.notifier(), bench.work(2)).unwrap();
    assert!(second.poll_result().is_pending());
    drop(jobs);
    assert_eq!(wakes.wakes(), 1);
    for pending in [&mut second, &mut third] {
        assert!(matches!(pending.poll_result(), Poll::Ready(Err(EngineError::Gone))));
    }
    // This device outlives the engine and still answers.
    bench.device.answer_first(Answer::Right);
    assert_eq!(first.wait().unwrap().value, !0);
}

#[test]
fn l3_a_device_that_panics_once_does_not_stop_the_queue() {
    let (bench, jobs) = notifying(1, 8);
    let _first = jobs.session(0);
    let second = jobs.session(1);
    bench.device.meanwhile(|| panic!("told to"));
    bench.device.answer_first(Answer::Right);
    assert_eq!(
        second.told(),
        [RETRY],
        "a device that cannot tell is believed to have room for one"
    );
}

/// The permit of the job that blocks, and of no other, is replaced by a request that the engine submits.
#[test]
fn l13_a_blocking_caller_keeps_its_place_in_the_queue() {
    let (bench, jobs) = notifying(1, 8);
    let mut first = jobs.engine.submit(bench.work(0)).unwrap();
    let mut second = jobs.engine.submit(bench.work(1)).unwrap();
    let third = jobs.engine.submit(bench.work(2)).unwrap();
    assert!(second.poll_result().is_pending(), "it checks for its permit");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| third.wait().unwrap().value);
        while jobs.engine.stats().blocking_waits == 0 {
            std::thread::yield_now();
        }
        // Nothing is asserted before all have ended: a panic here would wait for the other thread.
        let mut values = [None; 2];
        while values.iter().any(Option::is_none) || !waiter.is_finished() {
            bench.device.answer(KINDS[0], 0, Answer::Right);
            for (value, pending) in values.iter_mut().zip([&mut first, &mut second]) {
                if value.is_none()
                    && let Poll::Ready(outcome) = pending.poll_result()
                {
                    *value = Some(outcome.unwrap().value);
                }
            }
            std::thread::yield_now();
        }
        assert_eq!((values, waiter.join().unwrap()), ([Some(!0), Some(!1)], !2));
    });
    assert_eq!(bench.device.taken(), [0, 1, 2]);
}

/// It leaves the queue of owners just while the pump asks whether there is room for it.
#[test]
fn l3_a_caller_that_blocks_when_its_permit_comes_is_not_lost() {
    let (bench, jobs) = notifying(1, 8);
    let first = jobs.engine.submit(bench.work(0)).unwrap();
    let second = jobs.engine.submit(bench.work(1)).unwrap();
    let (go, waits) = std::sync::mpsc::channel();
    let engine = Arc::clone(&jobs.engine);
    bench.device.tell_credits();
    bench.device.meanwhile(move || {
        go.send(()).unwrap();
        // What comes after the count cannot be seen; given time, it happens here.
        let blocks = |_: &u32| engine.stats().blocking_waits > 0;
        (0..).find(blocks);
        (0..1000).for_each(|_| std::thread::yield_now());
    });
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            waits.recv().unwrap();
            second.wait().unwrap().value
        });
        bench.device.answer_first(Answer::Right);
        while !bench.device.answer(KINDS[0], 0, Answer::Right) {
            std::thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), !1);
    });
    assert_eq!(first.wait().unwrap().value, !0);
}

#[test]
fn a_blocking_caller_queues_and_the_bound_holds() {
    let (bench, jobs) = notifying(1, 1);
    let first = jobs.engine.submit(bench.work(0)).unwrap();
    let second = jobs.engine.submit(bench.work(1)).unwrap();
    let refused = jobs.engine.submit(bench.work(2)).unwrap_err();
    assert_eq!((refused.work.n, refused.reason), (2, RefusedReason::QueueFull { bound: 1 }));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| second.wait().unwrap().value);
        // Whatever the order of the two threads: the request itself gets into the queue, or its turn into its hands.
        bench.device.answer_first(Answer::Right);
        let found = (0..10_000_000).any(|_| {
            std::thread::yield_now();
            bench.device.answer(KINDS[0], 0, Answer::Right)
        });
        assert!(found, "it reached the device without a resume");
        assert_eq!(waiter.join().unwrap(), !1);
    });
    assert_eq!(first.wait().unwrap().value, !0);
}
