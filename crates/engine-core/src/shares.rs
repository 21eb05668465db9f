//! Decides which kind of work the next free thread of a pool computes.
//!
//! Pure bookkeeping: how many requests of each kind wait, and how many threads are busy with it. The rules:
//! 1. With `n` threads in total, each known kind that no thread works on has one thread reserved. So with two kinds each
//!    has at most `n - 1`. With more kinds than threads at most half of the threads are reserved. A kind that was not
//!    served during the last [`RECENT`] calls has none reserved until it is served again, unless it was named from the
//!    start: a kind that a peer chose once does not take a thread from the others for ever.
//! 2. Among the kinds that may have a thread, the one served longest ago is next. So with one thread, or more kinds than
//!    threads, they alternate.
//! 3. With threads for each kind, no kind ever waits for another.

use core::num::NonZero;
use std::collections::BTreeMap;

use crate::work::Kind;

/// How many threads a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadLimit {
    /// For all kinds together.
    Total(NonZero<usize>),
    /// For each kind.
    PerKind(NonZero<usize>),
}

/// For how many calls a kind counts as in use.
const RECENT: u64 = 1_024;

#[derive(Debug)]
pub(crate) struct Shares {
    limit: ThreadLimit,
    kinds: BTreeMap<Kind, Share>,
    busy: usize,
    /// Counts the calls.
    calls: u64,
}

#[derive(Debug, Default)]
struct Share {
    waiting: usize,
    busy: usize,
    /// The number of the call by which it was served last.
    served: u64,
    /// It was named from the start.
    named: bool,
}

impl Shares {
    pub(crate) fn new(limit: ThreadLimit, known: impl IntoIterator<Item = Kind>) -> Self {
        let named = || Share { named: true, ..Share::default() };
        let kinds = known.into_iter().map(|kind| (kind, named())).collect();
        Self { limit, kinds, busy: 0, calls: 0 }
    }

    /// How many threads there may be now.
    pub(crate) fn n_threads(&self) -> usize {
        match self.limit {
            ThreadLimit::Total(n) => n.get(),
            ThreadLimit::PerKind(n) => n.get().saturating_mul(self.kinds.len()),
        }
    }

    pub(crate) fn n_waiting(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).map_or(0, |share| share.waiting)
    }

    /// Adds a waiting request, and its kind to the known ones.
    pub(crate) fn arrive(&mut self, kind: Kind) {
        self.kinds.entry(kind).or_default().waiting += 1;
    }

    /// Removes all waiting requests.
    pub(crate) fn clear(&mut self) {
        self.kinds.values_mut().for_each(|share| share.waiting = 0);
    }

    /// The kind that a free thread computes next.
    pub(crate) fn next(&self) -> Option<Kind> {
        let may = |(_, share): &(&Kind, &Share)| share.waiting > 0 && self.has_thread_for(share);
        self.kinds.iter().filter(may).min_by_key(|(_, share)| share.served).map(|(kind, _)| *kind)
    }

    fn has_thread_for(&self, share: &Share) -> bool {
        match self.limit {
            ThreadLimit::PerKind(n) => share.busy < n.get(),
            ThreadLimit::Total(n) => {
                let free = n.get().saturating_sub(self.busy);
                // A kind that no thread works on takes the one reserved for it.
                free > if share.busy == 0 { 0 } else { self.n_reserved(n.get()) }
            }
        }
    }

    /// How many of `n` threads are reserved for kinds that none works on.
    fn n_reserved(&self, n: usize) -> usize {
        let in_use =
            |share: &&Share| share.named || share.waiting > 0 || self.calls - share.served < RECENT;
        let used = self.kinds.values().filter(in_use);
        let (kinds, idle) = used
            .fold((0, 0), |(kinds, idle), share| (kinds + 1, idle + usize::from(share.busy == 0)));
        if kinds > n { idle.min(n / 2) } else { idle }
    }

    /// A thread begins a call of this kind.
    pub(crate) fn begin(&mut self, kind: Kind) {
        let share = self.kinds.entry(kind).or_default();
        share.waiting = share.waiting.saturating_sub(1);
        share.busy += 1;
        self.busy += 1;
        self.calls += 1;
        share.served = self.calls;
    }

    /// A thread ends a call of this kind, or is replaced.
    pub(crate) fn end(&mut self, kind: Kind) {
        let share = self.kinds.entry(kind).or_default();
        share.busy = share.busy.saturating_sub(1);
        self.busy = self.busy.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Kind = Kind::new("a");
    const KINDS: [Kind; 4] = [A, Kind::new("b"), Kind::new("c"), Kind::new("d")];

    fn total(n: usize) -> Shares {
        Shares::new(ThreadLimit::Total(NonZero::new(n).unwrap()), [])
    }

    fn take(shares: &mut Shares) -> Option<Kind> {
        let kind = shares.next()?;
        shares.begin(kind);
        Some(kind)
    }

    #[test]
    fn the_only_kind_has_all_threads() {
        let mut shares = total(3);
        (0..5).for_each(|_| shares.arrive(A));
        assert_eq!([(); 4].map(|()| take(&mut shares)), [Some(A), Some(A), Some(A), None]);
    }

    #[test]
    fn l13_a_known_kind_has_a_thread_left_for_it() {
        let mut shares =
            Shares::new(ThreadLimit::Total(NonZero::new(3).unwrap()), KINDS[..2].to_vec());
        (0..5).for_each(|_| shares.arrive(A));
        assert_eq!([(); 3].map(|()| take(&mut shares)), [Some(A), Some(A), None]);
        shares.arrive(KINDS[1]);
        assert_eq!(take(&mut shares), Some(KINDS[1]));
    }

    #[test]
    fn l13_kinds_alternate_on_one_thread() {
        let mut shares = total(1);
        for _ in 0..3 {
            KINDS.into_iter().for_each(|kind| shares.arrive(kind));
        }
        let served: Vec<_> = core::iter::from_fn(|| {
            let kind = take(&mut shares)?;
            shares.end(kind);
            Some(kind)
        })
        .collect();
        assert_eq!(served, [KINDS, KINDS, KINDS].concat());
    }

    #[test]
    fn kinds_that_came_once_do_not_keep_threads_for_ever() {
        let mut shares = total(4);
        for kind in &KINDS[1..] {
            shares.arrive(*kind);
            let taken = take(&mut shares);
            shares.end(taken.expect("a free pool"));
        }
        let all_of_a = |shares: &mut Shares| {
            (0..4).for_each(|_| shares.arrive(A));
            let taken = core::iter::from_fn(|| take(shares)).count();
            (0..taken).for_each(|_| shares.end(A));
            shares.clear();
            taken
        };
        assert_eq!(all_of_a(&mut shares), 1, "one is reserved for each of the others");
        for _ in 0..RECENT {
            all_of_a(&mut shares);
        }
        assert_eq!(all_of_a(&mut shares), 4);
    }

    #[test]
    fn with_more_kinds_than_threads_one_kind_has_half_of_them() {
        let mut shares = Shares::new(ThreadLimit::Total(NonZero::new(2).unwrap()), KINDS);
        (0..4).for_each(|_| shares.arrive(A));
        assert_eq!(core::iter::from_fn(|| take(&mut shares)).count(), 1);
    }

    #[test]
    fn a_share_for_each_kind_is_each_kinds_own() {
        let mut shares = Shares::new(ThreadLimit::PerKind(NonZero::new(2).unwrap()), []);
        (0..3).for_each(|_| KINDS.into_iter().for_each(|kind| shares.arrive(kind)));
        assert_eq!(core::iter::from_fn(|| take(&mut shares)).count(), 8);
        assert_eq!(shares.n_threads(), 8);
    }

    proptest! {
        /// In any order of arrivals and ends: no more threads than allowed are busy, none is idle while it may have work,
        /// and with a thread for each of the known kinds no kind waits for the others.
        #[test]
        fn l13_a_kind_that_waits_has_a_thread_if_there_is_one_for_each(
            n in 1usize..6,
            ops in prop::collection::vec((0usize..4, any::<bool>()), 1..200),
        ) {
            let mut shares = Shares::new(ThreadLimit::Total(NonZero::new(n).unwrap()), KINDS);
            let mut busy: Vec<Kind> = Vec::new();
            for (nth, arrives) in ops {
                if arrives {
                    shares.arrive(KINDS[nth]);
                } else if let Some(at) = busy.iter().position(|kind| *kind == KINDS[nth]) {
                    shares.end(busy.swap_remove(at));
                }
                while let Some(kind) = take(&mut shares) {
                    busy.push(kind);
                }
                prop_assert!(busy.len() <= n);
                for kind in KINDS {
                    let waits = shares.n_waiting(kind) > 0 && !busy.contains(&kind);
                    prop_assert!(!waits || busy.len() == n && n < KINDS.len());
                }
            }
        }
    }
}
