//! A worker as the world has it: its desk, its job, and whether it has something to do.

use std::{io, rc::Rc};

use job_core::{Job, Step};
use wait_ctx::WaitCtx;

use super::worker::{Desk, Doing};
use crate::server::WorkerReport;

pub(super) struct Worker {
    pub(super) desk: Rc<Desk>,
    pub(super) job: Option<Job<io::Result<WorkerReport>>>,
    /// Has something to do.
    pub(super) runnable: bool,
    pub(super) report: Option<WorkerReport>,
    /// The engine's way to the worker's job, where a session blocks it. Kept for as long as the job lives.
    pub(super) _wait_ctx: WaitCtx,
}

impl Worker {
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        self.runnable = false;
        match self.job.take() {
            Some(job) => self.take(job.resume()),
            None => Ok(()),
        }
    }

    /// Lets the worker end; one that waits for what never comes is cancelled.
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
        self.desk.note();
        Ok(())
    }
}
