//! Limits how many tickets of one hello a device opens.
//!
//! A TLS 1.3 client may offer more than a thousand tickets in its hello, and rustls tries each in turn until one opens. A
//! ticket that names a key and does not open is forged. An honest client offers one or two.
//!
//! The tickets of one hello belong to one packet: to the current job, or without a job, with async mode off for instance,
//! to the current call of [`during`]. Where rustls is driven by other code there is neither. Then tickets that fail to open
//! in quick succession on one thread count as those of one hello.

use core::cell::{Cell, RefCell};
use core::time::Duration;

use crate::packet_local;

/// The limit per hello.
const MOST: u32 = 4;

/// Outside a packet of ours, a ticket this long after the last one belongs to another hello. Refusing the rest of a hello
/// takes microseconds.
const APART: Duration = Duration::from_millis(10);

/// Openings in a job.
#[derive(Default)]
struct OfJob(Cell<u32>);

/// Openings on a thread outside a job.
#[derive(Clone, Copy)]
enum OfThread {
    /// Openings in the current packet of ours.
    Packet(u32),
    /// Outside our packets: failures in a row, and the time of the last one.
    Others { failed: u32, at: Duration },
}

const NOTHING: OfThread = OfThread::Others { failed: 0, at: Duration::ZERO };

thread_local! {
    static OF_THREAD: RefCell<OfThread> = const { RefCell::new(NOTHING) };
}

/// Runs `packet` with a count of its own.
pub(crate) fn during<T>(packet: impl FnOnce() -> T) -> T {
    if job_core::current().is_some() {
        return packet();
    }
    packet_local::during(&OF_THREAD, OfThread::Packet(0), packet)
}

/// Counts an opening and returns whether it is within the limit. `now` must always come from the same clock.
pub(super) fn admit(now: Duration) -> bool {
    if let Some(job) = job_core::current() {
        let count = job.local::<OfJob>().unwrap_or_else(|| {
            let _none = job.set_local(OfJob::default());
            job.local::<OfJob>().unwrap_or_default()
        });
        count.0.set(count.0.get().saturating_add(1));
        return count.0.get() <= MOST;
    }
    match OF_THREAD.with_borrow(|counted| *counted) {
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

/// Records the result of an admitted opening.
pub(super) fn ended(opened: bool, now: Duration) {
    if job_core::current().is_none()
        && let OfThread::Others { failed, .. } = OF_THREAD.with_borrow(|counted| *counted)
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

    /// How many of 1,000 forged tickets are tried.
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
    fn a_packet_opens_four_tickets_in_a_job_or_without_one() {
        assert_eq!(during(|| opened_of_a_thousand(MS)), 4);
        assert_eq!(during(|| opened_of_a_thousand(MS)), 4, "the next packet has its own count");
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
    fn a_packet_inside_a_hook_of_another_does_not_change_its_count() {
        during(|| {
            assert_eq!(opened_of_a_thousand(MS), 4);
            assert_eq!(during(|| opened_of_a_thousand(MS)), 4);
            assert_eq!(opened_of_a_thousand(MS), 0);
        });
    }

    #[test]
    fn outside_a_packet_four_failures_in_a_row_stop_openings_for_a_while() {
        assert_eq!(opened_of_a_thousand(MS), 4);
        assert_eq!(opened_of_a_thousand(2 * MS), 0);
        assert_eq!(opened_of_a_thousand(20 * MS), 4);
    }

    #[test]
    fn outside_a_packet_successful_openings_are_not_counted() {
        for n in 0..1000 {
            assert!(admit(MS));
            ended(n % 4 == 0, MS);
        }
    }
}
