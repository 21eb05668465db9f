//! What an application sees of the engine through the session's wait context: descriptors and callback.

use std::sync::Arc;

use engine_core::{Engine, EngineError};
use job_core::{JobPool, Step};
use wait_ctx::{Status, WaitCtx};

use crate::support::{Answer, KINDS, Manual, Mode, Negate, Outputs};

/// Whether the session's own descriptor says that there is something to do.
fn readable(ctx: &WaitCtx) -> bool {
    let fd = ctx.notify_fd().unwrap();
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).unwrap() > 0
}

#[test]
fn e2_with_a_callback_no_descriptor_is_registered() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let ctx = WaitCtx::new();
    ctx.set_callback(|_| {});
    let work = Negate::new(1, &outputs);
    let job = JobPool::new().start_with(&ctx, move || engine.run(work)).unwrap().paused().unwrap();
    assert!(ctx.all_fds().is_empty());
    device.answer_first(Answer::Right);
    assert!(job.resume().finished().unwrap().is_ok());
    assert!(ctx.all_fds().is_empty());
    assert_eq!(ctx.notifier().counters().callback, 1);
}

/// One descriptor for a session with any number of operations and engines, reported as new once.
#[test]
fn e2_e7_one_stable_descriptor_serves_every_engine_and_is_quiet_after_each_resume() {
    let outputs = Arc::<Outputs>::default();
    let devices = [Manual::new(4), Manual::new(4)];
    let ctx = WaitCtx::new();
    assert!(!readable(&ctx));
    let changed = ctx.changed_fds();
    assert_eq!((changed.added.len(), changed.removed.len()), (1, 0));
    let pool = JobPool::new();
    for (n, device) in devices.iter().chain(&devices).enumerate() {
        let engine = Engine::builder(device.clone()).build();
        let work = Negate::new(n as u64, &outputs);
        let step = pool.start_with(&ctx, move || engine.run(work)).unwrap();
        assert!(!readable(&ctx), "it is not signalled before the pause, but by the completion");
        device.answer_first(Answer::Right);
        assert!(readable(&ctx));
        assert!(step.paused().unwrap().resume().finished().unwrap().is_ok());
        assert!(!readable(&ctx), "operation {n}");
        let changed = ctx.changed_fds();
        assert_eq!((changed.added.len(), changed.removed.len()), (0, 0), "operation {n}");
    }
}

#[test]
fn e11_a_submission_that_fails_for_good_pauses_wakes_and_registers_nothing() {
    for mode in [Mode::Unsupported, Mode::Away, Mode::Early(Answer::Fail)] {
        let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
        device.set_mode(mode);
        let engine = Engine::builder(device.clone()).build();
        let ctx = WaitCtx::new();
        ctx.set_callback(|_| {});
        let work = Negate::new(1, &outputs);
        let step = JobPool::new().start_with(&ctx, move || engine.run(work)).unwrap();
        let Step::Finished(outcome) = step else { panic!("{mode:?}: it paused") };
        assert!(matches!(outcome, Err(EngineError::Device(_))), "{mode:?}: {outcome:?}");
        assert_eq!((ctx.status(), ctx.notifier().counters().callback), (Status::Err, 0));
        assert!(ctx.all_fds().is_empty(), "{mode:?}");
    }
}

/// An operation that fails and one that does well, on one thread at the same time: an error is a value, and whose.
#[test]
fn e15_an_error_of_one_operation_is_not_seen_by_another() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pool = JobPool::new();
    let contexts = [WaitCtx::new(), WaitCtx::new()];
    let jobs = [0, 1].map(|n| {
        let (engine, work) = (Arc::clone(&engine), Negate::new(n as u64, &outputs));
        pool.start_with(&contexts[n], move || engine.run(work)).unwrap().paused().unwrap()
    });
    assert!(device.answer(KINDS[0], 0, Answer::Fail));
    assert_eq!((contexts[0].status(), contexts[1].status()), (Status::Err, Status::Ok));
    let [failing, other] = jobs;
    let other = other.resume().paused().expect("L2: nothing has happened to it");
    assert!(failing.resume().finished().unwrap().is_err());
    assert!(device.answer(KINDS[0], 0, Answer::Right));
    assert_eq!(other.resume().finished().unwrap().unwrap().value, !1);
    assert_eq!(contexts[1].status(), Status::Ok);
}
