//! The trait of engines under test, and the steps of scripts.

use std::fmt;
use std::task::Poll;

use crate::Notifier;

/// Names one request of a run. The operation under test is to return the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// The request failed.
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
    /// Refuses it permanently.
    Fatal,
}

/// An event that the kit makes the device produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// Completes the request with this tag, which may have been cancelled before.
    Complete(Tag),
    /// Reports the same completion again.
    Duplicate(Tag),
    /// Completes the request with this tag with an error.
    Fail(Tag),
    /// Has room again, for every request it had refused.
    Room,
}

/// What an engine does when its device is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullPolicy {
    /// Keeps the request and submits it when there is room. No wake: the status turns from `Again` to `Ok`.
    Queue,
    /// Wakes the session when there is room, with the status `Again`; the next poll submits.
    Notify,
}

/// The order in which the device ends the requests that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any order: the script decides.
    Any,
    /// The order in which it took them, cancelled ones included, as a ring with one unit does. The kit then ends only
    /// the oldest, and asks for [`Answer::Early`] only while the device holds nothing.
    Submission,
}

/// An engine under test, with its device. The example in the documentation takes fewer than sixty lines.
pub trait TestedEngine {
    /// The session's handle of its request.
    type Request;

    /// The policy for a full device.
    fn on_full(&self) -> FullPolicy {
        FullPolicy::Queue
    }

    /// The order in which the device ends what it holds.
    fn order(&self) -> Order {
        Order::Any
    }

    /// Begins a request on `notifier` and submits it. The device answers as the argument says. Must not block, and must not wake.
    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Self::Request;

    /// Returns the result, if there is one. Before it answers `Pending` the engine must have armed the request. Polling
    /// without a wake is allowed at any time and must change nothing.
    fn poll(&mut self, request: &mut Self::Request) -> Poll<Result<Tag, Failed>>;

    /// Cancels the request. The device may still complete it.
    fn cancel(&mut self, request: Self::Request);

    /// Makes the device produce an event. False if it holds no such request: it has ended it already, or dropped it
    /// because it was cancelled.
    fn device(&mut self, event: DeviceEvent) -> bool;

    /// The number of submissions that the device has taken so far.
    fn taken(&self) -> u64;

    /// Returns when everything asked for has taken effect. Engines without threads need not implement it.
    fn settle(&mut self) {}
}

/// One step of a script. A step that is not possible at its place is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptStep {
    /// A session without a request submits one.
    Submit(usize, Answer),
    /// The session polls for its result, woken or not.
    Poll(usize),
    /// The session cancels its request.
    Cancel(usize),
    /// The device completes the session's request.
    Complete(usize),
    /// The device fails the session's request.
    Fail(usize),
    /// The device completes the session's last finished request once more.
    Duplicate(usize),
    /// The device completes the oldest request that the session has cancelled.
    Late(usize),
    /// The device completes the session's request and is stopped right after the wake; the session polls before the
    /// completion returns. Ends the script. On a thread of the engine's own it is a plain completion.
    Interrupt(usize),
    /// The device has room again.
    Room,
}

impl ScriptStep {
    /// The number of sessions in a script.
    pub const N_SESSIONS: usize = 2;

    /// The kinds of steps, for counting.
    pub const N_KINDS: usize = 12;

    pub(super) const fn session_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Submit(session, _)
            | Self::Poll(session)
            | Self::Cancel(session)
            | Self::Complete(session)
            | Self::Fail(session)
            | Self::Duplicate(session)
            | Self::Late(session)
            | Self::Interrupt(session) => Some(session),
            Self::Room => None,
        }
    }

    /// The index of this kind of step, below [`N_KINDS`](Self::N_KINDS), and its name.
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
            Self::Interrupt(_) => (11, "poll within a completion"),
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
            Self::Interrupt(s) => {
                write!(f, "the device completes session {s}, which polls as soon as it is woken")
            }
            Self::Room => write!(f, "the device has room again"),
        }
    }
}
