//! The mio feature against real eventfds, pipes and sockets.

use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::{Events, Poll, Token};
use wait_ctx::{Arm, Ending, Key, MioFds, WaitCtx, WaitFd};

struct Loop {
    poll: Poll,
    events: Events,
}

impl Loop {
    fn new() -> Self {
        Self { poll: Poll::new().expect("epoll"), events: Events::with_capacity(16) }
    }

    /// The tokens that are ready now.
    fn ready(&mut self) -> Vec<usize> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("poll");
        self.events.iter().map(|event| event.token().0).collect()
    }
}

fn finish(ctx: &WaitCtx) {
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    assert!(request.claim(Ending::Done).expect("first").wake());
}

#[test]
fn a_session_with_a_stable_descriptor_is_registered_once_for_many_operations() {
    let mut looper = Loop::new();
    let (ctx, mut fds) = (WaitCtx::new(), MioFds::new(Token(1)));
    ctx.notify_fd().expect("a descriptor");
    for _ in 0..10 {
        fds.sync(&ctx, looper.poll.registry()).expect("in step");
        finish(&ctx);
        assert_eq!(looper.ready(), [1]);
        ctx.drain_notify();
        assert_eq!(looper.ready(), []);
    }
    fds.clear(looper.poll.registry()).expect("in step");
    finish(&ctx);
    assert_eq!(looper.ready(), [], "no longer watched");
}

/// A socket and its number, so that the next descriptor made can be given the same number.
fn socket_at(number: Option<RawFd>) -> (UnixStream, OwnedFd) {
    let (theirs, ours) = UnixStream::pair().expect("sockets");
    let ours = match number {
        Some(number) => rustix::io::fcntl_dupfd_cloexec(&ours, number).expect("dup"),
        None => ours.into(),
    };
    (theirs, ours)
}

#[test]
fn a_reused_number_is_registered_for_the_new_descriptor() {
    let mut looper = Loop::new();
    let (ctx, mut fds) = (WaitCtx::new(), MioFds::new(Token(2)));
    let key = Key::unique();
    // A number that no other test of this process gets.
    let (mut writer, socket) = socket_at(Some(700));
    let number = socket.as_raw_fd();
    ctx.set_wait_fd(key, WaitFd::owned(socket)).expect("free");
    fds.sync(&ctx, looper.poll.registry()).expect("in step");
    writer.write_all(b"a").expect("written");
    assert_eq!(looper.ready(), [2]);
    for _ in 0..3 {
        // Cleared and dropped by its owner: open until the registry has dropped it.
        drop(ctx.clear_fd(key));
        let (_, other) = socket_at(Some(700));
        assert_ne!(other.as_raw_fd(), number);
        drop(other);
        fds.sync(&ctx, looper.poll.registry()).expect("in step");
        writer.write_all(b"b").expect_err("closed now");
        let (new_writer, socket) = socket_at(Some(700));
        assert_eq!(socket.as_raw_fd(), number, "the number is free again");
        writer = new_writer;
        ctx.set_wait_fd(key, WaitFd::owned(socket)).expect("free");
        fds.sync(&ctx, looper.poll.registry()).expect("in step");
        writer.write_all(b"c").expect("written");
        assert_eq!(looper.ready(), [2]);
    }
}

#[test]
fn a_borrowed_descriptor_closed_too_early_does_not_stop_the_registry() {
    let mut looper = Loop::new();
    let (ctx, mut fds) = (WaitCtx::new(), MioFds::new(Token(3)));
    let key = Key::unique();
    let (_writer, socket) = socket_at(Some(800));
    ctx.set_wait_fd(key, WaitFd::borrowed(&socket)).expect("free");
    fds.sync(&ctx, looper.poll.registry()).expect("in step");
    drop(socket);
    drop(ctx.clear_fd(key));
    fds.sync(&ctx, looper.poll.registry()).expect("nothing to remove any more");
    assert_eq!(looper.ready(), []);
}

#[test]
fn a_borrowed_descriptor_whose_number_was_reused_does_not_stop_the_registry() {
    let mut looper = Loop::new();
    let (ctx, mut fds) = (WaitCtx::new(), MioFds::new(Token(5)));
    let key = Key::unique();
    let (_writer, mut socket) = socket_at(Some(900));
    ctx.set_wait_fd(key, WaitFd::borrowed(&socket)).expect("free");
    fds.sync(&ctx, looper.poll.registry()).expect("in step");
    // Closes the registered descriptor and reuses its number in one step.
    let (_other_writer, other) = socket_at(None);
    rustix::io::dup2(&other, &mut socket).expect("the number");
    drop(ctx.clear_fd(key));
    fds.sync(&ctx, looper.poll.registry()).expect("nothing to remove any more");
    assert_eq!(looper.ready(), []);
}

#[test]
fn an_error_of_the_registry_is_returned_and_the_next_call_continues() {
    let looper = Loop::new();
    let (ctx, mut fds) = (WaitCtx::new(), MioFds::new(Token(4)));
    let (bad, good) = (Key::unique(), Key::unique());
    ctx.set_wait_fd(good, WaitFd::owned(socket_at(None).1)).expect("free");
    ctx.set_wait_fd(bad, WaitFd::borrowed(&-1)).expect("free");
    assert!(fds.sync(&ctx, looper.poll.registry()).is_err());
    drop(ctx.clear_fd(bad));
    fds.sync(&ctx, looper.poll.registry()).expect("the good one is left");
    fds.sync(&ctx, looper.poll.registry()).expect("registered once");
}
