//! A notifier and its requests against a sequential model: any sequence of calls from either side, with routes added and
//! removed. Laws L2 (a wake is a hint) to L4 (one wake per reason) for sequential calls; loom has the interleavings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use wait_ctx::testing::SessionModel;
use wait_ctx::{Arm, Ending, InFlight, ReadyQueue, RequestPhase, Route, Token, WaitCtx};

/// A call on a request. Ages count back from the newest one, which has age 0.
#[derive(Debug, Clone)]
enum Call {
    Begin,
    Accept {
        age: usize,
    },
    Arm {
        age: usize,
    },
    /// A completion, with calls between its claim and its wake.
    Complete {
        age: usize,
        outcome: Ending,
        between: Vec<Self>,
    },
    /// A completion whose claim is dropped before the result is stored.
    Abandon {
        age: usize,
    },
    Cancel {
        age: usize,
    },
    Retry {
        age: usize,
    },
    WakeByFuture,
    SetCallback(bool),
    SetRoute(bool),
}

fn call() -> impl Strategy<Value = Call> {
    let age = prop_oneof![6 => Just(0_usize), 1 => 1..3_usize];
    let leaf = prop_oneof![
        4 => Just(Call::Begin),
        3 => age.clone().prop_map(|age| Call::Accept { age }),
        5 => age.clone().prop_map(|age| Call::Arm { age }),
        1 => age.clone().prop_map(|age| Call::Abandon { age }),
        1 => age.clone().prop_map(|age| Call::Cancel { age }),
        3 => age.clone().prop_map(|age| Call::Retry { age }),
        1 => Just(Call::WakeByFuture),
        2 => any::<bool>().prop_map(Call::SetCallback),
        2 => any::<bool>().prop_map(Call::SetRoute),
    ];
    let outcome = prop_oneof![Just(Ending::Done), Just(Ending::Failed)];
    let between = prop::collection::vec(leaf.clone(), 0..3);
    let complete = (age, outcome, between).prop_map(|(age, outcome, between)| Call::Complete {
        age,
        outcome,
        between,
    });
    prop_oneof![4 => leaf, 1 => complete]
}

/// The expected state after a call.
#[derive(Debug, Clone, Default)]
struct Model {
    session: SessionModel,
    n_requests: usize,
    /// The current request is claimed and not yet woken.
    claimed: bool,
    callback: bool,
    route: bool,
    /// Wakes that found no route: of the request, and of futures.
    owed: bool,
    owed_to_future: bool,
    by_callback: u64,
    by_route: u64,
    /// The wake of a future is in the ready queue: another adds nothing until the queue is drained.
    future_queued: bool,
    /// Requests that a cancel has settled, and claims that were won. Together they never exceed the requests.
    cancelled: u64,
    won: u64,
}

/// The source of a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    OfRequest,
    OfFuture,
}

impl Model {
    fn deliver(&mut self, wake: Wake) {
        match (self.callback, self.route) {
            (true, _) => self.by_callback += 1,
            (false, true) => {
                let coalesces =
                    wake == Wake::OfFuture && std::mem::replace(&mut self.future_queued, true);
                self.by_route += u64::from(!coalesces);
            }
            (false, false) if wake == Wake::OfFuture => self.owed_to_future = true,
            (false, false) => self.owed = true,
        }
    }

    /// Runs a change of the session and delivers the wakes it makes due.
    fn session<T>(&mut self, change: impl FnOnce(&mut SessionModel) -> T) -> T {
        let before = self.session.wakes();
        let answer = change(&mut self.session);
        for _ in before..self.session.wakes() {
            self.deliver(Wake::OfRequest);
        }
        answer
    }

    fn is_current(&self, age: usize) -> bool {
        age == 0 && self.n_requests > 0
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Begin => {
                let begun = self.session(SessionModel::begin);
                self.n_requests += usize::from(begun);
                self.claimed &= !begun;
                self.owed &= !begun;
            }
            Call::Accept { age } if self.is_current(*age) => self.session.accept(),
            Call::Arm { age } if self.is_current(*age) => {
                self.owed &= matches!(self.session.arm(), Arm::Settled(_));
            }
            Call::Complete { age, outcome, between } => {
                let generation = self.n_requests;
                let claims =
                    self.is_current(*age) && self.session.phase().is_live() && !self.claimed;
                self.claimed |= claims;
                self.won += u64::from(claims);
                for call in between {
                    self.call(call);
                }
                // A cancel in between, or the next request after it, has made the claim void.
                if claims && self.claimed && self.n_requests == generation {
                    self.claimed = false;
                    self.session(|session| session.settle(*outcome));
                }
            }
            Call::Abandon { age } if self.is_current(*age) && !self.claimed => {
                let first = self.session(|session| session.settle(Ending::Failed));
                self.won += u64::from(first);
            }
            Call::Cancel { age } if self.is_current(*age) => {
                let cancelled = self.session.cancel();
                self.cancelled += u64::from(cancelled && !self.claimed);
                self.claimed &= !cancelled;
                self.owed &= !cancelled;
            }
            Call::Retry { age } if self.is_current(*age) && !self.claimed => {
                self.session(SessionModel::retry);
            }
            Call::WakeByFuture => self.deliver(Wake::OfFuture),
            Call::SetCallback(set) => {
                self.callback = *set;
                self.pay();
            }
            Call::SetRoute(set) => {
                self.route = *set;
                self.pay();
            }
            _ => {}
        }
    }

    /// Delivers the owed wakes, if there is a route now: each one for any number of its kind.
    fn pay(&mut self) {
        if self.callback || self.route {
            if std::mem::take(&mut self.owed) {
                self.deliver(Wake::OfRequest);
            }
            if std::mem::take(&mut self.owed_to_future) {
                self.deliver(Wake::OfFuture);
            }
        }
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Call;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Call> {
        call().boxed()
    }

    fn apply(mut state: Self, call: &Call) -> Self {
        // The real queue is drained after every call.
        state.future_queued = false;
        state.call(call);
        state
    }
}

/// The system under test.
struct Session {
    ctx: WaitCtx,
    requests: Vec<InFlight>,
    by_callback: Arc<AtomicU64>,
    queue: ReadyQueue,
    by_route: u64,
    cancelled: u64,
    won: u64,
}

impl Session {
    fn request(&self, age: usize) -> Option<InFlight> {
        self.requests.iter().rev().nth(age).cloned()
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Begin => {
                let live = self.request(0).is_some_and(|request| request.phase().is_live());
                match self.ctx.notifier().begin() {
                    Ok(request) => {
                        assert!(!live);
                        self.requests.push(request);
                    }
                    Err(_live) => assert!(live),
                }
            }
            Call::Accept { age } => {
                self.request(age).inspect(InFlight::accept);
            }
            Call::Arm { age } => {
                let Some(request) = self.request(age) else { return };
                match request.arm() {
                    Arm::Armed | Arm::Retry => assert!(request.phase().is_live()),
                    Arm::Settled(state) => assert!(state.is_settled() && state == request.phase()),
                }
            }
            Call::Complete { age, outcome, between } => {
                let Some(request) = self.request(age) else {
                    between.into_iter().for_each(|call| self.call(call));
                    return;
                };
                let state = request.phase();
                let claim = request.claim(outcome);
                assert!(state.is_live() || claim.is_none());
                self.won += u64::from(claim.is_some());
                // The phase does not change before the wake.
                assert_eq!(request.phase(), state);
                between.into_iter().for_each(|call| self.call(call));
                if let Some(claim) = claim {
                    claim.wake();
                }
            }
            Call::Abandon { age } => {
                if let Some(request) = self.request(age) {
                    self.won += u64::from(request.claim(Ending::Done).is_some());
                }
            }
            Call::Cancel { age } => {
                if let Some(request) = self.request(age) {
                    let live = request.phase().is_live();
                    let cancelled = request.cancel();
                    self.cancelled += u64::from(cancelled);
                    assert!(live || !cancelled);
                    assert!(request.phase().is_settled());
                }
            }
            Call::Retry { age } => {
                if let Some(request) = self.request(age) {
                    request.notify_retry();
                }
            }
            Call::WakeByFuture => self.ctx.notifier().waker().wake(),
            Call::SetCallback(true) => {
                let calls = Arc::clone(&self.by_callback);
                self.ctx.set_callback(move |_| {
                    calls.fetch_add(1, Ordering::Relaxed);
                });
            }
            Call::SetCallback(false) => drop(self.ctx.unset_callback()),
            Call::SetRoute(true) => {
                let route = Route::Ready(self.queue.sender(), Token(3));
                self.ctx.notifier().set_route(route);
            }
            Call::SetRoute(false) => self.ctx.notifier().clear_route(),
        }
    }
}

struct Requests;

impl StateMachineTest for Requests {
    type SystemUnderTest = Session;
    type Reference = Model;

    fn init_test(_: &Model) -> Session {
        Session {
            ctx: WaitCtx::new(),
            requests: Vec::new(),
            by_callback: Arc::default(),
            queue: ReadyQueue::new().expect("a descriptor"),
            by_route: 0,
            cancelled: 0,
            won: 0,
        }
    }

    fn apply(mut session: Session, model: &Model, call: Call) -> Session {
        session.call(call);
        let mut ready = Vec::new();
        session.queue.drain(&mut ready);
        session.by_route += ready.len() as u64;
        assert_eq!(session.by_callback.load(Ordering::Relaxed), model.by_callback, "by callback");
        assert_eq!(session.by_route, model.by_route, "by ready queue");
        assert_eq!(
            (session.won, session.cancelled),
            (model.won, model.cancelled),
            "settled by claim or cancel"
        );
        assert!(model.won + model.cancelled <= model.n_requests as u64);
        assert_eq!(session.ctx.status(), model.session.status());
        assert_eq!(session.requests.len(), model.n_requests);
        if let Some((current, old)) = session.requests.split_last() {
            assert_eq!(current.phase(), model.session.phase());
            assert!(old.iter().all(|request| request.phase() == RequestPhase::Cancelled));
        }
        session
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn l4_any_string_of_calls_delivers_exactly_the_wakes_that_are_due(sequential 1..60 => Requests);
}
