//! Numbers mapped on several threads, their results in the order of the numbers.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::{ControlFlow, Range},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// Passes the results of `map` for each number to `take`, in order, until that breaks. Each thread has a state of its own,
/// made by `state`, and takes the next number when it is done with its last.
///
/// # Errors
/// The first error of `take`.
///
/// # Panics
/// If `map` does.
pub(super) fn map<S, T: Send, E>(
    threads: NonZeroUsize,
    numbers: Range<u64>,
    state: impl Fn() -> S + Sync,
    map: impl Fn(&mut S, u64) -> T + Sync,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let next = AtomicU64::new(numbers.start);
    let end = numbers.end;
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..threads.get() {
            let (sender, next, state, map) = (sender.clone(), &next, &state, &map);
            scope.spawn(move || {
                let mut state = state();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver is gone once `take` has ended the loop.
                    if number >= end || sender.send((number, map(&mut state, number))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for number in numbers {
            let result = loop {
                if let Some(result) = early.remove(&number) {
                    break result;
                }
                // A thread that panicked has not sent its last one; the scope panics for it.
                let Ok((number, result)) = results.recv() else { return Ok(()) };
                early.insert(number, result);
            };
            if take(result)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn results_come_in_order_and_end_where_take_breaks(
            threads in 1_usize..5, from in 0_u64..50, count in 0_u64..50, last in 0_u64..120
        ) {
            let threads = NonZeroUsize::new(threads).expect("not zero");
            let mut seen = Vec::new();
            let take = |number: u64| -> Result<ControlFlow<()>, Infallible> {
                seen.push(number);
                let over = number == last;
                Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            };
            let Ok(()) = map(threads, from..from + count, || (), |(), number| number, take);
            let until = if last >= from { (from + count).min(last + 1) } else { from + count };
            prop_assert_eq!(seen, (from..until).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_ends_it_for_all() {
        let take = |_| Ok::<_, Infallible>(ControlFlow::Continue(()));
        let Ok(()) = map(
            NonZeroUsize::new(2).expect("not zero"),
            0..10,
            || (),
            |(), number| assert_ne!(number, 5),
            take,
        );
    }
}
