//! How many tickets of one hello a device is asked to open.
//!
//! A TLS 1.3 client may offer as many tickets as fit into its hello, more than a thousand, and rustls asks for each in turn
//! until one opens. Those that have the name of a key and do not open are forged. A client of good faith offers one or two.
//!
//! What belongs to one hello is known by the packet that is processed: in a job it is the job; without one, with async mode
//! off for instance, it is the call. Where rustls is driven by somebody else neither is there. Then a row of tickets that do
//! not open, one right after the other on one thread, is taken for those of one hello.

use core::cell::Cell;
use core::time::Duration;

/// The most tickets of one hello that are opened.
const MOST: u32 = 4;

/// Outside a packet of ours: a ticket that comes this long after the last one belongs to another hello. To refuse the rest of
/// a hello takes microseconds.
const APART: Duration = Duration::from_millis(10);

/// The openings that a job has asked for.
#[derive(Default)]
struct OfJob(Cell<u32>);

/// Whose openings a thread counts while it is in no job.
#[derive(Clone, Copy)]
enum OfThread {
    /// Those of a packet of ours.
    Packet(u32),
    /// Those of no packet of ours: how many have failed in a row, and when the last one did.
    Others { failed: u32, at: Duration },
}

const NOTHING: OfThread = OfThread::Others { failed: 0, at: Duration::ZERO };

thread_local! {
    static OF_THREAD: Cell<OfThread> = const { Cell::new(NOTHING) };
}

/// Processes a packet. Its openings are counted by themselves.
pub(crate) fn during<T>(packet: impl FnOnce() -> T) -> T {
    if job_core::current().is_some() {
        return packet();
    }
    /// Puts back what was counted around the packet, which may be in a hook of another one.
    struct Restore(OfThread);
    impl Drop for Restore {
        fn drop(&mut self) {
            OF_THREAD.set(self.0);
        }
    }
    let _restore = Restore(OF_THREAD.replace(OfThread::Packet(0)));
    packet()
}

/// Whether one more ticket may be opened. `now` is the time of any clock that is always the same.
pub(super) fn admit(now: Duration) -> bool {
    if let Some(job) = job_core::current() {
        let count = job.local::<OfJob>().unwrap_or_else(|| {
            let _none = job.set_local(OfJob::default());
            job.local::<OfJob>().unwrap_or_default()
        });
        count.0.set(count.0.get().saturating_add(1));
        return count.0.get() <= MOST;
    }
    match OF_THREAD.get() {
        OfThread::Packet(count) => {
            OF_THREAD.set(OfThread::Packet(count.saturating_add(1)));
            count < MOST
        }
        OfThread::Others { failed, at } if failed >= MOST && now < at + APART => false,
        OfThread::Others { failed, .. } => {
            if failed >= MOST {
                OF_THREAD.set(NOTHING);
            }
            true
        }
    }
}

/// A ticket that was admitted has been opened, or was forged.
pub(super) fn ended(opened: bool, now: Duration) {
    if job_core::current().is_none()
        && let OfThread::Others { failed, .. } = OF_THREAD.get()
    {
        let failed = if opened { 0 } else { failed.saturating_add(1) };
        OF_THREAD.set(OfThread::Others { failed, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use job_core::{JobPool, Step};

    const MS: Duration = Duration::from_millis(1);

    /// How many of 1,000 tickets that are forged are opened.
    fn opened_of_a_thousand(now: Duration) -> usize {
        (0..1000)
            .filter(|_| {
                let admitted = admit(now);
                if admitted {
                    ended(false, now);
                }
                admitted
            })
            .count()
    }

    #[test]
    fn a_packet_opens_four_in_a_job_or_without_one() {
        assert_eq!(during(|| opened_of_a_thousand(MS)), 4);
        assert_eq!(during(|| opened_of_a_thousand(MS)), 4, "the next one has its own");
        let pool = JobPool::new();
        for _ in 0..2 {
            let Ok(Step::Finished(opened)) = pool.start(|| during(|| opened_of_a_thousand(MS)))
            else {
                panic!("the job does not pause")
            };
            assert_eq!(opened, 4);
        }
    }

    #[test]
    fn a_packet_within_a_hook_of_another_leaves_its_count_alone() {
        during(|| {
            assert_eq!(opened_of_a_thousand(MS), 4);
            assert_eq!(during(|| opened_of_a_thousand(MS)), 4);
            assert_eq!(opened_of_a_thousand(MS), 0);
        });
    }

    #[test]
    fn outside_a_packet_four_in_a_row_that_do_not_open_are_the_last_for_a_while() {
        assert_eq!(opened_of_a_thousand(MS), 4);
        assert_eq!(opened_of_a_thousand(2 * MS), 0);
        assert_eq!(opened_of_a_thousand(20 * MS), 4);
    }

    #[test]
    fn outside_a_packet_those_that_open_are_not_counted() {
        for n in 0..1000 {
            assert!(admit(MS));
            ended(n % 4 == 0, MS);
        }
    }
}
