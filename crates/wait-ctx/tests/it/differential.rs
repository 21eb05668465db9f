//! OpenSSL's view of the descriptors against the original, step by step.

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use wait_ctx::{Key, WaitCtx, WaitFd};

use crate::libcrypto::{Original, available};

#[derive(Debug, Clone, Copy)]
enum Op {
    Set {
        key: usize,
        fd: i32,
    },
    Clear {
        key: usize,
    },
    /// Starts a job that pauses.
    Pause,
    /// Resumes it; it ends.
    Resume,
    /// A whole job that never pauses.
    Run {
        blocked_pause: bool,
    },
    /// Frees the context, and continues with a new one.
    Free,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..4_usize;
    prop_oneof![
        6 => (key.clone(), -1..6_i32).prop_map(|(key, fd)| Op::Set { key, fd }),
        5 => key.prop_map(|key| Op::Clear { key }),
        3 => Just(Op::Pause),
        3 => Just(Op::Resume),
        1 => any::<bool>().prop_map(|blocked_pause| Op::Run { blocked_pause }),
        1 => Just(Op::Free),
    ]
}

/// This crate's view, driven like the original.
struct Ours {
    ctx: WaitCtx,
    paused: bool,
    cleaned: Rc<RefCell<Vec<usize>>>,
}

impl Ours {
    fn new() -> Self {
        Self { ctx: WaitCtx::new(), paused: false, cleaned: Rc::default() }
    }

    fn set(&self, key: usize, fd: i32, id: usize) {
        let cleaned = Rc::clone(&self.cleaned);
        let wait_fd =
            WaitFd::borrowed(&fd).with_cleanup(move |_, _, _| cleaned.borrow_mut().push(id));
        self.ctx.openssl_view().set_wait_fd(Key::from_address(key), wait_fd);
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.ctx.openssl_view().open_window();
        }
    }

    fn free(mut self) -> Vec<usize> {
        self.resume();
        drop(self.ctx);
        Rc::try_unwrap(self.cleaned).expect("every cleanup is gone").into_inner()
    }
}

fn compare(original: &Original, ours: &Ours) -> Result<(), TestCaseError> {
    let view = ours.ctx.openssl_view();
    prop_assert_eq!(original.all_fds(), view.all_fds());
    let changes = view.changed_fds();
    prop_assert_eq!(original.changed_fds(), (changes.added, changes.removed));
    let (mut all, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    view.for_each_fd(|fd| all.push(fd));
    view.for_each_changed_fd(|fd| added.push(fd), |fd| removed.push(fd));
    prop_assert_eq!(view.has_fds(), !all.is_empty());
    prop_assert_eq!(original.all_fds(), all);
    prop_assert_eq!(original.changed_fds(), (added, removed));
    for key in 0..4 {
        let fd = view.fd(Key::from_address(key)).map(|fd| fd.as_raw_fd());
        prop_assert_eq!(original.fd(key), fd);
    }
    Ok(())
}

fn run(ops: &[Op]) -> Result<(), TestCaseError> {
    let (mut original, mut ours) = (Original::new(), Ours::new());
    for (id, &op) in ops.iter().enumerate() {
        match op {
            Op::Set { key, fd } => {
                original.set_wait_fd(key, fd, id);
                ours.set(key, fd, id);
            }
            Op::Clear { key } => {
                let cleared = ours.ctx.openssl_view().clear_fd(Key::from_address(key)).is_some();
                prop_assert_eq!(original.clear_fd(key), cleared);
            }
            Op::Pause => {
                original.start();
                ours.paused = true;
            }
            Op::Resume => {
                prop_assert_eq!(original.resume(), ours.paused);
                ours.resume();
            }
            Op::Run { blocked_pause } => original.run(blocked_pause),
            Op::Free => {
                prop_assert_eq!(original.free(), ours.free());
                (original, ours) = (Original::new(), Ours::new());
            }
        }
        compare(&original, &ours)?;
    }
    prop_assert_eq!(original.free(), ours.free());
    Ok(())
}

#[test]
fn the_view_agrees_with_openssl_on_ten_thousand_random_strings() {
    if !available("the_view_agrees_with_openssl_on_ten_thousand_random_strings") {
        return;
    }
    let config = Config { cases: 10_000, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    runner.run(&prop::collection::vec(op(), 1..=64), |ops| run(&ops)).expect("no difference");
}

/// The four defects that the native interface does not have, as fixed strings.
#[test]
fn the_view_agrees_with_openssl_on_its_known_oddities() {
    if !available("the_view_agrees_with_openssl_on_its_known_oddities") {
        return;
    }
    let set = Op::Set { key: 1, fd: 5 };
    let clear = Op::Clear { key: 1 };
    let run_job = Op::Run { blocked_pause: false };
    let oddities: [(&str, &[Op]); 5] = [
        ("W3: a second set shadows", &[set, Op::Set { key: 1, fd: 6 }, clear, clear, clear]),
        ("W9: one number in both lists", &[set, Op::Pause, Op::Resume, clear, set]),
        ("W13: added again and again", &[Op::Pause, Op::Resume, set, run_job, run_job]),
        ("W14: the lost removal", &[Op::Pause, Op::Resume, set, run_job, clear]),
        ("W14: cleared while paused", &[set, Op::Pause, clear, Op::Resume]),
    ];
    for (name, ops) in oddities {
        run(ops).unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
}
