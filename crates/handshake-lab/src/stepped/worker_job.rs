//! A worker as the world holds it, its desk and its job; and the set of workers that are ready.

use std::{io, rc::Rc, sync::atomic::Ordering};

use job_core::{Job, Step};
use wait_ctx::WaitCtx;

use super::worker::{Desk, Doing};
use crate::server::WorkerReport;

pub(super) struct SteppedWorker {
    pub(super) desk: Rc<Desk>,
    pub(super) job: Option<Job<io::Result<WorkerReport>>>,
    pub(super) report: Option<WorkerReport>,
    /// Signatures computed by software on this worker before it paused, not charged yet.
    pub(super) computed: u32,
    /// Lets the engine pause the worker's job where a session blocks; kept for as long as the job.
    pub(super) _wait_ctx: WaitCtx,
}

impl SteppedWorker {
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        match self.job.take() {
            Some(job) => {
                // Signatures that completions of a device computed meanwhile are not charged to a worker.
                self.desk.time.computed.store(self.computed, Ordering::Relaxed);
                self.take(job.resume())
            }
            None => Ok(()),
        }
    }

    /// Ends the worker; one that waits for something that never comes is cancelled.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.desk.doing.get() == Doing::Nothing {
            self.go_on()?;
        }
        if let Some(report) = self.job.take().and_then(Job::cancel) {
            self.report = Some(report?);
        }
        Ok(())
    }

    pub(super) fn take(&mut self, step: Step<io::Result<WorkerReport>>) -> io::Result<()> {
        match step {
            Step::Paused(job) => self.job = Some(job),
            Step::Finished(report) => self.report = Some(report?),
        }
        self.computed = self.desk.time.computed.swap(0, Ordering::Relaxed);
        self.desk.note();
        Ok(())
    }
}

/// The workers that are ready, by their numbers; a bit set, because it is read at every event.
#[derive(Debug, Default)]
pub(super) struct Runnable(Vec<u64>);

impl Runnable {
    /// An empty set for this number of workers.
    pub(super) fn new(workers: usize) -> Self {
        Self(vec![0; workers.div_ceil(64)])
    }

    pub(super) fn insert(&mut self, worker: usize) {
        self.0[worker / 64] |= 1 << (worker % 64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Removes the lowest number.
    pub(super) fn pop_first(&mut self) -> Option<usize> {
        let (index, word) = self.0.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let lowest = word.trailing_zeros();
        *word &= *word - 1;
        Some(index * 64 + lowest as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lowest_of_those_put_in_comes_first(ops in prop::collection::vec(prop::option::of(0_usize..200), 0..100)) {
            let (mut runnable, mut model) = (Runnable::new(200), BTreeSet::new());
            for op in ops {
                match op {
                    Some(worker) => {
                        runnable.insert(worker);
                        model.insert(worker);
                    }
                    None => prop_assert_eq!(runnable.pop_first(), model.pop_first()),
                }
            }
        }
    }
}
