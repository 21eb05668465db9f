//! Laws L2 (a wake is a hint), L3 (no lost wakeup) and L4 (one wake per reason): when a wake is due, and its route.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use wait_ctx::{
    Arm, Ending, InFlight, ReadyQueue, Reason, RequestPhase, Route, Status, Token, WaitCtx,
};

fn readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).expect("poll") == 1
}

/// Whether select(2) finds the descriptor readable.
#[cfg(target_os = "linux")]
fn selectable(fd: &impl AsRawFd) -> bool {
    use rustix::event::{FdSetElement, FdSetIter, fd_set_insert, fd_set_num_elements, select};
    let n_fds = fd.as_raw_fd() + 1;
    let mut set = vec![FdSetElement::default(); fd_set_num_elements(1, n_fds)];
    fd_set_insert(&mut set, fd.as_raw_fd());
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the only descriptor in the set is open for the whole call, and the set has room for its number.
    unsafe { select(n_fds, Some(&mut set), None, None, Some(&now)) }.expect("select");
    FdSetIter::new(&set).any(|ready| ready == fd.as_raw_fd())
}

fn counting(ctx: &WaitCtx) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    ctx.set_callback(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    calls
}

#[test]
fn l3_no_lost_wakeup_when_the_completion_comes_after_the_pause() {
    let ctx = WaitCtx::new();
    let calls = counting(&ctx);
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(ctx.status(), Status::Again);
    request.accept();
    assert_eq!(ctx.status(), Status::Ok);
    assert_eq!(request.arm(), Arm::Armed);
    let claim = request.claim(Ending::Done).expect("first");
    assert_eq!(request.phase(), RequestPhase::Submitted);
    assert!(claim.wake());
    assert_eq!(request.phase(), RequestPhase::Done);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn l4_a_completion_seen_before_the_pause_needs_no_wake() {
    let ctx = WaitCtx::new();
    let calls = counting(&ctx);
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert!(!request.claim(Ending::Done).expect("first").wake());
    request.accept();
    assert_eq!(request.arm(), Arm::Settled(RequestPhase::Done));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn l4_late_and_duplicate_completions_do_nothing() {
    let ctx = WaitCtx::new();
    let calls = counting(&ctx);
    let old = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(old.arm(), Arm::Armed);
    assert!(old.claim(Ending::Done).expect("first").wake());
    assert!(old.claim(Ending::Failed).is_none());
    let new = ctx.notifier().begin().expect("the old one is done");
    assert_eq!(new.arm(), Arm::Armed);
    assert!(old.claim(Ending::Failed).is_none());
    assert!(!old.cancel());
    assert_eq!(old.phase(), RequestPhase::Cancelled);
    assert_eq!(new.phase(), RequestPhase::Queued);
    assert!(new.cancel());
    assert!(new.claim(Ending::Done).is_none());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn l3_a_wake_without_a_route_is_delivered_by_the_first_route_added() {
    let ctx = WaitCtx::new();
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    assert!(!request.claim(Ending::Failed).expect("first").wake());
    let calls = counting(&ctx);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(ctx.status(), Status::Err);
}

/// The wake of a future is no request's: whatever a request does before a route is added, the wake is delivered.
#[test]
fn l3_the_wake_of_a_future_without_a_route_outlives_the_requests_of_its_poll() {
    type Calls = fn(&InFlight);
    let calls_of_a_request: [(&str, Calls); 6] = [
        ("begun", |_| {}),
        ("armed", |request| assert_eq!(request.arm(), Arm::Armed)),
        ("told to submit again", |request| {
            request.notify_retry();
            assert_eq!(request.arm(), Arm::Retry);
        }),
        ("cancelled", |request| assert!(request.cancel())),
        ("done", |request| assert!(!request.claim(Ending::Done).expect("the first").wake())),
        ("cancelled after a retry found no route", |request| {
            assert_eq!(request.arm(), Arm::Armed);
            assert!(!request.notify_retry());
            assert_eq!(request.arm(), Arm::Armed);
            assert!(request.cancel());
        }),
    ];
    for (name, calls) in calls_of_a_request {
        for wake_first in [true, false] {
            let ctx = WaitCtx::new();
            let waker = ctx.notifier().waker();
            if wake_first {
                waker.wake_by_ref();
            }
            let request = ctx.notifier().begin().expect("nothing in flight");
            if !wake_first {
                waker.wake_by_ref();
            }
            calls(&request);
            let heard = counting(&ctx);
            assert_eq!(heard.load(Ordering::Relaxed), 1, "{name}, wake first: {wake_first}");
        }
    }
}

/// One for each reason, as with a route.
#[test]
fn l4_a_completion_and_a_future_that_found_no_route_are_two_wakes() {
    let ctx = WaitCtx::new();
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    ctx.notifier().waker().wake();
    assert!(!request.claim(Ending::Done).expect("the first").wake());
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&reasons);
    ctx.set_callback(move |notification| heard.lock().unwrap().push(notification.reason));
    assert_eq!(*reasons.lock().unwrap(), [Reason::Settled, Reason::Future]);
}

#[test]
fn l4_one_route_per_wake_callback_before_fd_before_ready_queue() {
    let ctx = WaitCtx::new();
    let mut queue = ReadyQueue::new().expect("eventfd");
    let mut ready = Vec::new();
    ctx.notifier().set_route(Route::Ready(queue.sender(), Token(7)));
    let finish = || {
        let request = ctx.notifier().begin().expect("nothing in flight");
        assert_eq!(request.arm(), Arm::Armed);
        assert!(request.claim(Ending::Done).expect("first").wake());
    };

    finish();
    queue.drain(&mut ready);
    assert_eq!(ready, [Token(7)]);
    assert_eq!(queue.fd_writes(), 0);

    let fd = ctx.notify_fd().expect("eventfd");
    finish();
    assert!(readable(&fd));
    ctx.drain_notify();
    assert!(!readable(&fd));

    let calls = counting(&ctx);
    finish();
    assert!(!readable(&fd));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let counters = ctx.notifier().counters();
    assert_eq!((counters.callback, counters.fd, counters.ready), (1, 1, 1));
}

#[test]
fn l7_the_ready_queue_writes_its_descriptor_once_per_sleep() {
    let mut queue = ReadyQueue::new().expect("eventfd");
    let sender = queue.sender();
    assert!(sender.push(Token(1)));
    assert!(!queue.prepare_sleep());
    let mut ready = Vec::new();
    queue.drain(&mut ready);
    assert!(queue.prepare_sleep());
    let other = std::thread::spawn(move || {
        assert!(sender.push(Token(2)));
        assert!(sender.push(Token(3)));
        sender
    });
    poll(&mut [PollFd::new(&queue, PollFlags::IN)], None).expect("poll");
    let sender = other.join().expect("no panic");
    queue.awake();
    assert!(!readable(&queue));
    queue.drain(&mut ready);
    assert_eq!(ready, [Token(1), Token(2), Token(3)]);
    assert!(sender.push(Token(4)), "awake again, so nothing is written");
    assert_eq!(queue.fd_writes(), 1);
    drop(queue);
    assert!(!sender.push(Token(5)));
}

#[test]
fn notifiers_and_requests_of_two_sessions_are_two() {
    let (one, other) = (WaitCtx::new(), WaitCtx::new());
    assert!(one.notifier().same(&one.notifier().clone()) && !one.notifier().same(other.notifier()));
    // Both are the first of their session.
    let (first, second) =
        (one.notifier().begin().expect("free"), other.notifier().begin().expect("free"));
    assert!(first == first.clone() && first != second);
    assert!(first.notifier().same(one.notifier()) && !first.notifier().same(other.notifier()));
    assert!(first.claim(Ending::Done).is_some_and(|claim| !claim.wake()), "not armed");
    let next = one.notifier().begin().expect("free");
    assert!(next.generation() > first.generation() && next != first);
}

#[test]
fn l4_a_retry_is_for_who_waits_for_room_and_has_no_result_coming() {
    let ctx = WaitCtx::new();
    let wakes = counting(&ctx);
    let request = ctx.notifier().begin().expect("free");
    assert!(!request.notify_retry(), "not armed: the next arm reports it");
    assert_eq!((request.arm(), request.arm()), (Arm::Retry, Arm::Armed));
    let claim = request.claim(Ending::Done).expect("the first");
    assert!(!request.notify_retry(), "the result is on its way");
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
    assert!(claim.wake());
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert!(!request.notify_retry());
}

#[test]
fn senders_of_one_queue_are_the_same() {
    let queues = [0, 1].map(|_| ReadyQueue::new().expect("a descriptor"));
    assert!(queues[0].sender() == queues[0].sender());
    assert!(queues[0].sender() != queues[1].sender());
}

#[test]
fn every_route_counts_as_a_delivery() {
    let ctx = WaitCtx::new();
    let mut ready = ReadyQueue::new().expect("a descriptor");
    let wake = || ctx.notifier().waker().wake();
    let delivered = || ctx.notifier().counters().delivered();
    ctx.notifier().set_route(Route::Waker(std::task::Waker::noop().clone()));
    wake();
    assert_eq!(delivered(), 1);
    ctx.notifier().set_route(Route::Ready(ready.sender(), Token(1)));
    wake();
    assert_eq!(delivered(), 2);
    ctx.notify_fd().expect("a descriptor");
    wake();
    assert_eq!(delivered(), 3);
    ctx.set_callback(|_| {});
    wake();
    assert_eq!(delivered(), 4);
    let mut tokens = Vec::new();
    ready.drain(&mut tokens);
    assert_eq!(tokens, [Token(1)]);
}

/// Between two drains, any number of wakes of one future on any threads add one token.
#[test]
fn l3_wakes_of_a_future_coalesce_and_none_is_lost() {
    const WAKES: u64 = 100_000;
    let ctx = WaitCtx::new();
    let mut queue = ReadyQueue::new().expect("a descriptor");
    ctx.notifier().set_route(Route::Ready(queue.sender(), Token(usize::MAX)));
    let waker = ctx.notifier().waker();
    let mut tokens = Vec::new();
    for round in 1..=2 {
        (0..WAKES).for_each(|_| waker.wake_by_ref());
        queue.drain(&mut tokens);
        assert_eq!(tokens.drain(..).count(), 1);
        assert_eq!(ctx.notifier().counters().ready, round);
    }
    // Each wake is before a drain that sees its token.
    let seen = AtomicU64::new(0);
    let woken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=WAKES {
                woken.store(n, Ordering::SeqCst);
                waker.wake_by_ref();
            }
        });
        while seen.load(Ordering::SeqCst) < WAKES {
            queue.drain(&mut tokens);
            if tokens.drain(..).count() > 0 {
                seen.store(woken.load(Ordering::SeqCst), Ordering::SeqCst);
            } else {
                std::thread::yield_now();
            }
        }
    });
}

/// A completion has a token of its own: one wake per reason to resume (law L4).
#[test]
fn l4_a_completion_does_not_coalesce_with_the_wake_of_a_future() {
    let ctx = WaitCtx::new();
    let mut queue = ReadyQueue::new().expect("a descriptor");
    ctx.notifier().set_route(Route::Ready(queue.sender(), Token(3)));
    ctx.notifier().waker().wake();
    let request = ctx.notifier().begin().expect("free");
    assert_eq!(request.arm(), Arm::Armed);
    assert!(request.claim(Ending::Done).expect("the first").wake());
    ctx.notifier().waker().wake();
    let mut tokens = Vec::new();
    queue.drain(&mut tokens);
    assert_eq!(tokens, [Token(3), Token(3)]);
}

#[test]
fn a_queue_below_another_announces_itself_once_until_it_is_drained() {
    let mut whole = ReadyQueue::new().expect("a descriptor");
    let mut part = ReadyQueue::below(whole.sender(), Token(7)).expect("a descriptor");
    let mut tokens = Vec::new();
    for round in 0..2 {
        assert!(part.sender().push(Token(round)) && part.sender().push(Token(8)));
        whole.drain(&mut tokens);
        assert_eq!(tokens, [Token(7)]);
        tokens.clear();
        part.drain(&mut tokens);
        assert_eq!(tokens, [Token(round), Token(8)]);
        tokens.clear();
    }
    // The clone may outlive the original.
    drop(whole);
    assert!(part.sender().push(Token(1)));
}

#[test]
#[cfg(target_os = "linux")]
fn after_every_resume_the_descriptor_is_unreadable_to_poll_and_to_select() {
    let ctx = WaitCtx::new();
    let fd = ctx.notify_fd().expect("a descriptor");
    let mut additions = 0;
    for _ in 0..20 {
        let changes = ctx.changed_fds();
        additions += changes.added.len();
        assert!(changes.removed.is_empty());
        let request = ctx.notifier().begin().expect("nothing in flight");
        assert_eq!(request.arm(), Arm::Armed);
        assert!(!readable(&fd) && !selectable(&fd));
        assert!(request.claim(Ending::Done).expect("first").wake());
        assert!(readable(&fd) && selectable(&fd));
        ctx.drain_notify();
        assert!(!readable(&fd) && !selectable(&fd));
    }
    assert_eq!(additions, 1);
}

#[test]
fn with_neither_descriptor_nor_callback_the_application_polls_by_calling_again() {
    let ctx = WaitCtx::new();
    for round in 0..3 {
        let request = ctx.notifier().begin().expect("nothing in flight");
        request.accept();
        // The application calls again and again; the job finds nothing and pauses again.
        for _ in 0..5 {
            assert_eq!(request.arm(), Arm::Armed);
            assert_eq!(ctx.status(), Status::Ok);
        }
        let device = std::thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).expect("first").wake()
        });
        assert!(!device.join().expect("no panic"), "no job is armed");
        assert_eq!(request.arm(), Arm::Settled(RequestPhase::Done));
        assert_eq!(ctx.notifier().counters().unrouted, round + 1);
        assert!(ctx.all_fds().is_empty());
    }
}

#[test]
fn a_task_is_a_route_too_and_a_panicking_waker_is_contained() {
    struct Counts(AtomicUsize);
    impl std::task::Wake for Counts {
        fn wake(self: Arc<Self>) {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) == 0, "planned");
        }
    }
    let ctx = WaitCtx::new();
    let counts = Arc::new(Counts(AtomicUsize::new(0)));
    ctx.notifier().set_route(Route::Waker(Arc::clone(&counts).into()));
    for _ in 0..2 {
        let request = ctx.notifier().begin().expect("nothing in flight");
        assert_eq!(request.arm(), Arm::Armed);
        assert!(request.claim(Ending::Done).expect("first").wake());
    }
    let counters = ctx.notifier().counters();
    assert_eq!((counters.waker, counters.panics, counters.delivered()), (2, 1, 2));
    assert_eq!(counts.0.load(Ordering::Relaxed), 2);
}

#[test]
fn a_claim_dropped_while_its_result_is_stored_fails_the_request_and_wakes() {
    let ctx = WaitCtx::new();
    let calls = counting(&ctx);
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    let device = std::thread::spawn({
        let request = request.clone();
        move || {
            let _claim = request.claim(Ending::Done).expect("first");
            panic!("planned, while storing");
        }
    });
    assert!(device.join().is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(request.phase(), RequestPhase::Failed);
}

#[test]
fn l6_what_a_device_holds_goes_to_any_thread() {
    const fn any_thread<T: Send + Sync>() {}
    any_thread::<wait_ctx::Notifier>();
    any_thread::<InFlight>();
    any_thread::<wait_ctx::ReadySender>();
    any_thread::<wait_ctx::Claim<'_>>();
}
