//! Foreign code that panics, with payloads that are text, other values, or panic when dropped.

use std::panic::{panic_any, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::{ptr, thread};

use wait_ctx::{
    Arm, Ending, Key, Notifier, Panicked, RequestPhase, Route, WaitCtx, WaitFd, contain,
    contain_drop,
};

/// Panics when dropped, with another value of this type: endlessly.
struct Endless(u8);

impl Drop for Endless {
    fn drop(&mut self) {
        panic_any(Self(self.0.wrapping_add(1)));
    }
}

fn cause_of(foreign: impl FnOnce()) -> String {
    let Panicked { what, cause, .. } = contain("a test", foreign).expect_err("it panics");
    assert_eq!(what, "a test");
    cause
}

#[test]
fn l10_a_contained_panic_is_reported_with_its_message() {
    assert_eq!(contain("a test", || 42), Ok(42));
    assert_eq!(cause_of(|| panic!("planned")), "planned");
    let number = 3;
    assert_eq!(cause_of(|| panic!("planned {number}")), "planned 3");
    assert_eq!(cause_of(|| resume_unwind(Box::new(7_u8))), "its payload is not text");
}

#[test]
fn l10_a_payload_that_panics_when_it_is_dropped_is_contained_too() {
    assert_eq!(cause_of(|| panic_any(Endless(0))), "its payload is not text");
    contain_drop("a test", Endless(0));
    contain_drop("a test", 3_u8);
}

#[test]
fn l10_contained_code_may_contain_other_code() {
    let nested = contain("outer", || contain("inner", || panic!("planned")).is_err());
    assert_eq!(nested, Ok(true), "the outer one went well");
}

/// Panics when it is dropped.
struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        // During unwinding a second panic would abort the process.
        if !thread::panicking() {
            panic_any(Endless(0));
        }
    }
}

/// Completes a request of this session on another thread, and joins it.
fn complete_elsewhere(notifier: &Notifier) -> thread::JoinHandle<bool> {
    let request = notifier.begin().expect("nothing in flight");
    request.accept();
    assert_eq!(request.arm(), Arm::Armed);
    thread::spawn(move || {
        let woken = request.claim(Ending::Done).expect("first").wake();
        woken && request.phase() == RequestPhase::Done
    })
}

#[test]
fn l4_l10_after_any_panic_of_a_callback_the_waking_thread_continues_and_no_waiter_hangs() {
    let ctx = WaitCtx::new();
    let bad = Bad;
    ctx.set_callback(move |_| {
        let _owned = &bad;
        panic_any(Endless(0));
    });
    ctx.set_callback_arg(Some(Arc::new(Bad)));
    for _ in 0..3 {
        assert!(complete_elsewhere(ctx.notifier()).join().expect("the thread goes on"));
    }
    assert_eq!(ctx.notifier().counters().panics, 3);
    let callback = ctx.unset_and_wait().expect("we are not inside").expect("it was set");
    // Its last owner sees the panic of its drop, as with any value.
    contain_drop("a test", callback);
    ctx.set_callback_arg(None);
    assert!(!complete_elsewhere(ctx.notifier()).join().expect("the thread goes on"));
}

#[test]
fn l10_a_callback_taken_away_by_itself_may_panic_as_it_is_dropped() {
    thread_local! {
        static SESSION: std::cell::RefCell<Option<WaitCtx>> = const { std::cell::RefCell::new(None) };
    }
    let ctx = WaitCtx::new();
    SESSION.set(Some(ctx.clone()));
    let bad = Bad;
    ctx.set_callback(move |_| {
        let _owned = &bad;
        // Its last owner is the call that runs.
        SESSION.with_borrow(|ctx| drop(ctx.as_ref().expect("this thread's").unset_callback()));
    });
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    assert!(request.claim(Ending::Done).expect("first").wake());
    assert_eq!(ctx.notifier().counters().panics, 1);
    assert!(ctx.unset_and_wait().is_ok_and(|callback| callback.is_none()));
    SESSION.set(None);
}

#[test]
fn l10_what_is_replaced_or_left_over_may_panic_as_it_is_dropped() {
    let cleanups = Arc::<AtomicUsize>::default();
    for _ in 0..2 {
        let ctx = WaitCtx::new();
        for _ in 0..2 {
            let bad = Bad;
            ctx.set_callback(move |_| {
                let _owned = &bad;
            });
            ctx.set_callback_arg(Some(Arc::new(Bad)));
            ctx.notifier().set_route(Route::Waker(Arc::new(BadTask(Bad)).into()));
        }
        let ran = Arc::clone(&cleanups);
        let count = move |_: &wait_ctx::Teardown<'_>, _, _| {
            ran.fetch_add(1, Ordering::SeqCst);
        };
        ctx.set_wait_fd(Key::unique(), WaitFd::borrowed(&0).with_cleanup(count)).expect("new");
        let bad = Bad;
        let unused = move |_: &wait_ctx::Teardown<'_>, _, _| drop(bad);
        ctx.set_wait_fd(Key::unique(), WaitFd::borrowed(&0).with_cleanup(unused)).expect("new");
        ctx.set_wait_fd(Key::unique(), WaitFd::borrowed(&0).with_data(Bad)).expect("new");
        let bad = Bad;
        let cleared = move |_: &wait_ctx::Teardown<'_>, _, _| drop(bad);
        let key = Key::unique();
        ctx.set_wait_fd(key, WaitFd::borrowed(&0).with_cleanup(cleared)).expect("new");
        assert!(ctx.clear_fd(key).is_some());
    }
    assert_eq!(cleanups.load(Ordering::SeqCst), 2, "no cleanup is kept from running");
    let alone = Notifier::new();
    alone.set_route(Route::Waker(Arc::new(BadTask(Bad)).into()));
    drop(alone);
}

/// A task whose waker panics when it is dropped.
struct BadTask(Bad);

impl std::task::Wake for BadTask {
    fn wake(self: Arc<Self>) {
        let Self(_owned) = &*self;
    }
}

static WAKES: AtomicUsize = AtomicUsize::new(0);

fn note_wake() {
    WAKES.fetch_add(1, Ordering::SeqCst);
}

/// A waker that must not be cloned: its clone is foreign code, and the route is read under a lock.
static UNCLONED: RawWakerVTable =
    RawWakerVTable::new(|_| panic!("it was cloned"), |_| note_wake(), |_| note_wake(), |_| ());

#[test]
fn l10_a_wake_never_clones_the_waker_of_a_task() {
    let notifier = Notifier::new();
    // SAFETY: the functions of the table do not read the data, and may be called on any thread.
    let waker = unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &UNCLONED)) };
    notifier.set_route(Route::Waker(waker));
    for _ in 0..2 {
        assert!(complete_elsewhere(&notifier).join().expect("the thread goes on"));
    }
    assert_eq!((WAKES.load(Ordering::SeqCst), notifier.counters().panics), (2, 0));
}
