//! Numbers mapped on several threads, their results in the order of the numbers.

use std::{
    num::NonZeroUsize,
    ops::{ControlFlow, Range},
    sync::mpsc,
    thread,
};

/// Passes the results of `map` for each number to `take`, in order, until that breaks. The numbers are dealt out to the
/// threads in turn; each thread has a state of its own, made by `state`.
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
    thread::scope(|scope| {
        let channels = (0..threads.get()).map(|thread| {
            let (sender, results) = mpsc::channel();
            let (own, state, map) = (numbers.clone().skip(thread), &state, &map);
            scope.spawn(move || {
                let mut state = state();
                for number in own.step_by(threads.get()) {
                    // The receiver is gone once `take` has ended the loop.
                    if sender.send(map(&mut state, number)).is_err() {
                        return;
                    }
                }
            });
            results
        });
        let channels: Vec<_> = channels.collect();
        for (results, _) in channels.iter().cycle().zip(numbers.clone()) {
            // A thread that panicked has not sent its last one; the scope panics for it.
            let Ok(result) = results.recv() else { return Ok(()) };
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
