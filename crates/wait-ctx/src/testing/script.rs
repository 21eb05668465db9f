//! What the kit asks of an engine, and the steps of its scripts.

use std::fmt;
use std::task::Poll;

use crate::Notifier;

/// Names one request of a run. The operation that the kit asks for is to give the tag back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// The request failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// What the device does with a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Takes it.
    Accept,
    /// Takes it and completes it before the submission has returned.
    Early,
    /// Has no room, now and until [`DeviceEvent::Room`].
    Full,
    /// Refuses it for good.
    Fatal,
}

/// What the device does on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// Completes the request with this tag, which may have been cancelled long ago.
    Complete(Tag),
    /// Reports the same completion again.
    Duplicate(Tag),
    /// Completes the request with this tag with an error.
    Fail(Tag),
    /// Has room again, for every request it had refused.
    Room,
}

/// What an engine does about a full device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullPolicy {
    /// Keeps the request and submits it when there is room. No wake: the status turns from `Again` to `Ok`.
    Queue,
    /// Wakes the session when there is room, with the status `Again`; the next poll submits.
    Notify,
}

/// In which order the device ends the requests that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In any: each is ended when the script says so.
    Any,
    /// In the order it has taken them, cancelled ones among them, as a ring with one unit behind it does. The kit then
    /// ends only the oldest, and asks for [`Answer::Early`] only while the device holds nothing.
    Submission,
}

/// An engine under test, with its device. Keep it short: the kit's worked example takes fewer than sixty lines.
pub trait TestedEngine {
    /// What the session holds of its request.
    type Request;

    /// The policy for a full device.
    fn on_full(&self) -> FullPolicy {
        FullPolicy::Queue
    }

    /// The order in which the device ends what it holds.
    fn order(&self) -> Order {
        Order::Any
    }

    /// Begins a request on `notifier` and submits it. The device answers as told. Must not block, and must not wake.
    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Self::Request;

    /// The result, if it is there. Before it answers `Pending` the engine must have armed the request. Polling without a
    /// wake is allowed at any time and must change nothing.
    fn poll(&mut self, request: &mut Self::Request) -> Poll<Result<Tag, Failed>>;

    /// The session has lost interest. The device may still complete the request.
    fn cancel(&mut self, request: Self::Request);

    /// Makes the device do something. False if it holds no such request (any more): it has ended it already, or has
    /// dropped it because it was cancelled.
    fn device(&mut self, event: DeviceEvent) -> bool;

    /// How many submissions the device has taken so far.
    fn taken(&self) -> u64;

    /// Returns when everything asked for has taken effect. Engines without threads need not implement it.
    fn settle(&mut self) {}
}

/// One step of a script. A step that makes no sense where it stands is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptStep {
    /// A session without a request submits one.
    Submit(usize, Answer),
    /// The session looks for its result, with or without having been woken.
    Poll(usize),
    /// The session gives its request up.
    Cancel(usize),
    /// The device completes the session's request.
    Complete(usize),
    /// The device fails the session's request.
    Fail(usize),
    /// The device completes the session's last finished request once more.
    Duplicate(usize),
    /// The device completes the oldest request that the session has cancelled.
    Late(usize),
    /// The device has room again.
    Room,
}

impl ScriptStep {
    /// How many sessions a script uses.
    pub const N_SESSIONS: usize = 2;

    /// The kinds of steps, for counting.
    pub const N_KINDS: usize = 11;

    /// Which kind this is, below [`N_KINDS`](Self::N_KINDS), and its name.
    pub const fn kind(self) -> (usize, &'static str) {
        match self {
            Self::Submit(_, Answer::Accept) => (0, "submit: accepted"),
            Self::Submit(_, Answer::Early) => (1, "submit: completed at once"),
            Self::Submit(_, Answer::Full) => (2, "submit: full"),
            Self::Submit(_, Answer::Fatal) => (3, "submit: refused for good"),
            Self::Poll(_) => (4, "poll"),
            Self::Cancel(_) => (5, "cancel"),
            Self::Complete(_) => (6, "complete"),
            Self::Fail(_) => (7, "fail"),
            Self::Duplicate(_) => (8, "duplicate completion"),
            Self::Late(_) => (9, "late completion"),
            Self::Room => (10, "room again"),
        }
    }
}

impl fmt::Display for ScriptStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit(s, Answer::Accept) => write!(f, "session {s} submits; the device accepts"),
            Self::Submit(s, Answer::Early) => {
                write!(f, "session {s} submits; the device completes before that returns")
            }
            Self::Submit(s, Answer::Full) => write!(f, "session {s} submits; the device is full"),
            Self::Submit(s, Answer::Fatal) => {
                write!(f, "session {s} submits; the device refuses for good")
            }
            Self::Poll(s) => write!(f, "session {s} polls"),
            Self::Cancel(s) => write!(f, "session {s} cancels"),
            Self::Complete(s) => write!(f, "the device completes session {s}"),
            Self::Fail(s) => write!(f, "the device fails session {s}"),
            Self::Duplicate(s) => write!(f, "the device repeats the completion of session {s}"),
            Self::Late(s) => write!(f, "the device completes what session {s} had cancelled"),
            Self::Room => write!(f, "the device has room again"),
        }
    }
}
