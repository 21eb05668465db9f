//! The engine passes; with any of five planted bugs it fails, with a script of at most six steps.

use std::task::Poll;

use engine_kit_example::{Echo, Request};
use wait_ctx::Notifier;
use wait_ctx::testing::{Answer, DeviceEvent, TestedEngine, Failed, Tag, conformance};

#[test]
fn the_engine_keeps_the_laws() {
    let report = conformance(Echo::default).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.wakes > 1_000, "{report:?}");
}

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    /// A completion that comes before the submission has returned is dropped.
    EarlyCompletionLost,
    /// Every completion wakes, also the second one of a request.
    DuplicateWakes,
    /// A completion is given to whatever the session waits for now.
    LateCompletionHitsTheNext,
    /// A resume without a wake submits again.
    PollSubmitsAgain,
    /// What the device had no room for is never submitted.
    RefusedForgotten,
}

struct Planted {
    bug: Bug,
    engine: Echo,
    notifier: Option<Notifier>,
    /// By tag: the kit counts from zero.
    requests: Vec<Request>,
    submitted_again: u64,
}

fn planted(bug: Bug) -> String {
    let make = || Planted {
        bug,
        engine: Echo::default(),
        notifier: None,
        requests: Vec::new(),
        submitted_again: 0,
    };
    let failure = conformance(make).expect_err("the bug is found");
    assert!(failure.script.len() <= 6, "{failure}");
    failure.to_string()
}

impl TestedEngine for Planted {
    type Request = Request;

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Request {
        self.notifier = Some(notifier.clone());
        let dropped = self.bug == Bug::EarlyCompletionLost && answer == Answer::Early;
        let answer = if dropped { Answer::Accept } else { answer };
        let request = self.engine.submit(notifier, tag, answer);
        self.requests.push(request.clone());
        request
    }

    fn poll(&mut self, request: &mut Request) -> Poll<Result<Tag, Failed>> {
        let polled = self.engine.poll(request);
        if self.bug == Bug::PollSubmitsAgain && polled.is_pending() {
            self.submitted_again += 1;
        }
        polled
    }

    fn cancel(&mut self, request: Request) {
        self.engine.cancel(request);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        match (self.bug, event) {
            (Bug::RefusedForgotten, DeviceEvent::Room) => true,
            (Bug::LateCompletionHitsTheNext, DeviceEvent::Complete(tag)) => {
                let is_live = self.requests[tag.0 as usize].in_flight.phase().is_live();
                let newest = Tag(self.requests.len() as u64 - 1);
                self.engine.device(DeviceEvent::Complete(if is_live { tag } else { newest }))
            }
            (Bug::DuplicateWakes, DeviceEvent::Duplicate(_)) => {
                self.notifier.as_ref().expect("something was submitted").waker().wake();
                true
            }
            _ => self.engine.device(event),
        }
    }

    fn taken(&self) -> u64 {
        self.engine.taken() + self.submitted_again
    }
}

#[test]
fn an_early_completion_that_is_lost_is_found() {
    insta::assert_snapshot!(planted(Bug::EarlyCompletionLost));
}

#[test]
fn a_second_wake_is_found() {
    insta::assert_snapshot!(planted(Bug::DuplicateWakes));
}

#[test]
fn a_late_completion_that_hits_the_next_request_is_found() {
    insta::assert_snapshot!(planted(Bug::LateCompletionHitsTheNext));
}

#[test]
fn a_second_submission_is_found() {
    insta::assert_snapshot!(planted(Bug::PollSubmitsAgain));
}

#[test]
fn a_forgotten_request_is_found() {
    insta::assert_snapshot!(planted(Bug::RefusedForgotten));
}
