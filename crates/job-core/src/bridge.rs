//! The bridge to futures: a job as a future, and a future awaited inside a job.

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::rc::Rc;
use std::thread;

use wait_ctx::{Route, WaitCtx};

use crate::cancel::PATIENCE;
use crate::context::{self, JobFiber};
use crate::fiber::ClosureType;
use crate::job::{self, Job, Step};
use crate::pause::{Pause, pause};
use crate::pool::JobPool;
use crate::pool_inner::Ticket;
use crate::start::StartRefused;

/// Why [`wait_for`] did not await its future to the end. The future was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitForError {
    /// No job is running here.
    #[error(
        "wait_for was called outside a job: call the synchronous code that needs it through \
         job_core::run(&pool, || ..).await or JobPool::start, or await the future directly"
    )]
    NotInJob,
    /// The job was cancelled.
    #[error("the job was cancelled while it waited: return an error to the caller")]
    Cancelled,
    /// The job may not pause here.
    #[error(
        "the job may not pause here: drop the block_pause guard before waiting, and do not wait inside on_parent_stack \
         or inside the block_on or enter of a runtime"
    )]
    Blocked,
    /// The thread is unwinding.
    #[error(
        "a destructor cannot wait while its thread is unwinding: wait before the value is dropped"
    )]
    Panicking,
}

/// Awaits `future` inside a job: polls it, and pauses the job while it is pending.
///
/// The future is woken through the task that awaits the job, if that is a [`run`]; else through the
/// job's wait context; else not at all, and it is polled whenever the job is resumed.
///
/// # Errors
///
/// See [`WaitForError`]. A future that is ready at the first poll needs no pause and succeeds even
/// where pausing is refused.
pub fn wait_for<F: Future>(future: F) -> Result<F::Output, WaitForError> {
    // A cancelled job that asks too often goes on to `pause`, which ends it.
    let cancelled = context::with_running(|job| {
        job.context().cancelled.get() && job.context().note_answer() < PATIENCE
    });
    match cancelled {
        None => return Err(WaitForError::NotInJob),
        Some(true) => return Err(WaitForError::Cancelled),
        Some(false) => {}
    }
    let mut future = pin!(future);
    loop {
        let resumes = resumes_of_job();
        // Looked up for each poll: the task may have polled the job with another waker than before.
        let waker = TaskWaker(Some(waker_of_job()));
        if let Poll::Ready(output) = future.as_mut().poll(&mut waker.context()) {
            return Ok(output);
        }
        drop(waker);
        // The poll itself has paused the job, and the resume may have been for a wake of the future.
        if resumes_of_job() != resumes {
            continue;
        }
        match pause() {
            Pause::Resumed => {}
            Pause::Cancelled => return Err(WaitForError::Cancelled),
            Pause::NotInJob => return Err(WaitForError::NotInJob),
            Pause::Blocked => return Err(WaitForError::Blocked),
            Pause::Panicking => return Err(WaitForError::Panicking),
        }
    }
}

/// The waker for one poll of a future.
struct TaskWaker(Option<Waker>);

impl TaskWaker {
    fn context(&self) -> Context<'_> {
        Context::from_waker(self.0.as_ref().unwrap_or(Waker::noop()))
    }
}

impl Drop for TaskWaker {
    fn drop(&mut self) {
        let waker = self.0.take();
        if thread::panicking() {
            // The poll panicked. A second panic would abort the process.
            wait_ctx::contain_drop("the Drop of a waker", waker);
        }
    }
}

fn resumes_of_job() -> Option<u64> {
    context::with_running(|job| job.context().resumes.get())
}

fn waker_of_job() -> Waker {
    context::with_running(|job| job.context().waker_to_use())
        .flatten()
        .unwrap_or_else(|| Waker::noop().clone())
}

/// Makes a future that runs `f` as a job of `pool`. Inside `f`, [`wait_for`] awaits other futures.
///
/// The job starts at the first poll. While the pool's limit is reached, futures queue for a job,
/// first come, first served. Dropping the future cancels the job.
pub fn run<F, T>(pool: &JobPool, f: F) -> Run<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Run::new(pool, None, f)
}

/// As [`run`], with a wait context that belongs to the job until it ends. The context's wakes go to
/// the task that polls the future, unless it has a callback or a descriptor.
pub fn run_with<F, T>(pool: &JobPool, ctx: &WaitCtx, f: F) -> Run<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Run::new(pool, Some(ctx.clone()), f)
}

/// A job as a future. Made by [`run`].
///
/// The output is the value of the closure, or the reason why no job was started. That is never
/// [`NoJobs`](StartRefused::NoJobs): the future waits for a free job instead.
///
/// # Panics
///
/// A poll panics with the panic of the job, and after the future was ready.
#[must_use = "a future does nothing unless it is polled"]
pub struct Run<T: 'static> {
    pool: JobPool,
    ctx: Option<WaitCtx>,
    closure: ClosureType,
    /// Its position in the queue, once the pool was found full.
    ticket: Option<Ticket>,
    state: State<T>,
}

enum State<T: 'static> {
    /// Not started.
    Waiting(Box<dyn FnOnce() -> T>),
    Paused(Job<T>),
    Done,
}

impl<T: 'static> Future for Run<T> {
    type Output = Result<T, StartRefused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // A waker's `clone` may panic. So it is cloned before anything is taken out of the future,
        // which may then be polled again.
        let step = match &this.state {
            State::Waiting(_) => match this.start(cx.waker()) {
                Poll::Ready(Ok(fiber)) => job::run(fiber),
                Poll::Ready(Err(reason)) => return Poll::Ready(Err(reason)),
                Poll::Pending => return Poll::Pending,
            },
            State::Paused(job) => {
                this.wake_through(cx.waker());
                job.fiber().context().set_waker(cx.waker());
                let State::Paused(job) = core::mem::replace(&mut this.state, State::Done) else {
                    unreachable!("matched above")
                };
                job.resume()
            }
            State::Done => panic!("a finished job was polled again"),
        };
        match step {
            Step::Paused(job) => {
                this.state = State::Paused(job);
                Poll::Pending
            }
            Step::Finished(value) => Poll::Ready(Ok(value)),
        }
    }
}

impl<T: 'static> Run<T> {
    fn new<F: FnOnce() -> T + 'static>(pool: &JobPool, ctx: Option<WaitCtx>, f: F) -> Self {
        let state = State::Waiting(Box::new(f));
        Self { pool: pool.clone(), ctx, closure: ClosureType::of::<F>(), ticket: None, state }
    }

    /// Makes a fiber of the closure, or queues for one.
    fn start(&mut self, task: &Waker) -> Poll<Result<JobFiber<T>, StartRefused>> {
        let pool = Rc::clone(self.pool.inner());
        if pool.must_queue(self.ticket) {
            self.ticket = Some(pool.enqueue(self.ticket, task.clone()));
            return Poll::Pending;
        }
        let Ok(lease) = self.ctx.as_ref().map(WaitCtx::lease).transpose() else {
            self.leave_queue();
            return Poll::Ready(Err(StartRefused::WaitCtxBusy));
        };
        self.wake_through(task);
        let waker = task.clone();
        pool.note_closure(self.closure);
        let State::Waiting(f) = core::mem::replace(&mut self.state, State::Done) else {
            unreachable!("only called in this state")
        };
        let error = match self.pool.prepare(lease, f) {
            Ok(fiber) => {
                self.leave_queue();
                fiber.context().set_first_waker(waker);
                return Poll::Ready(Ok(fiber));
            }
            Err(error) => error,
        };
        let reason = error.reason;
        self.state = State::Waiting(error.into_closure());
        if matches!(reason, StartRefused::NoJobs { .. }) {
            self.ticket = Some(pool.enqueue(self.ticket, waker));
            return Poll::Pending;
        }
        self.leave_queue();
        pool.contain("the Drop of a waker", || drop(waker));
        Poll::Ready(Err(reason))
    }

    fn leave_queue(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pool.inner().dequeue(ticket);
        }
    }

    fn wake_through(&self, task: &Waker) {
        if let Some(ctx) = &self.ctx {
            let route = Route::Waker(task.clone());
            self.pool.inner().contain("the Drop of a waker", || ctx.notifier().set_route(route));
        }
    }
}

impl<T: 'static> Drop for Run<T> {
    fn drop(&mut self) {
        self.leave_queue();
        let pool = self.pool.inner();
        match core::mem::replace(&mut self.state, State::Done) {
            State::Waiting(f) => {
                pool.contain("the Drop of a job's closure", || drop(f));
            }
            // Cancels it.
            State::Paused(job) => drop(job),
            State::Done => {}
        }
        if let Some(ctx) = self.ctx.take() {
            pool.contain("a cleanup of a wait context", || drop(ctx));
        }
    }
}

impl<T: 'static> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting(_) if self.ticket.is_none() => "not started",
            State::Waiting(_) => "waiting for a job",
            State::Paused(_) => "paused",
            State::Done => "done",
        };
        f.debug_struct("Run").field("state", &state).finish_non_exhaustive()
    }
}
