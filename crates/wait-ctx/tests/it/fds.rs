//! Registered descriptors: the changes each consumer gets, when descriptors close, and when cleanups run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use proptest::prelude::*;
use wait_ctx::{FdDiff, FdHandle, Key, Seen, WaitCtx, WaitFd};

fn pipe() -> OwnedFd {
    rustix::pipe::pipe().expect("a pipe").0
}

fn numbers(handles: &[FdHandle]) -> Vec<RawFd> {
    handles.iter().map(AsRawFd::as_raw_fd).collect()
}

#[test]
fn a_key_has_one_live_descriptor_and_a_second_one_comes_back() {
    let ctx = WaitCtx::new();
    let (key, other) = (Key::unique(), Key::unique());
    ctx.set_wait_fd(key, WaitFd::borrowed(&3).with_data("mine")).expect("free");
    let refused = ctx.set_wait_fd(key, WaitFd::owned(pipe()).with_data(5_u8)).unwrap_err().refused;
    assert_eq!(refused.data::<u8>().as_deref(), Some(&5));
    ctx.set_wait_fd(other, refused).expect("another engine's key is free");
    let (fd, data) = ctx.fd(key).expect("registered");
    assert_eq!(fd.as_raw_fd(), 3);
    assert_eq!(data.expect("set").downcast_ref(), Some(&"mine"));
    assert_eq!(ctx.all_fds()[1].as_raw_fd(), 3);
    let cleared = ctx.clear_fd(key).expect("registered");
    assert_eq!(cleared.data::<&str>().as_deref(), Some(&"mine"));
    assert!(ctx.fd(key).is_none() && ctx.clear_fd(key).is_none());
}

#[test]
fn w9_a_stable_descriptor_cleared_and_set_again_is_no_change() {
    let ctx = WaitCtx::new();
    let key = Key::unique();
    ctx.set_wait_fd(key, WaitFd::owned(pipe())).expect("free");
    assert_eq!(ctx.changed_fds().added.len(), 1);
    for _ in 0..3 {
        let cleared = ctx.clear_fd(key).expect("registered");
        ctx.set_wait_fd(key, WaitFd::again(cleared.fd)).expect("free");
        assert!(ctx.changed_fds().is_empty());
    }
}

#[test]
fn w13_an_addition_is_reported_once_after_any_operations() {
    let ctx = WaitCtx::new();
    ctx.set_wait_fd(Key::unique(), WaitFd::owned(pipe())).expect("free");
    let changes: Vec<FdDiff> = (0..10).map(|_| ctx.changed_fds()).collect();
    assert_eq!(changes.iter().map(|diff| diff.added.len()).sum::<usize>(), 1);
    assert!(changes.iter().all(|diff| diff.removed.is_empty()));
}

#[test]
fn a_descriptor_under_two_keys_is_added_once() {
    let ctx = WaitCtx::new();
    let shared = pipe();
    for _ in 0..2 {
        ctx.set_wait_fd(Key::unique(), WaitFd::borrowed(&shared)).expect("free");
    }
    assert_eq!(ctx.changed_fds().added.len(), 1);
    let mut seen = Seen::new();
    assert_eq!(ctx.diff(&mut seen).added.len(), 1);
}

#[test]
fn w14_a_removal_of_a_reported_descriptor_is_always_reported() {
    let ctx = WaitCtx::new();
    let key = Key::unique();
    ctx.set_wait_fd(key, WaitFd::borrowed(&9)).expect("free");
    assert_eq!(numbers(&ctx.changed_fds().added), [9]);
    drop(ctx.clear_fd(key));
    assert_eq!(numbers(&ctx.changed_fds().removed), [9]);
    // A descriptor that was added and cleared between two looks is not reported.
    ctx.set_wait_fd(key, WaitFd::borrowed(&9)).expect("free");
    drop(ctx.clear_fd(key));
    assert!(ctx.changed_fds().is_empty());
}

#[test]
fn w16_cleanups_run_once_newest_first_and_not_for_what_was_cleared() {
    let ctx = WaitCtx::new();
    let ran = Rc::new(RefCell::new(Vec::new()));
    let keys: Vec<Key> = (0..5).map(|_| Key::unique()).collect();
    for (i, &key) in keys.iter().enumerate() {
        let ran = Rc::clone(&ran);
        let wait_fd = WaitFd::owned(pipe()).with_data(i).with_cleanup(move |_, key, wait_fd| {
            ran.borrow_mut().push((key, *wait_fd.data::<usize>().expect("set")));
        });
        ctx.set_wait_fd(key, wait_fd).expect("free");
    }
    let cleared = ctx.clear_fd(keys[2]).expect("registered");
    // Registered again as it was returned, it has its data and no cleanup.
    assert_eq!(cleared.data::<usize>().as_deref(), Some(&2));
    ctx.set_wait_fd(keys[2], cleared).expect("free again");
    let clone = ctx.clone();
    drop(ctx);
    assert_eq!(*ran.borrow(), [], "a clone is the same context");
    drop(clone);
    assert_eq!(*ran.borrow(), [4, 3, 1, 0].map(|i| (keys[i], i)));
}

#[test]
fn w17_a_cleanup_may_look_at_and_clear_other_registrations() {
    let ctx = WaitCtx::new();
    let (first, last) = (Key::unique(), Key::unique());
    let ran = Rc::new(RefCell::new(Vec::new()));
    for (key, other) in [(first, last), (last, first)] {
        let ran = Rc::clone(&ran);
        let wait_fd = WaitFd::borrowed(&0).with_cleanup(move |teardown, key, _| {
            assert!(teardown.fd(key).is_none(), "its own one is gone already");
            let (fd, data) = teardown.fd(other).expect("the other one is not");
            assert_eq!((fd.as_raw_fd(), data.is_some()), (0, true));
            ran.borrow_mut().push((key, teardown.clear_fd(other).is_some()));
        });
        let wait_fd = wait_fd.with_data("the owner's");
        ctx.set_wait_fd(key, wait_fd).expect("free");
    }
    drop(ctx);
    assert_eq!(*ran.borrow(), [(last, true)]);
}

#[test]
fn a_cleanup_that_panics_does_not_keep_the_others_from_running() {
    let ctx = WaitCtx::new();
    let ran = Rc::new(RefCell::new(0));
    let count = Rc::clone(&ran);
    let fine = WaitFd::borrowed(&0).with_cleanup(move |_, _, _| *count.borrow_mut() += 1);
    ctx.set_wait_fd(Key::unique(), fine).expect("free");
    let bad = WaitFd::borrowed(&0).with_cleanup(|_, _, _| panic!("planned"));
    ctx.set_wait_fd(Key::unique(), bad).expect("free");
    drop(ctx);
    assert_eq!(*ran.borrow(), 1);
}

#[test]
fn a_change_is_empty_if_nothing_came_and_nothing_went() {
    let (ctx, key) = (WaitCtx::new(), Key::unique());
    assert!(ctx.changed_fds().is_empty());
    ctx.set_wait_fd(key, WaitFd::borrowed(&9)).expect("free");
    let came = ctx.changed_fds();
    assert!(!came.is_empty() && came.removed.is_empty());
    assert!(ctx.clear_fd(key).is_some());
    let went = ctx.changed_fds();
    assert!(!went.is_empty() && went.added.is_empty());
    let both = came.added.iter().chain(&went.removed).map(AsRawFd::as_raw_fd);
    assert_eq!(both.collect::<Vec<_>>(), [9, 9]);
}

#[test]
fn a_context_is_free_for_the_next_job_when_one_has_ended() {
    let (ctx, other) = (WaitCtx::new(), WaitCtx::new());
    for _ in 0..2 {
        let lease = ctx.lease().expect("free");
        assert!(lease.ctx().same(&ctx) && !lease.ctx().same(&other));
        assert!(ctx.lease().is_err());
    }
}

#[test]
fn w18_a_context_lives_as_long_as_its_job() {
    let ctx = WaitCtx::new();
    let ran = Rc::new(RefCell::new(0));
    let count = Rc::clone(&ran);
    let wait_fd = WaitFd::borrowed(&0).with_cleanup(move |_, _, _| *count.borrow_mut() += 1);
    ctx.set_wait_fd(Key::unique(), wait_fd).expect("free");
    let lease = ctx.lease().expect("no job yet");
    assert!(ctx.lease().is_err(), "one live job per context");
    drop(ctx);
    assert_eq!(*ran.borrow(), 0);
    assert_eq!(lease.ctx().all_fds().len(), 1);
    drop(lease);
    assert_eq!(*ran.borrow(), 1);
}

#[test]
fn an_owned_descriptor_returns_to_its_owner_when_no_consumer_holds_it() {
    let ctx = WaitCtx::new();
    let key = Key::unique();
    let mut seen = Seen::new();
    ctx.set_wait_fd(key, WaitFd::owned(pipe())).expect("free");
    let _ = ctx.diff(&mut seen);
    let handle = ctx.clear_fd(key).expect("registered").fd;
    let handle = handle.into_owned().expect_err("the consumer has not seen the removal");
    let diff = ctx.diff(&mut seen);
    let handle = handle.into_owned().expect_err("the consumer has not finished with the removal");
    drop(diff);
    assert!(handle.into_owned().is_ok());
}

#[test]
fn a_descriptor_that_changes_hands_is_kept_open_for_who_knows_its_number() {
    let ctx = WaitCtx::new();
    let key = Key::unique();
    let mut seen = Seen::new();
    let fd = pipe();
    // First borrowed, then owned: the same open descriptor, so no change.
    ctx.set_wait_fd(key, WaitFd::borrowed(&fd)).expect("free");
    drop(ctx.diff(&mut seen));
    drop(ctx.clear_fd(key));
    ctx.set_wait_fd(key, WaitFd::owned(fd)).expect("free");
    assert!(ctx.diff(&mut seen).is_empty());
    let handle = ctx.clear_fd(key).expect("registered").fd;
    assert!(handle.into_owned().is_err(), "the consumer keeps it open");
}

#[derive(Debug, Clone)]
enum Op {
    Set { key: usize },
    Clear { key: usize, keep: bool },
    SetKept { key: usize },
    Look { consumer: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_usize).prop_map(|key| Op::Set { key }),
        4 => (0..4_usize, any::<bool>()).prop_map(|(key, keep)| Op::Clear { key, keep }),
        2 => (0..4_usize).prop_map(|key| Op::SetKept { key }),
        3 => (0..2_usize).prop_map(|consumer| Op::Look { consumer }),
    ]
}

/// The open file of a descriptor number. Pipes have distinct names.
#[cfg(target_os = "linux")]
fn target(fd: RawFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    link.map_or_else(|_| "closed".into(), |target| target.to_string_lossy().into_owned())
}

/// A consumer like epoll: a set of numbers, each for one open pipe.
#[derive(Default)]
struct Consumer {
    seen: Seen,
    watched: BTreeMap<RawFd, String>,
}

#[cfg(target_os = "linux")]
impl Consumer {
    fn apply(&mut self, diff: FdDiff) -> Result<(), TestCaseError> {
        let (added, removed) = (numbers(&diff.added), numbers(&diff.removed));
        prop_assert!(added.iter().all(|fd| !removed.contains(fd)), "net changes only");
        for fd in removed {
            let known = self.watched.remove(&fd);
            prop_assert_eq!(known, Some(target(fd)), "removed while it is still open");
        }
        for fd in added {
            prop_assert_eq!(self.watched.insert(fd, target(fd)), None);
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Property 6 without its provisos, for consumers that look at any time.
    #[test]
    fn every_consumer_that_applies_the_changes_watches_what_is_registered(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let ctx = WaitCtx::new();
        let keys: Vec<Key> = (0..4).map(|_| Key::unique()).collect();
        let mut kept: Vec<FdHandle> = Vec::new();
        let mut consumers = [Consumer::default(), Consumer::default()];
        for op in ops {
            match op {
                Op::Set { key } => drop(ctx.set_wait_fd(keys[key], WaitFd::owned(pipe()))),
                Op::Clear { key, keep } => {
                    kept.extend(ctx.clear_fd(keys[key]).map(|old| old.fd).filter(|_| keep));
                }
                Op::SetKept { key } => {
                    if let Some(handle) = kept.pop()
                        && let Err(refused) = ctx.set_wait_fd(keys[key], WaitFd::again(handle))
                    {
                        kept.push(refused.refused.fd);
                    }
                }
                Op::Look { consumer } => {
                    let Consumer { seen, .. } = &mut consumers[consumer];
                    let diff = ctx.diff(seen);
                    consumers[consumer].apply(diff)?;
                    let mut all = numbers(&ctx.all_fds());
                    all.sort_unstable();
                    let watched: Vec<RawFd> = consumers[consumer].watched.keys().copied().collect();
                    prop_assert_eq!(watched, all);
                }
            }
            // No watched number was reused.
            for consumer in &consumers {
                for (&fd, name) in &consumer.watched {
                    prop_assert_eq!(&target(fd), name);
                }
            }
        }
    }
}

#[test]
fn a_gauge_keeps_its_highest_count() {
    let gauge = wait_ctx::LiveGauge::new();
    for (more, less, now, peak) in [(3, 1, 2, 3), (0, 2, 0, 3), (5, 0, 5, 5)] {
        gauge.add(more);
        assert_eq!(gauge.sub(less), now);
        assert_eq!(gauge.read(), wait_ctx::Gauge { now, peak });
    }
}
