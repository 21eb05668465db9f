//! The backlog against a model of where each request is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KINDS: [Kind; 2] = [Kind::new("a"), Kind::new("b")];

/// One step of the pump or of a caller. Each takes the lock once, so any interleaving of threads is a sequence of these.
#[derive(Clone, Debug)]
enum Op {
    Push {
        kind: usize,
        owner: bool,
    },
    Next {
        full: Vec<usize>,
    },
    Grant {
        nth: usize,
        credits: usize,
        armed: bool,
    },
    UsePermit {
        nth: usize,
    },
    EndSubmission {
        nth: usize,
        taken: bool,
    },
    Replace {
        nth: usize,
    },
    Withdraw {
        nth: usize,
    },
    WithdrawRequest {
        nth: usize,
    },
    /// The device has failed a request that it was given.
    Postpone {
        ms: u64,
    },
    TakeDue,
    /// Time passes, and permits that were not used lose their room.
    Pass {
        ms: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let nth = 0usize..6;
    prop_oneof![
        4 => (0..KINDS.len(), any::<bool>()).prop_map(|(kind, owner)| Op::Push { kind, owner }),
        4 => prop::collection::vec(0..KINDS.len(), 0..2).prop_map(|full| Op::Next { full }),
        3 => (nth.clone(), 0usize..4, any::<bool>())
            .prop_map(|(nth, credits, armed)| Op::Grant { nth, credits, armed }),
        2 => nth.clone().prop_map(|nth| Op::UsePermit { nth }),
        3 => (nth.clone(), any::<bool>()).prop_map(|(nth, taken)| Op::EndSubmission { nth, taken }),
        1 => nth.clone().prop_map(|nth| Op::Replace { nth }),
        1 => nth.clone().prop_map(|nth| Op::Withdraw { nth }),
        1 => nth.prop_map(|nth| Op::WithdrawRequest { nth }),
        2 => (0u64..240).prop_map(|ms| Op::Postpone { ms }),
        2 => Just(Op::TakeDue),
        2 => (0u64..120).prop_map(|ms| Op::Pass { ms }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Request,
    Owner,
    /// It reserves room until then, if at all.
    Permit {
        until: Option<Duration>,
    },
    BeingSubmitted,
    /// Until its next attempt.
    Later {
        at: Duration,
    },
}

/// Where each request is, by its number, which is also the order of arrival.
#[derive(Default)]
struct Model {
    at: BTreeMap<u64, (Kind, Where)>,
    /// Returned by `next` or `use_permit`. The owners may have changed since.
    being_submitted: Vec<(Position, u64)>,
    owners_seen: Vec<(Position, u64)>,
}

impl Model {
    fn nth(&self, nth: usize) -> Option<(u64, Kind, Where)> {
        self.at.iter().nth(nth).map(|(n, (kind, at))| (*n, *kind, *at))
    }

    /// One whose owner keeps the request, with a permit or without.
    fn nth_owner(&self, nth: usize) -> Option<u64> {
        let is_owner = |at: &Where| matches!(at, Where::Owner | Where::Permit { .. });
        self.at.iter().filter(|(_, (_, at))| is_owner(at)).map(|(n, _)| *n).nth(nth)
    }

    fn oldest(&self, kind: Kind) -> Option<u64> {
        let queued = |(n, (k, at)): (&u64, &(Kind, Where))| {
            (*k == kind && matches!(at, Where::Request | Where::Owner)).then_some(*n)
        };
        self.at.iter().find_map(queued)
    }

    fn count(&self, at: impl Fn(Where) -> bool) -> usize {
        self.at.values().filter(|(_, is_at)| at(*is_at)).count()
    }

    /// Permits of `kind` that reserve room.
    fn n_reserved(&self, kind: Kind) -> usize {
        let reserves = |at: &Where| matches!(at, Where::Permit { until: Some(_) });
        self.at.values().filter(|(k, at)| *k == kind && reserves(at)).count()
    }
}

proptest! {
    /// For every order of steps each request is in one place, is returned once, and goes back to its position.
    #[test]
    fn l13_no_request_is_lost_or_in_two_places(ops in prop::collection::vec(op(), 1..200)) {
        let mut backlog: Backlog<u64, u64> = Backlog::new(4);
        let mut model = Model::default();
        let mut now = Duration::ZERO;
        for (n, op) in (0u64..).zip(ops) {
            match op {
                Op::Push { kind, owner } => {
                    let kind = KINDS[kind];
                    let queued = model.at.values().filter(|(k, at)| {
                        *k == kind && matches!(at, Where::Request | Where::Owner)
                    });
                    prop_assert_eq!(backlog.is_full(kind), queued.count() >= 4);
                    if !backlog.is_full(kind) {
                        let waiting = if owner { Waiting::Owner(n) } else { Waiting::Request(n) };
                        backlog.push(kind, RequestId(n), waiting);
                        model.at.insert(n, (kind, if owner { Where::Owner } else { Where::Request }));
                    }
                }
                Op::Next { full } => {
                    let full: Vec<Kind> = full.into_iter().map(|kind| KINDS[kind]).collect();
                    let next = backlog.next(&full);
                    let open = |kind: &&Kind| !full.contains(kind) && model.oldest(**kind).is_some();
                    prop_assert_eq!(next.is_some(), KINDS.iter().any(|kind| open(&kind)));
                    let Some((position, next)) = next else { continue };
                    prop_assert!(!full.contains(&position.kind()));
                    let oldest = model.oldest(position.kind());
                    match next {
                        Waiting::Request(n) => {
                            prop_assert_eq!(Some(n), oldest);
                            let before = model.at.insert(n, (position.kind(), Where::BeingSubmitted));
                            prop_assert_eq!(before, Some((position.kind(), Where::Request)));
                            model.being_submitted.push((position, n));
                        }
                        Waiting::Owner(n) => {
                            prop_assert_eq!(Some(n), oldest);
                            prop_assert_eq!(model.at[&n].1, Where::Owner);
                            model.owners_seen.push((position, n));
                        }
                    }
                }
                Op::Grant { nth, credits, armed } => {
                    if model.owners_seen.is_empty() {
                        continue;
                    }
                    let (position, n) = model.owners_seen.remove(nth % model.owners_seen.len());
                    let kind = position.kind();
                    let permits = model.n_reserved(kind);
                    let until = now + PERMIT_TIME;
                    // An attempt leaves its kind without room until a request leaves.
                    backlog.trust_all_credits();
                    let expected = match model.at.get(&n) {
                        Some((_, Where::Owner)) if permits < credits => Grant::Granted { until },
                        Some((_, Where::Owner)) => Grant::NoRoom,
                        _ => Grant::Changed,
                    };
                    prop_assert_eq!(backlog.grant(position, Some(credits), now), expected);
                    if let Grant::Granted { until } = expected {
                        let until = armed.then_some(until);
                        model.at.insert(n, (kind, Where::Permit { until }));
                        if !armed {
                            backlog.release_room(RequestId(n));
                        }
                    }
                }
                Op::Pass { ms } => {
                    now += Duration::from_millis(ms);
                    let mut expired = Vec::new();
                    for (n, (_, at)) in &mut model.at {
                        if let Where::Permit { until } = at
                            && until.take_if(|until| *until <= now).is_some()
                        {
                            expired.push(*n);
                        }
                    }
                    let mut returned: Vec<_> = core::iter::from_fn(|| backlog.expire(now)).collect();
                    returned.sort_unstable();
                    prop_assert_eq!(returned, expired);
                }
                Op::UsePermit { nth } => {
                    let Some((n, kind, at)) = model.nth(nth) else { continue };
                    let taken = backlog.use_permit(RequestId(n));
                    prop_assert_eq!(taken.is_some(), matches!(at, Where::Permit { .. }));
                    if let Some(position) = taken {
                        prop_assert!(!backlog.has_room(kind, Some(usize::MAX)));
                        model.at.insert(n, (kind, Where::BeingSubmitted));
                        model.being_submitted.push((position, n));
                    }
                }
                Op::EndSubmission { nth, taken } => {
                    if model.being_submitted.is_empty() {
                        continue;
                    }
                    let (position, n) = model.being_submitted.remove(nth % model.being_submitted.len());
                    if taken {
                        let earlier = model.oldest(position.kind()).is_some_and(|oldest| oldest < n);
                        prop_assert_eq!(backlog.done(position), earlier);
                        model.at.remove(&n);
                    } else {
                        backlog.put_back(position, RequestId(n), Waiting::Request(n));
                        model.at.insert(n, (position.kind(), Where::Request));
                    }
                }
                Op::Replace { nth } => {
                    // Only the owner does it, and never while submitting.
                    let Some(n) = model.nth_owner(nth) else { continue };
                    let (kind, at) = model.at[&n];
                    let replaced = backlog.replace(RequestId(n), n);
                    let has_permit = matches!(at, Where::Permit { .. });
                    prop_assert_eq!(replaced, Ok(if has_permit { Replaced::Permit } else { Replaced::Owner }));
                    model.at.insert(n, (kind, Where::Request));
                }
                Op::Postpone { ms } => {
                    let at = now + Duration::from_millis(ms);
                    backlog.postpone(at, RequestId(n), n);
                    model.at.insert(n, (KINDS[0], Where::Later { at }));
                }
                Op::TakeDue => {
                    let later = model.at.iter().filter_map(|(n, (_, at))| match at {
                        Where::Later { at } => Some((*at, *n)),
                        _ => None,
                    });
                    let first = later.min();
                    prop_assert_eq!(backlog.next_attempt(), first.map(|(at, _)| at));
                    let due = first.filter(|(at, _)| *at <= now).map(|(_, n)| n);
                    prop_assert_eq!(backlog.take_due(now), due);
                    due.map(|n| model.at.remove(&n));
                }
                Op::Withdraw { nth } => {
                    let Some((n, _, at)) = model.nth(nth) else { continue };
                    let expected = match at {
                        Where::Request | Where::Later { .. } => {
                            Some(Withdrawn::Waiting(Waiting::Request(n)))
                        }
                        Where::Owner => Some(Withdrawn::Waiting(Waiting::Owner(n))),
                        Where::Permit { .. } => Some(Withdrawn::Permit),
                        Where::BeingSubmitted => None,
                    };
                    prop_assert_eq!(backlog.withdraw(RequestId(n)), expected);
                    if at != Where::BeingSubmitted {
                        model.at.remove(&n);
                        prop_assert_eq!(backlog.replace(RequestId(n), n), Err(n));
                    }
                }
                Op::WithdrawRequest { nth } => {
                    let Some((n, _, at)) = model.nth(nth) else { continue };
                    let is_request = matches!(at, Where::Request | Where::Later { .. });
                    let withdrawn = backlog.withdraw_request(RequestId(n));
                    prop_assert_eq!(withdrawn, is_request.then_some(n));
                    if is_request {
                        model.at.remove(&n);
                    }
                }
            }
            for (n, (_, at)) in &model.at {
                prop_assert_eq!(backlog.contains(RequestId(*n)), *at != Where::BeingSubmitted);
            }
            let permits = model.count(|at| matches!(at, Where::Permit { .. }));
            let later = model.count(|at| matches!(at, Where::Later { .. }));
            prop_assert_eq!(backlog.n_waiting(), model.at.len() - permits - later);
            prop_assert_eq!(backlog.n_permits(), permits);
            // An owner that does not come reserves room for a bounded time.
            let untils = model.at.values().filter_map(|(_, at)| match at {
                Where::Permit { until } => *until,
                _ => None,
            });
            let next = untils.min();
            prop_assert!(next.is_none_or(|next| next <= now + PERMIT_TIME));
            prop_assert_eq!(backlog.next_expiry(), next.filter(|_| backlog.n_waiting() > 0));
            backlog.trust_all_credits();
            for kind in KINDS {
                let reserved = model.n_reserved(kind);
                prop_assert!(!backlog.has_room(kind, Some(reserved)));
                prop_assert!(backlog.has_room(kind, Some(reserved + 1)));
            }
        }
        let owners = model.at.iter().filter(|(_, (_, at))| *at == Where::Owner).map(|(n, _)| *n);
        let mut taken = backlog.take_owners();
        taken.sort_unstable();
        prop_assert!(owners.eq(taken));
        prop_assert_eq!(backlog.n_waiting(), model.count(|at| matches!(at, Where::Request | Where::BeingSubmitted)));
    }
}
